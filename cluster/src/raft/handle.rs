//! How the rest of the node talks to the driver: proposals in, answers out, status at any time. Cheap to clone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::ids::{LogIndex, ShardId, Term};
use crate::raft::status::StatusBoard;
use crate::raft::{ProposeError, ShardStatus, metrics};

/// Inputs waiting for the driver; more are refused as overload.
pub(crate) const INBOX_MAX: usize = 8192;

/// Called once: with the entry's index after it is applied, or with the reason why it was not. Runs on the applier's
/// thread (refusals for overload or after the end on the caller's), so it must be short and must not block.
pub type Done = Box<dyn FnOnce(Result<LogIndex, ProposeError>) + Send>;

/// Gives the bytes of one entry, not empty. Called once, on the driver's thread, when the round that appends the entry
/// begins: what is decided while the entry waits for its round can still go into it.
pub type Data = Box<dyn FnOnce() -> Bytes + Send>;

/// Something a shard's leader has decided and wants in the log.
pub struct Proposal {
    /// The shard.
    pub shard: ShardId,
    /// The term it was decided in; another term refuses it.
    pub term: Term,
    /// What becomes the entry. Not asked for when the proposal is refused before its round.
    pub data: Data,
    /// Who waits for the outcome.
    pub done: Done,
}

/// What reaches the driver thread.
pub(crate) enum Input {
    Propose(Proposal),
    SnapshotTaken { shard: ShardId, index: LogIndex },
    Stop,
}

/// The queue in front of the driver. It can be closed without losing what is being put in at that moment.
pub(crate) struct Inbox {
    sender: Sender<Input>,
    pub(crate) receiver: Receiver<Input>,
    is_closed: AtomicBool,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = bounded(INBOX_MAX);
        Self { sender, receiver, is_closed: AtomicBool::new(false) }
    }

    /// Puts an input in; gives it back when there is no room. Never blocks.
    pub(crate) fn offer(&self, input: Input) -> Result<(), Input> {
        self.sender.try_send(input).map_err(crossbeam_channel::TrySendError::into_inner)?;
        // Either closing came later and finds the input, or this sees that it came first.
        if self.is_closed.load(Ordering::SeqCst) {
            self.answer_all();
        }
        Ok(())
    }

    /// Puts the stop signal in, after waiting for room.
    pub(crate) fn stop(&self) {
        self.sender.send(Input::Stop).expect("the inbox holds both of its ends");
    }

    /// Refuses what waits and whatever is put in from now on.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.answer_all();
    }

    fn answer_all(&self) {
        for input in self.receiver.try_iter() {
            if let Input::Propose(proposal) = input {
                proposal.refuse(ProposeError::Stopped);
            }
        }
    }
}

impl Proposal {
    fn refuse(self, reason: ProposeError) {
        metrics::refused(&reason);
        (self.done)(Err(reason));
    }
}

/// The caller's end of a running driver.
#[derive(Clone)]
pub struct DriverHandle {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) board: Arc<StatusBoard>,
}

impl DriverHandle {
    /// Proposes an entry. Never blocks; with a full inbox or a stopped driver the proposal is answered at once.
    pub fn propose(&self, proposal: Proposal) {
        let overloaded = ProposeError::Overloaded { shard: proposal.shard };
        if let Err(Input::Propose(proposal)) = self.inbox.offer(Input::Propose(proposal)) {
            proposal.refuse(overloaded);
        }
    }

    /// Says that a durable snapshot covers the shard's log up to `index`, so that the log may forget it. Never blocks: a
    /// full inbox drops the notice, and the next snapshot covers more.
    pub fn snapshot_taken(&self, shard: ShardId, index: LogIndex) {
        if self.inbox.offer(Input::SnapshotTaken { shard, index }).is_err() {
            tracing::debug!(shard = shard.0, "a snapshot notice was dropped, the log is kept until the next one");
        }
    }

    /// How a shard stands; `None` when there is no such shard.
    pub fn status(&self, shard: ShardId) -> Option<ShardStatus> {
        self.board.read(shard)
    }
}
