//! Which addresses are somebody's inside. Called for every address just before it is dialled.
//!
//! Addresses that carry an IPv4 address inside them (mapped, NAT64, 6to4) are judged by that address: a
//! translator on the way would connect to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Networks nothing outside is reached through, with the rule they stand for.
const DENIED: &[(Network, &str)] = &[
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "carrier-grade NAT"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "6to4 relay"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "benchmark"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "local NAT64"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmark"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
];

/// The part of IPv6 that is the outside; whatever is neither here nor above is for uses yet unknown.
const GLOBAL_UNICAST: Network = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The rule that forbids this address, if one does.
pub(super) fn denial(address: IpAddr) -> Option<&'static str> {
    let address = unmapped(address);
    let named = DENIED.iter().find(|(network, _)| network.contains(address)).map(|(_, rule)| *rule);
    let outside = address.is_ipv4() || GLOBAL_UNICAST.contains(address);
    named.or_else(|| (!outside).then_some("not global unicast"))
}

/// The IPv4 address inside an IPv6 address that carries one, else the address itself.
pub(super) fn unmapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] => embedded(g, h),      // ::ffff:a.b.c.d, mapped
        [0, 0, 0, 0, 0xffff, 0] => embedded(g, h),      // ::ffff:0:a.b.c.d, translated
        [0x64, 0xff9b, 0, 0, 0, 0] => embedded(g, h),   // NAT64
        [0x2002, high, low, ..] => embedded(high, low), // 6to4
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => embedded(g, h), // ::a.b.c.d, the old compatible form
        _ => address,
    }
}

/// A range of addresses, written `10.0.0.0/8` or `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address lies in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let (network, address, width) = match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (u128::from(network.to_bits()), u128::from(address.to_bits()), 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits(), address.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let ignored = u32::from(width - self.prefix);
        network.checked_shr(ignored) == address.checked_shr(ignored)
    }
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Network {
    Network { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Network {
    Network { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address or a network such as 10.0.0.0/8")]
pub struct NotANetwork {
    text: String,
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let parse = || {
            let (address, prefix) =
                text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
            let address: IpAddr = address.parse().ok()?;
            let width = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Some(width), |prefix| prefix.parse().ok())?;
            (prefix <= width).then_some(Self { address, prefix })
        };
        parse().ok_or_else(|| NotANetwork { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, rule: Option<&str>) {
        assert_eq!(denial(address.parse().unwrap()), rule, "{address}");
    }

    #[test]
    fn inside_addresses_are_denied_by_name() {
        for (address, rule) in [
            ("0.0.0.0", "unspecified"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "carrier-grade NAT"),
            ("127.1.2.3", "loopback"),
            ("169.254.169.254", "link-local"),
            ("172.31.255.255", "private"),
            ("192.0.0.8", "protocol assignments"),
            ("192.168.0.1", "private"),
            ("198.19.255.255", "benchmark"),
            ("203.0.113.9", "documentation"),
            ("239.0.0.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("250.0.0.1", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:0:10.0.0.1", "private"),
            ("64:ff9b::a9fe:a9fe", "link-local"),
            ("64:ff9b:1::1", "local NAT64"),
            ("2002:7f00:1::", "loopback"),
            ("2002:c0a8:1::5", "private"),
            ("2001::1", "Teredo"),
            ("2001:db8::1", "documentation"),
            ("3fff::1", "documentation"),
            ("fd00::1", "unique local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("100::1", "not global unicast"),
            ("4000::1", "not global unicast"),
        ] {
            check(address, Some(rule));
        }
    }

    #[test]
    fn outside_addresses_are_allowed() {
        let outside = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::",
        ];
        outside.iter().for_each(|address| check(address, None));
    }

    #[test]
    fn networks_are_read_strictly() {
        let network: Network = "127.0.0.0/8".parse().unwrap();
        assert!(network.contains("127.255.0.1".parse().unwrap()));
        assert!(!network.contains("128.0.0.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("8.8.8.8".parse().unwrap()));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "host"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
