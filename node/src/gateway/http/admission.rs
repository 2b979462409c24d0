//! Who may come in before anything is read: whether the source is open, to this address, at this rate.

use std::net::IpAddr;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use steward_actors::egress::Network;
use steward_actors::rate::Rate;

use crate::gateway::error::{Code, Refused};

/// The address a client connected from, as the node that took the connection saw it. Whatever a client says here is
/// replaced.
pub(super) const CLIENT: HeaderName = HeaderName::from_static("x-steward-client");

/// The value of that header.
pub(super) fn client(address: IpAddr) -> HeaderValue {
    // An IPv4 address is one, whatever socket it came by.
    HeaderValue::from_str(&address.to_canonical().to_string()).expect("addresses are visible ASCII")
}

/// What a source lets in.
pub(super) struct Admission {
    pub(super) is_paused: bool,
    /// Empty: from anywhere.
    pub(super) allow: Vec<Network>,
    pub(super) rate: Option<Mutex<Rate>>,
}

impl Admission {
    /// Refuses what the source does not take now, or not from there.
    pub(super) fn check(&self, headers: &HeaderMap, now: Duration) -> Result<(), Refused> {
        if !self.allow.is_empty() {
            let address = headers.get(CLIENT).and_then(|value| value.to_str().ok()?.parse::<IpAddr>().ok());
            if !address.is_some_and(|address| self.allow.iter().any(|network| network.contains(address))) {
                return Err(Refused::new(Code::AddressForbidden, "the source takes no webhooks from this address"));
            }
        }
        if self.is_paused {
            return Err(Refused::new(Code::SourcePaused, "the source is paused"));
        }
        let Some(rate) = &self.rate else { return Ok(()) };
        let mut rate = rate.lock();
        rate.take(now).map_err(|wait| {
            let message = format!("the source takes {} requests a second", rate.per_s());
            Refused::new(Code::RateLimited, message).after(wait).over(rate.per_s())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(allow: &[&str], is_paused: bool, per_s: u32) -> Admission {
        let allow = allow.iter().map(|network| network.parse().unwrap()).collect();
        Admission { is_paused, allow, rate: Rate::new(per_s).map(Mutex::new) }
    }

    fn from(address: &str) -> HeaderMap {
        [(CLIENT, client(address.parse().unwrap()))].into_iter().collect()
    }

    #[test]
    fn a_source_over_its_rate_says_when_the_next_may_come() {
        let rate = admission(&[], false, 1);
        let at = |ms: u64| rate.check(&HeaderMap::new(), Duration::from_millis(ms));
        at(10_000).unwrap();
        let refused = at(10_100).unwrap_err();
        assert_eq!((refused.code, refused.retry_after()), (Code::RateLimited, Some(Duration::from_millis(900))));
        at(11_000).unwrap();
    }

    #[test]
    fn only_addresses_of_the_list_come_in() {
        let some = admission(&["192.0.2.0/24", "2001:db8::/32"], false, 0);
        for (address, is_let_in) in [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("2001:db8::1", true),
            ("192.0.3.7", false),
            ("::1", false),
        ] {
            assert_eq!(some.check(&from(address), Duration::ZERO).is_ok(), is_let_in, "{address}");
        }
        assert_eq!(some.check(&HeaderMap::new(), Duration::ZERO).unwrap_err().code, Code::AddressForbidden);
        assert!(admission(&[], false, 0).check(&HeaderMap::new(), Duration::ZERO).is_ok());
    }

    #[test]
    fn a_paused_source_asks_to_come_back() {
        let refused = admission(&[], true, 0).check(&HeaderMap::new(), Duration::ZERO).unwrap_err();
        assert_eq!((refused.code, refused.retry_after().is_some()), (Code::SourcePaused, true));
    }
}
