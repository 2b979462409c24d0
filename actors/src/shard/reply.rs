//! Where the answer to one command goes. Every command is answered exactly once, whatever becomes of its actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use steward_cluster::ids::ShardId;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::ExecuteError;
use super::admit::{Permit, RETRY_AFTER};
use crate::domain::account::Answer;
use crate::supervisor::spawn_on;

/// So few answers leave from the applier's thread: a task of their own would cost more.
const ANSWERED_AT_ONCE_MAX: usize = 1;

/// What a caller gets.
pub(crate) type Outcome = Result<Answer, ExecuteError>;

/// Answers a caller and gives the permit back.
pub(crate) struct Reply {
    to: Option<oneshot::Sender<Outcome>>,
    shard: ShardId,
    /// Whether the shard is led no more.
    over: Arc<AtomicBool>,
    _permit: Permit,
}

impl Reply {
    pub(crate) fn new(shard: ShardId, over: Arc<AtomicBool>, permit: Permit) -> (Self, oneshot::Receiver<Outcome>) {
        let (to, receiver) = oneshot::channel();
        (Self { to: Some(to), shard, over, _permit: permit }, receiver)
    }

    pub(crate) fn answer(mut self, outcome: Outcome) {
        if let Some(to) = self.to.take() {
            to.send(outcome).ok(); // The caller may have left; the events stand.
        }
    }
}

/// The answers of one round, on their way out: whoever waits is woken from within the runtime, by one task, since each
/// wake-up from the applier's thread would take the runtime's lock and perhaps a thread out of its sleep.
#[derive(Default)]
pub(crate) struct Answers(Mutex<Vec<(Reply, Outcome)>>);

impl Answers {
    pub(crate) fn add(&self, answers: Vec<(Reply, Outcome)>) {
        self.0.lock().extend(answers);
    }

    /// Lets them go.
    pub(crate) fn release(&self, runtime: &Handle) {
        let answers = std::mem::take(&mut *self.0.lock());
        let answer_all = |answers: Vec<(Reply, Outcome)>| {
            answers.into_iter().for_each(|(reply, outcome)| reply.answer(outcome));
        };
        if answers.len() <= ANSWERED_AT_ONCE_MAX {
            return answer_all(answers);
        }
        spawn_on(runtime, "answers", async move { answer_all(answers) });
    }
}

impl Drop for Reply {
    /// A command that never reached the writer did nothing: its actor stopped or panicked before.
    fn drop(&mut self) {
        let Some(to) = self.to.take() else { return };
        let outcome = if self.over.load(Ordering::Acquire) {
            ExecuteError::NotLed { shard: self.shard }
        } else {
            ExecuteError::Overloaded { what: "queue of a restarting account", retry_after: RETRY_AFTER }
        };
        to.send(Err(outcome)).ok();
    }
}
