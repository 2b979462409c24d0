//! The three nodes: what each believes, what it answers, and what goes wrong on the way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Request, Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use steward_actors::supervisor;
use steward_cluster::clock::SystemClock;
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::peers::NotReachable;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::service::Routes;
use tonic::transport::{Channel, Server};
use tower::ServiceExt as _;

use super::super::inside::router;
use super::super::{Body, Forwarder, Leader, Lines, Protocol, Reach, RetryKey, Unreachable, Whereabouts, fits};
use crate::gateway::correlation::CorrelationId;
use crate::gateway::error::{Code, Refused};
use crate::gateway::grpc;

/// How long anything may take that is about to happen.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// The largest webhook of the stubs.
pub(super) const BODY_BYTES_MAX: usize = 1_000;
/// Who answered, in the head of every answer.
pub(super) const BY: &str = "answered-by";

/// What a node believes about the only shard.
pub(super) struct Beliefs {
    me: NodeId,
    leader: Mutex<Leader>,
    replica: Mutex<bool>,
    /// Whether the others would confirm that it leads.
    sure: Mutex<bool>,
    pub(super) corrections: Mutex<Vec<Option<NodeId>>>,
    changes: watch::Sender<u64>,
    /// How often it was asked who leads.
    pub(super) asked: watch::Sender<u64>,
}

impl Beliefs {
    pub(super) fn set(&self, leader: Leader) {
        *self.leader.lock() = leader;
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// It believes that it leads, and nobody confirms it.
    pub(super) fn set_unsure(&self) {
        *self.sure.lock() = false;
    }

    pub(super) fn set_replica(&self, replica: bool) {
        *self.replica.lock() = replica;
    }
}

impl Whereabouts for Beliefs {
    fn leader(&self, _shard: ShardId) -> Leader {
        self.asked.send_modify(|asked| *asked += 1);
        *self.leader.lock()
    }

    fn confirm(&self, _shard: ShardId) -> BoxFuture<'static, bool> {
        let sure = *self.sure.lock();
        Box::pin(async move { sure })
    }

    fn is_replica_here(&self, _shard: ShardId) -> bool {
        *self.replica.lock()
    }

    fn correct(&self, _shard: ShardId, leader: Option<NodeId>) {
        self.corrections.lock().push(leader);
        self.set(leader.filter(|leader| *leader != self.me).map_or(Leader::Unknown, Leader::At));
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// What a node does instead of answering, once.
pub(super) enum Fault {
    Refuse(Code),
    /// Another node took over in this moment.
    Moved(NodeId),
    /// It answers when the test lets it.
    Hold(oneshot::Receiver<()>),
}

/// A request as a handler saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) retry_key: Option<String>,
    pub(super) body: Bytes,
}

/// An answer as the test makes it.
type Frames = mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>;

/// The handlers of a node.
pub(super) struct Stub {
    me: NodeId,
    beliefs: Arc<Beliefs>,
    pub(super) seen: watch::Sender<Vec<Seen>>,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    /// The next answer.
    pub(super) stream: Mutex<Option<Frames>>,
}

impl Stub {
    pub(super) async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let kind = head.headers.get("content-type").cloned().unwrap_or(HeaderValue::from_static("text/plain"));
        let protocol = if kind == "application/grpc" { Protocol::Grpc } else { Protocol::Http };
        let retry_key = head.extensions.get::<RetryKey>().map(|key| key.0.clone());
        let body = body.collect().await.unwrap().to_bytes();
        let correlation = CorrelationId::of(&head.headers);
        let seen = Seen { path: head.uri.path().to_owned(), headers: head.headers, retry_key, body };
        self.seen.send_modify(|all| all.push(seen));
        let refuse = |code| protocol.refuse(&Refused::new(code, "a fault of the test"), &correlation);
        let fault = self.faults.lock().pop_front();
        let mut answer = match fault {
            Some(Fault::Refuse(code)) => refuse(code),
            Some(Fault::Moved(to)) => {
                self.beliefs.set(Leader::At(to));
                refuse(Code::NotLed)
            }
            Some(Fault::Hold(released)) => {
                released.await.ok(); // A test that is over lets go of everything.
                self.success(protocol)
            }
            None => self.success(protocol),
        };
        answer.headers_mut().insert("content-type", kind);
        answer.headers_mut().insert(BY, HeaderValue::from(self.me.0));
        answer
    }

    fn success(&self, protocol: Protocol) -> Response<Body> {
        if let Some(frames) = self.stream.lock().take() {
            return Response::new(Body::new(StreamBody::new(ReceiverStream::new(frames))));
        }
        let trailers = [("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))].into_iter().collect();
        let frames = match protocol {
            // A message of which every field has its default.
            Protocol::Grpc => vec![Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(trailers)],
            Protocol::Http => vec![Frame::data(Bytes::from_static(b"done"))],
        };
        let frames = futures_util::stream::iter(frames.into_iter().map(Ok::<_, std::io::Error>));
        Response::new(Body::new(StreamBody::new(frames)))
    }
}

/// The connections of a node to the others.
pub(super) struct Wire {
    channels: Arc<Mutex<BTreeMap<NodeId, Channel>>>,
    lines: Arc<Lines>,
    pub(super) down: Mutex<BTreeSet<NodeId>>,
    /// So many answers get lost.
    pub(super) breaks: Arc<Mutex<usize>>,
    pub(super) calls: Mutex<Vec<NodeId>>,
}

impl Wire {
    fn new() -> Self {
        let channels: Arc<Mutex<BTreeMap<NodeId, Channel>>> = Arc::default();
        let dialed = Arc::clone(&channels);
        let lines = Lines::new(move |node| dialed.lock().get(&node).cloned().ok_or(NotReachable(node)));
        let (down, breaks, calls) = (Mutex::default(), Arc::default(), Mutex::default());
        Self { channels, lines: Arc::new(lines), down, breaks, calls }
    }
}

impl Reach for Wire {
    fn call(&self, node: NodeId, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Unreachable>> {
        self.calls.lock().push(node);
        let up = !self.down.lock().contains(&node);
        let (channel, breaks) = (self.channels.lock()[&node].clone(), Arc::clone(&self.breaks));
        let lines = fits(&request).then(|| Arc::clone(&self.lines));
        Box::pin(async move {
            if !up {
                return Err(Unreachable::NotSent("down".into()));
            }
            let answer = match lines {
                Some(lines) => lines.call(node, request).await?,
                None => channel.oneshot(request).await.map_err(|error| Unreachable::Broken(error.into()))?,
            };
            let mut breaks = breaks.lock();
            if *breaks > 0 {
                *breaks -= 1;
                return Err(Unreachable::Broken("cut".into()));
            }
            Ok(answer)
        })
    }

    fn stream(&self, node: NodeId, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Unreachable>> {
        self.call(node, request)
    }
}

/// One of the three.
pub(super) struct Node {
    pub(super) beliefs: Arc<Beliefs>,
    pub(super) stub: Arc<Stub>,
    pub(super) wire: Arc<Wire>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) public: Channel,
    pub(super) inside: SocketAddr,
}

impl Node {
    async fn start(me: NodeId, stop: &CancellationToken) -> Self {
        let (replica, corrections, leader) = (Mutex::new(false), Mutex::default(), Mutex::new(Leader::Unknown));
        let (changes, asked) = (watch::Sender::new(0), watch::Sender::new(0));
        let sure = Mutex::new(true);
        let beliefs = Arc::new(Beliefs { me, leader, replica, sure, corrections, changes, asked });
        let stub = Arc::new(Stub {
            me,
            beliefs: Arc::clone(&beliefs),
            seen: watch::Sender::new(vec![]),
            faults: Mutex::default(),
            stream: Mutex::default(),
        });
        let wire = Arc::new(Wire::new());
        let clock = Arc::new(SystemClock::new());
        let forwarder = Arc::new(Forwarder::new(me, 1, beliefs.clone(), wire.clone(), clock));
        let (api, web) = (Arc::clone(&stub), Arc::clone(&stub));
        let handler = move |request: axum::extract::Request| Arc::clone(&api).answer(request.map(Body::new));
        let api =
            Routes::from(axum::Router::new().fallback(async move |request: axum::extract::Request| {
                handler(request).await.map(axum::body::Body::new)
            }));
        let web = move |request| Arc::clone(&web).answer(request);
        let inside = router(Arc::clone(&forwarder), api.clone(), web, BODY_BYTES_MAX, stop.clone());
        let (listener, inside_at) = listen().await;
        let served = Server::builder()
            .add_routes(inside)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        supervisor::spawn("inside", served);
        let (listener, public) = listen().await;
        let served = grpc::serve(listener, api, Some(Arc::clone(&forwarder)), 10, stop.clone());
        supervisor::spawn("public", served);
        Self { beliefs, stub, wire, forwarder, public: channel(public), inside: inside_at }
    }

    /// What its handlers saw.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.stub.seen.borrow().clone()
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.stub.faults.lock().push_back(fault);
    }

    /// Waits until its handlers saw so many requests.
    pub(super) async fn has_seen(&self, count: usize) {
        let mut seen = self.stub.seen.subscribe();
        tokio::time::timeout(SOON, seen.wait_for(|seen| seen.len() >= count)).await.unwrap().unwrap();
    }
}

/// The three nodes, numbered from 1.
pub(super) struct World {
    nodes: Vec<Node>,
    _stop: DropGuard,
}

impl World {
    /// Nobody leads, and everybody knows.
    pub(super) async fn new() -> Self {
        let stop = CancellationToken::new();
        let mut nodes = vec![];
        for id in 1..=3 {
            nodes.push(Node::start(NodeId(id), &stop).await);
        }
        for node in &nodes {
            let channels = (1..).map(NodeId).zip(nodes.iter().map(|node| channel(node.inside)));
            *node.wire.channels.lock() = channels.collect();
        }
        Self { nodes, _stop: stop.drop_guard() }
    }

    /// A node leads, and everybody knows.
    pub(super) async fn led_by(leader: usize) -> Self {
        let world = Self::new().await;
        for id in 1..=3 {
            world.believes(id, leader);
        }
        world
    }

    pub(super) fn node(&self, id: usize) -> &Node {
        &self.nodes[id - 1]
    }

    /// From now on the node believes this about who leads.
    pub(super) fn believes(&self, id: usize, leader: usize) {
        let there = Leader::At(NodeId(u64::try_from(leader).unwrap()));
        self.node(id).beliefs.set(if id == leader { Leader::Here } else { there });
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(super) fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}
