//! The operator's proxy, when there is one: connections to the outside are tunnelled through it.
//!
//! # Decisions
//! - `CONNECT` for http as well as https: the proxy sees no request, and one way is less to get wrong.
//! - The tunnel is asked for by address. The name was resolved and judged here; a proxy that resolved it again could be
//!   told another address. The name still stands in the request and in the greeting of TLS.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::uri::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::address::{Network, unmapped};

/// The longest head of a proxy's answer.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What ends a head.
const END: &[u8] = b"\r\n\r\n";

/// Why a proxy cannot be used as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAProxy {
    #[error("must be http://host:port")]
    Url,
    #[error("must hold user:password, in characters of ASCII that are printed")]
    Credentials,
}

/// A way to the outside.
#[derive(Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
    except_hosts: Vec<String>,
    except_networks: Vec<Network>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({}:{})", self.host, self.port)
    }
}

/// Why a proxy opened no tunnel.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("cannot be reached: {0}")]
    Unreachable(io::ErrorKind),
    #[error("answered {0}")]
    Status(u16),
    #[error("broke off before it answered")]
    BrokenOff,
    #[error("gave no answer to CONNECT")]
    Nonsense,
}

impl Proxy {
    /// A proxy at `http://host:port`, which is told `user:password` when there are any.
    ///
    /// # Errors
    /// Which of the two has the wrong form.
    pub fn new(url: &str, credentials: Option<&str>) -> Result<Self, NotAProxy> {
        let authority = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let authority: Authority = authority.and_then(|text| text.parse().ok()).ok_or(NotAProxy::Url)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().filter(|port| *port > 0).ok_or(NotAProxy::Url)?;
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(NotAProxy::Url);
        }
        let authorization = credentials.map(basic).transpose()?;
        Ok(Self { host, port, authorization, except_hosts: vec![], except_networks: vec![] })
    }

    /// The same proxy, past which these hosts and networks are dialled directly.
    #[must_use]
    pub fn except(mut self, hosts: Vec<String>, networks: Vec<Network>) -> Self {
        (self.except_hosts, self.except_networks) = (hosts, networks);
        self
    }

    /// Whether this is dialled past the proxy.
    pub(super) fn excepts(&self, host: &str, address: IpAddr) -> bool {
        let host = host.trim_end_matches('.');
        self.except_hosts.iter().any(|except| except.eq_ignore_ascii_case(host))
            || self.except_networks.iter().any(|network| network.contains(unmapped(address)))
    }

    /// A connection to the address through the proxy.
    pub(super) async fn tunnel(&self, to: SocketAddr) -> Result<TcpStream, TunnelError> {
        let unreachable = |error: io::Error| TunnelError::Unreachable(error.kind());
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(unreachable)?;
        let mut asked = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
        if let Some(authorization) = &self.authorization {
            asked.push_str("Proxy-Authorization: ");
            asked.push_str(authorization);
            asked.push_str("\r\n");
        }
        asked.push_str("\r\n");
        let broken_off = |_| TunnelError::BrokenOff;
        stream.write_all(asked.as_bytes()).await.map_err(broken_off)?;
        let mut head = Vec::with_capacity(512);
        let end = loop {
            if let Some(at) = head.windows(END.len()).position(|end| end == END) {
                break at + END.len();
            }
            if head.len() > HEAD_BYTES_MAX {
                return Err(TunnelError::Nonsense);
            }
            if stream.read_buf(&mut head).await.map_err(broken_off)? == 0 {
                return Err(TunnelError::BrokenOff);
            }
        };
        match status(&head).ok_or(TunnelError::Nonsense)? {
            // The other side never speaks first, so nothing may follow the head.
            200..300 if head.len() == end => Ok(stream),
            200..300 => Err(TunnelError::Nonsense),
            other => Err(TunnelError::Status(other)),
        }
    }
}

fn basic(credentials: &str) -> Result<Zeroizing<String>, NotAProxy> {
    let printed = credentials.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if !printed || !credentials.contains(':') {
        return Err(NotAProxy::Credentials);
    }
    Ok(Zeroizing::new(format!("Basic {}", STANDARD.encode(credentials))))
}

/// The status of an answer by HTTP/1.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.1 ").or_else(|| head.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, rest) = line.split_at_checked(3)?;
    let is_whole = digits.iter().all(u8::is_ascii_digit) && matches!(rest.first(), Some(b' ' | b'\r'));
    std::str::from_utf8(digits).ok().filter(|_| is_whole)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_have_one_form() {
        for good in ["http://proxy.example:3128", "http://10.0.0.5:80/", "http://[fd00::1]:3128"] {
            assert!(Proxy::new(good, Some("user:pass:word")).is_ok(), "{good}");
        }
        for bad in [
            "",
            "proxy.example:3128",
            "http://proxy.example",
            "http://:3128",
            "http://a:0",
            "http://a:3128/path",
            "http://user:password@a:3128",
            "https://a:3128",
            "socks5://a:1080",
        ] {
            assert_eq!(Proxy::new(bad, None).unwrap_err(), NotAProxy::Url, "{bad}");
        }
        for bad in ["", "user", "user:pass\r\nX: y", "usér:x"] {
            assert_eq!(Proxy::new("http://a:1", Some(bad)).unwrap_err(), NotAProxy::Credentials, "{bad}");
        }
        let proxy = Proxy::new("http://a:1", Some("user:s3cret")).unwrap();
        assert_eq!(format!("{proxy:?}"), "Proxy(a:1)");
    }

    #[test]
    fn statuses_are_those_of_http_1() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\n"), Some(407));
        for bad in [&b"HTTP/2 200 OK"[..], b"HTTP/1.1 2000", b"HTTP/1.1 20", b"200 OK", b"HTTP/1.1 +20 "] {
            assert_eq!(status(bad), None);
        }
    }
}
