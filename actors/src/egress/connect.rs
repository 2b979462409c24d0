//! The connector: resolves a host, judges every address it got, dials one, through the proxy if there is one. Every connection of this node to the
//! outside is opened here, after redirects, for pooled clients, whatever the URL looked like.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::policy::EgressPolicy;
use super::proxy::TunnelError;

/// Addresses of one name that are tried; a name with more is not looked at further.
const ADDRESSES_MAX: usize = 8;

/// Turns names into addresses. What it answers is never trusted.
pub(super) trait Resolve: Send + Sync + 'static {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the machine.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

/// Why there is no connection. Travels inside the HTTP client's own error, so it can be copied out of it.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{address} may not be dialled: {rule}")]
    Refused { address: IpAddr, rule: &'static str },
    #[error("no connection within {} ms", limit.as_millis())]
    Timeout { limit: Duration },
    #[error("no address answers")]
    Failed(#[source] Arc<io::Error>),
    #[error("the proxy {0}")]
    Proxy(TunnelError),
}

/// Opens connections to what the policy allows.
#[derive(Clone)]
pub(super) struct GuardedConnector {
    pub(super) policy: Arc<EgressPolicy>,
    pub(super) resolver: Arc<dyn Resolve>,
}

impl Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = BoxFuture<'static, Result<Self::Response, DialError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            let limit = connector.policy.connect_timeout;
            let stream = timeout(limit, connector.connect(&host, port)).await;
            stream.unwrap_or(Err(DialError::Timeout { limit })).map(TokioIo::new)
        })
    }
}

impl GuardedConnector {
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let failed = |error| DialError::Failed(Arc::new(error));
        let addresses = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => self.resolver.resolve(host.to_owned()).await.map_err(failed)?,
        };
        // All of them, before dialling any: a name that points inside at all is not one to talk to.
        for address in &addresses {
            if let Some(rule) = self.policy.denial(host, *address, port) {
                return Err(DialError::Refused { address: *address, rule });
            }
        }
        let mut last = failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            match self.open(host, SocketAddr::new(address, port)).await {
                Ok(stream) => {
                    stream.set_nodelay(true).ok(); // Slower without it, but not wrong.
                    return Ok(stream);
                }
                // Another address finds the same proxy.
                Err(error @ DialError::Proxy(TunnelError::Unreachable(_))) => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Opens a connection to an address that was judged, by the way that leads there.
    async fn open(&self, host: &str, to: SocketAddr) -> Result<TcpStream, DialError> {
        let proxy = self.policy.proxy.as_ref().filter(|proxy| !proxy.excepts(host, to.ip()));
        match proxy {
            Some(proxy) => proxy.tunnel(to).await.map_err(DialError::Proxy),
            None => TcpStream::connect(to).await.map_err(|error| DialError::Failed(Arc::new(error))),
        }
    }
}
