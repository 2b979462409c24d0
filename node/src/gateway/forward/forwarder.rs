//! Makes a call where it has to be answered, and again while that may help and the client still waits.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use steward_cluster::clock::Clock;
use steward_cluster::ids::NodeId;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::headers::{LEADER, node, put_node, take_private};
use super::{Body, Call, Effect, Leader, Reach, Route, Unreachable, Whereabouts};
use crate::gateway::error::{Code, Refused};
use crate::metrics::{self, Hop};

/// The first wait before another try; it doubles each time. Half of it is always waited, the rest ends with news.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
/// The longest wait before another try.
const BACK_OFF_MAX: Duration = Duration::from_millis(200);

/// How one try went. Refusals are kept, in case they are the last.
enum Outcome {
    Answered(Response<Body>),
    /// Nothing was done.
    NotDone(Response<Body>),
    /// It may have been done, or may still be.
    Unclear(Response<Body>),
}

/// Brings calls to the nodes that answer them.
pub(crate) struct Forwarder {
    pub(super) node: NodeId,
    pub(super) whereabouts: Arc<dyn Whereabouts>,
    pub(super) reach: Arc<dyn Reach>,
    clock: Arc<dyn Clock>,
    /// How many shards accounts are spread over.
    pub(crate) shards: u16,
}

impl Forwarder {
    pub(crate) fn new(
        node: NodeId,
        shards: u16,
        whereabouts: Arc<dyn Whereabouts>,
        reach: Arc<dyn Reach>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { node, whereabouts, reach, clock, shards }
    }

    /// Answers a client's call; `here` is how this node would.
    pub(crate) async fn run<F>(&self, call: &Call, mut here: impl FnMut(Request<Body>) -> F) -> Response<Body>
    where
        F: Future<Output = Response<Body>>,
    {
        let over_at = self.clock.monotonic() + call.asked.patience;
        let mut news = self.whereabouts.changes();
        let mut back_off = BACK_OFF_MIN;
        let mut unclear = None;
        loop {
            news.mark_unchanged();
            let place = self.place(call);
            let outcome = match place {
                Leader::Here if !self.may_read(call).await => {
                    Outcome::NotDone(refuse(call, Code::NotLed, "this node does not lead this account any more"))
                }
                Leader::Here => match (judge(call, here(call.for_here()).await), self.is_behind(call)) {
                    // What was made a moment ago may not be here yet: its leader knows for sure.
                    (Outcome::Answered(refusal), Some(leader)) if call.asked.protocol.is_unknown(&refusal) => {
                        self.hop(call, leader, self.left(over_at)).await
                    }
                    (outcome, _) => outcome,
                },
                Leader::At(node) => self.hop(call, node, self.left(over_at)).await,
                Leader::Unknown => Outcome::NotDone(refuse(call, Code::NotLed, "nobody leads this account just now")),
            };
            let not_done = match outcome {
                Outcome::Answered(answer) => return answer,
                Outcome::Unclear(refusal) if call.effect() == Effect::Once => return refusal,
                Outcome::Unclear(refusal) => {
                    unclear = Some(refusal);
                    None
                }
                Outcome::NotDone(refusal) => Some(refusal),
            };
            if self.left(over_at) <= back_off {
                return unclear.or(not_done).expect("a try that is not answered is refused");
            }
            metrics::forward_retries().increment(1);
            // Better news are followed at once, but only the first time: two nodes may each believe in the other.
            if back_off > BACK_OFF_MIN || !self.is_elsewhere(call, place) {
                pause(back_off, &mut news).await;
            }
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// Answers a call that another node passed on: here or not at all.
    pub(crate) async fn answer_node<F>(&self, call: &Call, here: impl FnOnce(Request<Body>) -> F) -> Response<Body>
    where
        F: Future<Output = Response<Body>>,
    {
        let mut answer = match self.place(call) {
            Leader::Here if self.may_read(call).await => here(call.for_here()).await,
            Leader::Here | Leader::At(_) | Leader::Unknown => {
                refuse(call, Code::NotLed, "this node does not lead this account")
            }
        };
        if call.asked.protocol.refusal(&answer) == Some(Code::NotLed)
            && let Leader::At(leader) = self.whereabouts.leader(call.asked.shard)
        {
            put_node(answer.headers_mut(), LEADER, leader);
        }
        call.asked.protocol.mark(&mut answer);
        answer
    }

    /// Where the call is answered, as far as this node knows.
    fn place(&self, call: &Call) -> Leader {
        match call.asked.route {
            Route::Here => Leader::Here,
            Route::Replica if self.whereabouts.is_replica_here(call.asked.shard) => Leader::Here,
            Route::Replica | Route::Leader(_) => self.whereabouts.leader(call.asked.shard),
        }
    }

    /// A read is not fenced by the log as a change is: whoever answers it from its state must be sure that it leads.
    async fn may_read(&self, call: &Call) -> bool {
        match call.asked.route {
            Route::Leader(Effect::Read) => self.whereabouts.confirm(call.asked.shard).await,
            Route::Leader(Effect::Repeatable | Effect::Keyed | Effect::Once) | Route::Here | Route::Replica => true,
        }
    }

    /// Who leads, when this node answers as a mere replica.
    fn is_behind(&self, call: &Call) -> Option<NodeId> {
        match (call.asked.route, self.whereabouts.leader(call.asked.shard)) {
            (Route::Replica, Leader::At(leader)) => Some(leader),
            (Route::Replica | Route::Here | Route::Leader(_), Leader::Here | Leader::Unknown | Leader::At(_)) => None,
        }
    }

    fn is_elsewhere(&self, call: &Call, than: Leader) -> bool {
        let place = self.place(call);
        place != than && place != Leader::Unknown
    }

    fn left(&self, over_at: Duration) -> Duration {
        over_at.saturating_sub(self.clock.monotonic())
    }

    /// One try at another node.
    async fn hop(&self, call: &Call, to: NodeId, left: Duration) -> Outcome {
        let started = self.clock.monotonic();
        let asked = self.reach.call(to, call.for_node(self.node, left));
        let (hop, outcome) = tokio::select! {
            answered = timeout(left, asked) => match answered {
                Ok(Ok(answer)) => self.take_answer(call, answer),
                Ok(Err(error)) => unreachable_node(call, to, &error),
                Err(_) => (Hop::Late, without_answer(call, to)),
            },
            () = self.led_elsewhere(call, to), if call.effect() != Effect::Once => {
                (Hop::TakenBack, without_answer(call, to))
            }
        };
        metrics::forwards(hop).increment(1);
        metrics::forward_hop_seconds().record(self.clock.monotonic().saturating_sub(started).as_secs_f64());
        outcome
    }

    fn take_answer(&self, call: &Call, mut answer: Response<Body>) -> (Hop, Outcome) {
        let protocol = call.asked.protocol;
        let refusal = protocol.refusal(&answer);
        let leader = node(answer.headers(), &LEADER);
        take_private(answer.headers_mut());
        if refusal == Some(Code::NotLed) {
            self.whereabouts.correct(call.asked.shard, leader);
            return (Hop::NotLed, Outcome::NotDone(answer));
        }
        if refusal == Some(Code::OutcomeUnknown) {
            return (Hop::Unclear, Outcome::Unclear(answer));
        }
        (Hop::Answered, Outcome::Answered(protocol.pass_back(answer)))
    }

    /// Comes back once a node other than `than` is known to lead.
    async fn led_elsewhere(&self, call: &Call, than: NodeId) {
        let mut news = self.whereabouts.changes();
        let is_elsewhere = || {
            let leader = self.whereabouts.leader(call.asked.shard);
            leader != Leader::At(than) && leader != Leader::Unknown
        };
        while !is_elsewhere() {
            if news.changed().await.is_err() {
                pending::<()>().await; // Nothing will ever be known better.
            }
        }
    }
}

/// How a try on this node went.
fn judge(call: &Call, answer: Response<Body>) -> Outcome {
    match call.asked.protocol.refusal(&answer) {
        Some(Code::NotLed) => Outcome::NotDone(answer),
        Some(_) => Outcome::Unclear(answer),
        None => Outcome::Answered(answer),
    }
}

fn unreachable_node(call: &Call, to: NodeId, error: &Unreachable) -> (Hop, Outcome) {
    let cause: &dyn std::error::Error = error;
    tracing::debug!(node = to.0, error = cause, "a call could not be passed on");
    match error {
        Unreachable::NotSent(_) => {
            let message = format!("{to}, which leads this account, cannot be reached");
            (Hop::Unreachable, Outcome::NotDone(refuse(call, Code::NotLed, message)))
        }
        Unreachable::Broken(_) => (Hop::Unclear, without_answer(call, to)),
    }
}

/// The call got to a node, perhaps, and no answer came back.
fn without_answer(call: &Call, to: NodeId) -> Outcome {
    let message = format!("{to}, which led this account, did not answer");
    match call.effect() {
        Effect::Read => Outcome::NotDone(refuse(call, Code::NotLed, message)),
        Effect::Repeatable | Effect::Keyed | Effect::Once => {
            Outcome::Unclear(refuse(call, Code::OutcomeUnknown, message))
        }
    }
}

fn refuse(call: &Call, code: Code, message: impl Into<String>) -> Response<Body> {
    call.asked.protocol.refuse(&Refused::new(code, message), &call.asked.correlation)
}

/// Waits until another try may help.
async fn pause(back_off: Duration, news: &mut watch::Receiver<u64>) {
    sleep(back_off / 2).await;
    // No news, or nobody left to tell any: both end the wait in time.
    if let Ok(Err(_)) = timeout(back_off / 2, news.changed()).await {
        sleep(back_off / 2).await;
    }
}
