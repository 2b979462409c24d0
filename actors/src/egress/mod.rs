//! The only way out: every request this node makes because a user asked for it goes through [`Egress`].
//!
//! Runners download recordings and call model providers with it; the delivery runner posts webhooks.
//!
//! # Invariants
//! - **E1 no way in**: no byte goes to an address the policy forbids: each address is judged after the name was
//!   resolved and right before it is dialled, and the judged address is the one dialled, or asked of the proxy.
//! - **E2 no detour**: the policy alone names a proxy, those of the environment are ignored; redirects are followed by downloads only, few, each
//!   judged like a first request, and never from https to http.
//! - **E3 bounded**: every exchange has limits on time, silence and size.
//! - **E4 whole files**: a download is at its destination complete and on disk, or not at all; parts of two contents are
//!   never joined (`part`).
//! - **E5 discreet**: errors name hosts; paths, queries, headers and bodies never reach a log from here.

mod address;
mod body;
mod certificate;
mod connect;
mod download;
mod error;
mod part;
mod policy;
mod proxy;

#[cfg(test)]
mod egress_tests;
#[cfg(test)]
mod proxy_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod ssrf_tests;

pub use address::{Network, NotANetwork};
pub use certificate::CertificateError;
pub(crate) use certificate::config as certificate_config;
pub use download::Downloaded;
pub use error::EgressError;
pub use policy::EgressPolicy;
pub use proxy::{NotAProxy, Proxy};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;
use url::Url;

use body::Body;
use connect::{DialError, GuardedConnector, Resolve, SystemResolver};

/// Idle connections kept per host.
const IDLE_PER_HOST_MAX: usize = 64;

/// How long an idle connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Largest streamed answer; the longest model answers are some hundred kilobytes.
const STREAM_BYTES_MAX: u64 = 64 << 20;

/// Headers that frame the request or name its host: the client writes them, callers may not.
const OWN_HEADERS: [header::HeaderName; 5] =
    [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE];

/// The guarded HTTP client. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct Egress {
    client: Client<HttpsConnector<GuardedConnector>, Full<Bytes>>,
    policy: Arc<EgressPolicy>,
    resolver: Arc<dyn Resolve>,
}

/// A whole answer, of any status.
#[derive(Debug)]
pub struct Response {
    /// The status, redirects included: they are not followed.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Bytes,
    /// Whether the body was longer than asked for.
    pub truncated: bool,
}

/// An answer whose body is still coming.
pub struct Streaming {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it arrives; ends with an error when it falls silent, breaks off or grows too large.
    pub body: BoxStream<'static, Result<Bytes, EgressError>>,
}

impl Egress {
    /// A client that keeps to this policy.
    #[must_use]
    pub fn new(policy: EgressPolicy) -> Self {
        Self::with_resolver(policy, Arc::new(SystemResolver))
    }

    fn with_resolver(policy: EgressPolicy, resolver: Arc<dyn Resolve>) -> Self {
        let policy = Arc::new(policy);
        let tls = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("ring supports the default protocol versions");
        Self::over(tls, policy, resolver)
    }

    /// The same way out for one who shows a certificate. `ca_pem` names the authority of the other side when it is not
    /// one of the public ones.
    ///
    /// # Errors
    /// What is wrong with the certificate or its key.
    pub fn with_certificate(&self, chain_pem: &str, key_pem: &str, ca_pem: &str) -> Result<Self, CertificateError> {
        let config = certificate::config(chain_pem, key_pem, ca_pem)?;
        let tls = HttpsConnectorBuilder::new().with_tls_config(config);
        Ok(Self::over(tls, Arc::clone(&self.policy), Arc::clone(&self.resolver)))
    }

    fn over(tls: HttpsConnectorBuilder<WantsSchemes>, policy: Arc<EgressPolicy>, resolver: Arc<dyn Resolve>) -> Self {
        let guarded = GuardedConnector { policy: policy.clone(), resolver: Arc::clone(&resolver) };
        let connector = tls.https_or_http().enable_all_versions().wrap_connector(guarded);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .build(connector);
        Self { client, policy, resolver }
    }

    /// Posts a body and waits for the whole answer; bytes beyond `max_response_bytes` are left unread.
    pub async fn post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        limit: Duration,
        max_response_bytes: usize,
    ) -> Result<Response, EgressError> {
        let url = self.policy.parse(url)?;
        let exchange = async {
            let (head, mut answer) = self.send(Method::POST, &url, headers, body).await?;
            let mut body = Vec::new();
            let mut truncated = false;
            while let Some(chunk) = answer.chunk().await? {
                let room = max_response_bytes - body.len();
                truncated = chunk.len() > room;
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if truncated {
                    break;
                }
            }
            Ok(Response { status: head.status, headers: head.headers, body: body.into(), truncated })
        };
        timeout(limit, exchange).await.unwrap_or_else(|_| Err(late(&url, "answer", limit)))
    }

    /// Posts a body and returns as soon as the answer begins, which must be within `limit`.
    pub async fn stream_post(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Streaming, EgressError> {
        let url = self.policy.parse(url)?;
        let sent = timeout(limit, self.send(Method::POST, &url, headers, body)).await;
        let (head, answer) = sent.unwrap_or_else(|_| Err(late(&url, "answer", limit)))?;
        Ok(Streaming { status: head.status, headers: head.headers, body: answer.into_stream(STREAM_BYTES_MAX) })
    }

    /// One request, one answer; no redirects.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(http::response::Parts, Body), EgressError> {
        for name in OWN_HEADERS {
            headers.remove(name);
        }
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("steward"));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.uri_mut() = url.as_str().parse().map_err(|_| EgressError::Refused {
            host: host(url),
            address: None,
            rule: "the URL is malformed",
        })?;
        let answer = self.client.request(request).await.map_err(|error| explain(url, error))?;
        let (head, incoming) = answer.into_parts();
        Ok((head, Body::new(host(url), incoming, self.policy.idle_timeout)))
    }
}

/// Our own reason, when the client's error holds one.
fn explain(url: &Url, error: hyper_util::client::legacy::Error) -> EgressError {
    let host = host(url);
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(source) = cause {
        match source.downcast_ref::<DialError>() {
            Some(DialError::Refused { address, rule }) => {
                return EgressError::Refused { host, address: Some(*address), rule };
            }
            Some(DialError::Timeout { limit }) => {
                return EgressError::Timeout { host, step: "accept a connection", limit: *limit };
            }
            Some(DialError::Failed(source)) => return EgressError::Connect { host, source: source.clone().into() },
            Some(DialError::Proxy(why)) => return EgressError::Proxy { host, why: why.to_string() },
            None => cause = source.source(),
        }
    }
    if error.is_connect() {
        return EgressError::Connect { host, source: error.into() };
    }
    EgressError::BrokenOff { host, source: error.into() }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn late(url: &Url, step: &'static str, limit: Duration) -> EgressError {
    EgressError::Timeout { host: host(url), step, limit }
}
