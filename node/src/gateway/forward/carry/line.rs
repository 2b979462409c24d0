//! The side that passes calls on: one line for each other node, and its stream.

use std::collections::BTreeMap;
use std::convert::identity;
use std::sync::Arc;

use ::http::{Request, Response};
use futures_util::{Stream, stream};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use steward_actors::supervisor;
use steward_cluster::ids::NodeId;
use steward_cluster::peers::NotReachable;
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::call_service_client::CallServiceClient;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;

use super::form;
use super::{MESSAGE_BYTES_MAX, MESSAGE_CALLS_MAX, WAITING_MAX};
use crate::gateway::forward::{Body, Unreachable, never_left};

type Answer = Result<Response<Body>, Unreachable>;
type Dial = Arc<dyn Fn(NodeId) -> Result<Channel, NotReachable> + Send + Sync>;

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{WAITING_MAX} calls wait for the node already")]
    Full,
    #[error("the body could not be read")]
    Body(#[source] Status),
    #[error("the stream to the node cannot be opened: {0}")]
    NotOpened(Arc<str>),
    #[error("the stream to the node ended: {0}")]
    Ended(Arc<str>),
    #[error("the node has no answer")]
    Unanswered,
}

/// How a stream ended, for all calls that have no answer then.
enum End {
    /// Nothing can have left this node.
    NotOpened(Arc<str>),
    Ended(Arc<str>),
}

impl End {
    fn told(&self) -> Unreachable {
        match self {
            Self::NotOpened(why) => not_sent(Lost::NotOpened(Arc::clone(why))),
            Self::Ended(why) => broken(Lost::Ended(Arc::clone(why))),
        }
    }
}

/// The lines to other nodes, made as they are needed: one for each node there ever was.
pub(crate) struct Lines {
    dial: Dial,
    lines: Mutex<BTreeMap<NodeId, mpsc::Sender<Waiting>>>,
}

/// A call on its way to the stream.
struct Waiting {
    request: Request<bytes::Bytes>,
    answer: oneshot::Sender<Answer>,
}

impl Lines {
    /// `dial` gives a connection to a node.
    pub(crate) fn new(dial: impl Fn(NodeId) -> Result<Channel, NotReachable> + Send + Sync + 'static) -> Self {
        Self { dial: Arc::new(dial), lines: Mutex::default() }
    }

    /// Passes a call on to a node and waits for the answer. A caller that goes away takes back what has not left.
    pub(crate) async fn call(&self, node: NodeId, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| not_sent(Lost::Body(error)))?.to_bytes();
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { request: Request::from_parts(head, body), answer };
        self.line(node).try_send(waiting).map_err(|_| not_sent(Lost::Full))?;
        answered.await.map_err(|_| broken(Lost::Unanswered)).and_then(identity)
    }

    fn line(&self, node: NodeId) -> mpsc::Sender<Waiting> {
        let mut lines = self.lines.lock();
        let open = || {
            let (sender, queue) = mpsc::channel(WAITING_MAX);
            supervisor::spawn("line", Line::new(queue).run(Arc::clone(&self.dial), node));
            sender
        };
        lines.entry(node).or_insert_with(open).clone()
    }
}

/// One line: its queue and what waits for answers. Bounded by the node's own limit of requests.
struct Line {
    queue: AsyncMutex<mpsc::Receiver<Waiting>>,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    newest: u64,
    answers: BTreeMap<u64, oneshot::Sender<Answer>>,
}

impl Line {
    fn new(queue: mpsc::Receiver<Waiting>) -> Arc<Self> {
        Arc::new(Self { queue: AsyncMutex::new(queue), under_way: Mutex::default() })
    }

    /// Opens a stream whenever there is something to send and none is open.
    async fn run(self: Arc<Self>, dial: Dial, node: NodeId) {
        while let Some(first) = self.next().await {
            let ended = CancellationToken::new();
            let _ending = ended.clone().drop_guard();
            let first = self.enlist(first);
            let end = match dial(node) {
                Ok(channel) => self.exchange(channel, first, ended).await,
                Err(error) => End::NotOpened(error.to_string().into()),
            };
            let unanswered = std::mem::take(&mut self.under_way.lock().answers);
            for answer in unanswered.into_values() {
                // Who went away does not mind.
                answer.send(Err(end.told())).ok();
            }
        }
    }

    /// What waits, at least one call. None when nobody can pass on calls any more.
    async fn next(&self) -> Option<Vec<Waiting>> {
        let mut calls = Vec::with_capacity(MESSAGE_CALLS_MAX);
        let count = self.queue.lock().await.recv_many(&mut calls, MESSAGE_CALLS_MAX).await;
        (count > 0).then_some(calls)
    }

    /// One stream from its beginning to its end.
    async fn exchange(self: &Arc<Self>, channel: Channel, first: pb::Calls, ended: CancellationToken) -> End {
        let mut client = CallServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let outgoing = outgoing(Arc::clone(self), first, ended);
        let mut answers = match client.carry(outgoing).await {
            Ok(answers) => answers.into_inner(),
            Err(status) if never_left(&status) => return End::NotOpened(status.to_string().into()),
            Err(status) => return End::Ended(status.to_string().into()),
        };
        loop {
            match answers.message().await {
                Ok(Some(message)) => message.answers.into_iter().for_each(|answer| self.take(answer)),
                Ok(None) => return End::Ended("the node ended it".into()),
                Err(status) => return End::Ended(status.to_string().into()),
            }
        }
    }

    /// Notes who waits for the answers; calls nobody waits for any more are left out.
    fn enlist(&self, calls: Vec<Waiting>) -> pb::Calls {
        let mut under_way = self.under_way.lock();
        let awaited = calls.into_iter().filter(|waiting| !waiting.answer.is_closed());
        let calls = awaited.map(|Waiting { request, answer }| {
            under_way.newest += 1;
            let id = under_way.newest;
            under_way.answers.insert(id, answer);
            let (head, body) = request.into_parts();
            form::call(id, head, body)
        });
        pb::Calls { calls: calls.collect() }
    }

    fn take(&self, answer: pb::Answer) {
        let Some(waiting) = self.under_way.lock().answers.remove(&answer.id) else { return };
        let answer = match answer.status {
            0 => Err(broken(Lost::Unanswered)),
            _ => form::response(answer).map_err(|error| Unreachable::Broken(error.into())),
        };
        // Who went away does not mind.
        waiting.send(answer).ok();
    }
}

fn outgoing(line: Arc<Line>, first: pb::Calls, ended: CancellationToken) -> impl Stream<Item = pb::Calls> + Send {
    stream::unfold((line, Some(first)), move |(line, first)| {
        let ended = ended.clone();
        async move {
            if let Some(first) = first {
                return Some((first, (line, None)));
            }
            let calls = tokio::select! {
                biased;
                () = ended.cancelled() => None,
                calls = line.next() => calls,
            };
            let calls = line.enlist(calls?);
            Some((calls, (line, None)))
        }
    })
}

fn not_sent(lost: Lost) -> Unreachable {
    Unreachable::NotSent(lost.into())
}

fn broken(lost: Lost) -> Unreachable {
    Unreachable::Broken(lost.into())
}
