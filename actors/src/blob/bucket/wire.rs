//! HTTP to the object store, over the client that everything else here uses. What the operator names as its store may be
//! anywhere, also in a private network: the rules for addresses of clients are not asked.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use tokio::time::timeout;

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an answer may take to begin, with a part of a blob sent before it.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long the next bytes of an answer may take.
const CHUNK_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a connection is kept that nothing uses.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Makes the client. Of the library's options none is heeded: what matters is said here.
#[derive(Debug)]
pub(super) struct Connector;

struct Wire(Client<HttpsConnector<TcpConnector>, HttpRequestBody>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().wrap_connector(tcp);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_MAX);
        Ok(HttpClient::new(Wire(client.build(https))))
    }
}

impl HttpService for Wire {
    fn call<'s, 'a>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let answer = timeout(ANSWER_MAX, self.0.request(request)).await.map_err(late)?;
            let answer = answer.map_err(|error| {
                let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
                HttpError::new(kind, error)
            })?;
            Ok(answer.map(|body| HttpResponseBody::new(StreamBody::new(frames(body)))))
        })
    }
}

/// The bytes of an answer, none of which may take long.
fn frames(body: Incoming) -> impl Stream<Item = Result<Frame<Bytes>, HttpError>> + Send {
    futures_util::stream::try_unfold(body, |mut body| async move {
        if body.is_end_stream() {
            return Ok(None);
        }
        match timeout(CHUNK_WAIT_MAX, body.frame()).await.map_err(late)? {
            Some(Ok(frame)) => Ok(Some((frame, body))),
            Some(Err(error)) => Err(HttpError::new(HttpErrorKind::Interrupted, error)),
            None => Ok(None),
        }
    })
}

fn late(late: tokio::time::error::Elapsed) -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, late)
}
