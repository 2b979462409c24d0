//! The bare gateway: the same HTTP server, signature check and answer, with nothing behind them. What a webhook costs
//! beyond this is the price of being durable. Runs as a process of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming as Body;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use steward_actors::domain::webhook::{self, Incoming};
use steward_actors::supervisor;
use steward_cluster::clock::{Clock, SystemClock};
use tokio::net::TcpListener;

use crate::inbox;
use crate::node::Program;

/// Starts this binary as the bare gateway.
pub(crate) const SWITCH: &str = "--bare-gateway";
/// As many as the node has.
pub(crate) const ACCOUNTS: usize = 1_000;
const BODY_BYTES_MAX: usize = 1024 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const ADDRESS_FILE: &str = "bare.log";

/// A running bare gateway.
pub(crate) struct Bare {
    program: Program,
    pub(crate) address: SocketAddr,
}

impl Bare {
    /// Starts one; it tells its address in a file of this folder.
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let told = folder.join(ADDRESS_FILE);
        let this = std::env::current_exe().context("this program has no path")?;
        let mut program = Program::start(Command::new(this).arg(SWITCH), &told)?;
        let address = program.wait_for("the bare gateway", || {
            let text = std::fs::read_to_string(&told).ok()?;
            text.strip_suffix('\n')?.parse().ok()
        })?;
        Ok(Self { program, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }
}

struct Gateway {
    secrets: HashMap<String, String>,
    clock: SystemClock,
    seq: AtomicU64,
}

/// Serves until killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        crate::figure::say(&listener.local_addr()?.to_string());
        let secrets = inbox::bare_secrets(ACCOUNTS);
        let gateway = Arc::new(Gateway { secrets, clock: SystemClock::new(), seq: AtomicU64::new(0) });
        loop {
            let (stream, _) = listener.accept().await.context("a connection cannot be accepted")?;
            stream.set_nodelay(true)?;
            let gateway = Arc::clone(&gateway);
            let service = service_fn(move |request| {
                let gateway = Arc::clone(&gateway);
                async move { Ok::<_, Infallible>(gateway.answer(request).await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            supervisor::spawn("bare_connection", server.serve_connection(TokioIo::new(stream), service));
        }
    })
}

impl Gateway {
    async fn answer(&self, request: Request<Body>) -> Response<Full<Bytes>> {
        let (status, body) = match self.accept(request).await {
            Some(seq) => (StatusCode::OK, format!("{{\"seq\":{seq},\"duplicate\":false}}")),
            None => (StatusCode::UNAUTHORIZED, String::new()),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    async fn accept(&self, request: Request<Body>) -> Option<u64> {
        let (head, body) = request.into_parts();
        let secret = self.secrets.get(head.uri.path().strip_prefix("/hooks/")?)?;
        let body = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await.ok()?;
        let body = body.ok()?.to_bytes();
        let url = format!("https://bench{}", head.uri.path());
        let method = head.method.as_str();
        let incoming = Incoming { method, url: &url, headers: &head.headers, body: &body, raw: None };
        let scheme = webhook::find(inbox::SCHEME)?;
        webhook::verify(scheme, &incoming, &[secret.as_bytes()], self.clock.now(), None).ok()?;
        Some(self.seq.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
