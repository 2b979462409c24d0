//! Two ends of a line over a real socket.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{Request, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{join_all, pending};
use http_body_util::{BodyExt as _, Full};
use steward_actors::supervisor;
use steward_cluster::ids::NodeId;
use steward_cluster::peers::NotReachable;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server};

use super::{ANSWER_BYTES_MAX, CALL_BYTES_MAX, CallServer, Lines, WAITING_MAX, fits};
use crate::gateway::forward::{Body, Unreachable};

const OTHER: NodeId = NodeId(2);
/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// A node that answers calls by their path.
struct Other {
    address: SocketAddr,
    /// Calls to `/wait` go on with it.
    gate: Arc<Semaphore>,
    seen: Arc<AtomicUsize>,
    stop: CancellationToken,
    /// Its own, so that all it does can end at once.
    runtime: Option<Runtime>,
}

impl Other {
    fn start(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (gate, seen) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (waits, counted) = (Arc::clone(&gate), Arc::clone(&seen));
        let handler = move |request: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            answer(request, Arc::clone(&waits)).boxed()
        };
        let stop = CancellationToken::new();
        let service = CallServer::service(Arc::new(handler), stop.clone());
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let context = runtime.enter();
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
        supervisor::spawn("other", Server::builder().add_service(service).serve_with_incoming(incoming));
        drop(context);
        Self { address, gate, seen, stop, runtime: Some(runtime) }
    }

    fn anywhere() -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    async fn has_seen(&self, calls: usize) {
        while self.seen.load(Ordering::Relaxed) < calls {
            tokio::task::yield_now().await;
        }
    }

    fn kill(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn answer(request: Request<Body>, gate: Arc<Semaphore>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match head.uri.path() {
        "/wait" => {
            gate.acquire().await.unwrap().forget();
            Bytes::from_static(b"waited")
        }
        "/never" => pending().await,
        "/long" => Bytes::from(vec![b'x'; ANSWER_BYTES_MAX + 1]),
        _ => body.collect().await.unwrap().to_bytes(),
    };
    let answer = Response::builder().status(202).header("x-host", &head.headers["host"]).header("x-two", "a");
    answer.header("x-two", "b").header("x-path", head.uri.to_string()).body(Body::new(Full::new(body))).unwrap()
}

fn lines(address: SocketAddr) -> Arc<Lines> {
    Arc::new(Lines::new(move |node| match node {
        OTHER => Ok(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()),
        stranger => Err(NotReachable(stranger)),
    }))
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Body> {
    let request = Request::post(path).header("host", "hooks.example");
    request.body(Body::new(Full::new(body.into()))).unwrap()
}

async fn send(lines: &Lines, request: Request<Body>) -> Result<Bytes, Unreachable> {
    let answer = timeout(SOON, lines.call(OTHER, request)).await.expect("it is answered or fails")?;
    Ok(answer.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_call_and_its_answer_arrive_as_they_are() {
    let other = Other::anywhere();
    let lines = lines(other.address);
    let answer = lines.call(OTHER, post("/hooks/a.b?c=%20d", "\u{0}\u{1}{}")).await.unwrap();
    let (head, body) = answer.into_parts();
    let header =
        |name: &str| head.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((head.status.as_u16(), header("x-host"), header("x-two")), (202, vec!["hooks.example"], vec!["a", "b"]));
    assert_eq!(header("x-path"), ["/hooks/a.b?c=%20d"]);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "\u{0}\u{1}{}");
}

#[tokio::test]
async fn calls_are_answered_as_they_are_done() {
    let other = Other::anywhere();
    let lines = lines(other.address);
    let slow = {
        let lines = Arc::clone(&lines);
        supervisor::spawn("slow", async move { send(&lines, post("/wait", "")).await })
    };
    other.has_seen(1).await;
    let bodies: Vec<String> = (0..500).map(|number| format!("call {number}")).collect();
    let quick = join_all(bodies.iter().map(|body| send(&lines, post("/echo", body.clone())))).await;
    assert_eq!(quick.into_iter().map(Result::unwrap).collect::<Vec<_>>(), bodies);
    assert!(!slow.is_finished(), "it waits");
    other.gate.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap(), "waited");
}

#[tokio::test]
async fn calls_that_cannot_have_left_say_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let lines = lines(address);
    assert!(matches!(send(&lines, post("/echo", "x")).await, Err(Unreachable::NotSent(_))), "nobody listens");
    let stranger = timeout(SOON, lines.call(NodeId(9), post("/echo", "x"))).await.unwrap();
    assert!(matches!(stranger, Err(Unreachable::NotSent(_))), "nobody has that number");
    let other = Other::start(TcpListener::bind(address).unwrap());
    assert_eq!(send(&lines, post("/echo", "x")).await.unwrap(), "x", "the line opens once somebody is there");
    drop(other);
}

#[tokio::test]
async fn calls_without_an_answer_may_have_been_done() {
    let mut other = Other::anywhere();
    let lines = lines(other.address);
    assert!(matches!(send(&lines, post("/long", "")).await, Err(Unreachable::Broken(_))), "the answer is too long");
    assert_eq!(send(&lines, post("/echo", "x")).await.unwrap(), "x", "the others go on");
    let (never, ()) = tokio::join!(send(&lines, post("/never", "")), async {
        other.has_seen(3).await;
        other.kill();
    });
    assert!(matches!(never, Err(Unreachable::Broken(_))), "the node died over it");
}

#[tokio::test]
async fn a_node_that_stops_answers_what_it_took() {
    let other = Other::anywhere();
    let lines = lines(other.address);
    let (waited, ()) = tokio::join!(send(&lines, post("/wait", "")), async {
        other.has_seen(1).await;
        other.stop.cancel();
        other.gate.add_permits(1);
    });
    assert_eq!(waited.unwrap(), "waited");
    assert!(send(&lines, post("/echo", "x")).await.is_err(), "it takes nothing more");
}

#[tokio::test]
async fn a_node_that_hangs_holds_no_more_than_the_limit() {
    // It is connected to, and answers nothing.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = lines(listener.local_addr().unwrap());
    let calls: Vec<_> = (0..3 * WAITING_MAX).map(|_| send(&lines, post("/echo", "x"))).collect();
    let mut calls = Box::pin(join_all(calls.into_iter().map(|call| timeout(Duration::from_millis(500), call))));
    let outcomes = (&mut calls).await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Err(Unreachable::NotSent(_))))).count();
    assert!(refused >= WAITING_MAX, "{refused} calls were refused at once");
}

#[test]
fn only_webhooks_of_moderate_size_are_carried() {
    assert!(fits(&post("/hooks/a.b", vec![0; CALL_BYTES_MAX - 100])));
    assert!(!fits(&post("/hooks/a.b", vec![0; CALL_BYTES_MAX])));
    let get = Request::get("/v1/accounts/a/events").body(Body::empty()).unwrap();
    assert!(!fits(&get), "its answer may be long");
    let mut grpc = post("/steward.event.v1.EventService/Subscribe", "");
    grpc.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    assert!(!fits(&grpc), "its answer may never end");
}
