//! What this node may contact. Rules about the URL are judged here; rules about addresses in `connect`.

use std::net::IpAddr;
use std::time::Duration;

use url::Url;

use super::address::{Network, denial, unmapped};
use super::error::EgressError;
use super::proxy::Proxy;

/// Time to find an address and open a connection to it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest silence in the middle of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest download: two hours of recorded video over a slow line.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Longest URL accepted; longer ones are refused by most servers.
const URL_BYTES_MAX: usize = 8192;

/// What may be contacted, and how long it may take. The default reaches public addresses on ports 80 and 443.
#[derive(Clone, Debug)]
pub struct EgressPolicy {
    /// Host names whose addresses are not judged, on any port. For development; whoever sets it logs it.
    pub allow_hosts: Vec<String>,
    /// Networks that are not judged, on any port. For development; whoever sets it logs it.
    pub allow_networks: Vec<Network>,
    /// Ports that may be contacted.
    pub ports: Vec<u16>,
    /// The way to the outside; none when it is straight.
    pub proxy: Option<Proxy>,
    /// Time to find an address and open a connection to it.
    pub connect_timeout: Duration,
    /// Longest silence in the middle of a body.
    pub idle_timeout: Duration,
    /// Longest download.
    pub download_timeout: Duration,
}

impl Default for EgressPolicy {
    fn default() -> Self {
        Self {
            allow_hosts: Vec::new(),
            allow_networks: Vec::new(),
            ports: vec![80, 443],
            proxy: None,
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            download_timeout: DOWNLOAD_TIMEOUT,
        }
    }
}

impl EgressPolicy {
    /// Reads a URL and judges what can be judged before its host is resolved.
    pub(super) fn parse(&self, url: &str) -> Result<Url, EgressError> {
        if url.len() > URL_BYTES_MAX {
            return Err(refused("", "the URL is too long"));
        }
        let url = Url::parse(url).map_err(|_| refused("", "the URL is malformed"))?;
        self.judge(&url)?;
        Ok(url)
    }

    /// Judges a URL that was already read; also each one a redirect names.
    pub(super) fn judge(&self, url: &Url) -> Result<(), EgressError> {
        let host = url.host_str().unwrap_or_default();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused(host, "only http and https are spoken"));
        }
        if host.is_empty() {
            return Err(refused(host, "the URL has no host"));
        }
        // Credentials in URLs end up in logs, and `good.example@10.0.0.1` exists to mislead readers.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(host, "a URL may not hold a user name"));
        }
        Ok(())
    }

    /// The rule that forbids dialling this address, if one does.
    pub(super) fn denial(&self, host: &str, address: IpAddr, port: u16) -> Option<&'static str> {
        if self.allows_host(host) || self.allow_networks.iter().any(|network| network.contains(unmapped(address))) {
            return None;
        }
        denial(address).or_else(|| (!self.ports.contains(&port)).then_some("the port is not allowed"))
    }

    fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.allow_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

fn refused(host: &str, rule: &'static str) -> EgressError {
    EgressError::Refused { host: host.to_owned(), address: None, rule }
}
