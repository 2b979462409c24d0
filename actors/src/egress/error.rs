//! Why something outside could not be reached. Names hosts, never whole URLs: their paths and queries hold secrets.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;

/// Why a request that leaves the node failed.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// Judged before anything was dialled; the same request is refused again.
    #[error("{host:?} may not be contacted{}: {rule}", at(*address))]
    Refused {
        /// The host of the URL; empty when it could not be read.
        host: String,
        /// The address that is forbidden, when it was an address.
        address: Option<IpAddr>,
        /// The rule it broke.
        rule: &'static str,
    },
    /// No address, no connection, or no TLS.
    #[error("no connection to {host}")]
    Connect {
        /// The host of the URL.
        host: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The operator's proxy leads nowhere. Where it is, is not the receiver's to know.
    #[error("no connection to {host}: the proxy {why}")]
    Proxy {
        /// The host of the URL.
        host: String,
        /// What the proxy did.
        why: String,
    },
    /// One of the time limits passed.
    #[error("{host} took longer than {} ms to {step}", limit.as_millis())]
    Timeout {
        /// The host of the URL.
        host: String,
        /// What was waited for.
        step: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The answer is larger than the caller accepts.
    #[error("{host} sends more than {limit} bytes")]
    TooLarge {
        /// The host of the URL.
        host: String,
        /// The limit.
        limit: u64,
    },
    /// An answer, but not the one needed.
    #[error("{host} answered with status {status}")]
    Status {
        /// The host of the URL.
        host: String,
        /// The status.
        status: StatusCode,
        /// When the host wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The connection broke in the middle of an exchange.
    #[error("the exchange with {host} broke off")]
    BrokenOff {
        /// The host of the URL.
        host: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Our own disk, not their server.
    #[error("the download could not be written to {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl EgressError {
    /// The stable name of this failure.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "egress_refused",
            Self::Connect { .. } => "egress_connect",
            Self::Proxy { .. } => "egress_proxy",
            Self::Timeout { .. } => "egress_timeout",
            Self::TooLarge { .. } => "egress_too_large",
            Self::Status { .. } => "egress_status",
            Self::BrokenOff { .. } => "egress_broken_off",
            Self::File { .. } => "egress_file",
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::TooLarge { .. } => false,
            Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::Timeout { .. }
            | Self::BrokenOff { .. }
            | Self::File { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
        }
    }

    /// When the host wants to be asked again, if it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Refused { .. }
            | Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::Timeout { .. }
            | Self::TooLarge { .. }
            | Self::BrokenOff { .. }
            | Self::File { .. } => None,
        }
    }
}

fn at(address: Option<IpAddr>) -> String {
    address.map(|address| format!(" at {address}")).unwrap_or_default()
}
