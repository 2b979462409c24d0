//! How the rest of the node talks to the driver: proposals in, answers out, status at any time. Cheap to clone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::divergence::{Check, Checks};
use crate::format::Format;
use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::log::SpaceWatch;
use crate::progress::Progress;
use crate::raft::status::StatusBoard;
use crate::raft::{ChangeError, Members, PeerMessage, PeerProgress, ProposeError, ShardStatus, metrics};

/// Inputs waiting for the driver; more are refused as overload.
pub(crate) const INBOX_MAX: usize = 8192;
/// Frames of peers waiting for the driver; more are lost, which consensus survives.
pub(crate) const FRAMES_MAX: usize = 1024;

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

/// A shard as its driver sees it, for those who place replicas and for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardDetail {
    /// The shard.
    pub shard: ShardId,
    /// How it stands here.
    pub status: ShardStatus,
    /// Who holds it, as far as this node knows.
    pub members: Members,
    /// How far the others are; empty unless this node leads it.
    pub peers: Vec<PeerProgress>,
    /// How many messages of leaders it has seen, for [`DriverHandle::leave`].
    pub heard: u64,
}

/// What reaches the driver thread from this node.
pub(crate) enum Input {
    Propose(Proposal),
    Read { shard: ShardId, done: Done },
    Change { shard: ShardId, voters: Vec<NodeId>, learners: Vec<NodeId>, told: Told<Result<(), ChangeError>> },
    Transfer { shard: ShardId, to: NodeId, told: Told<Result<(), ChangeError>> },
    Leave { shard: ShardId, heard: u64, told: Told<bool> },
    Reseed { shard: ShardId, told: Told<bool> },
    Inspect { told: Told<Arc<[ShardDetail]>> },
    SnapshotTaken { shard: ShardId, index: LogIndex },
    OfferSnapshot { shard: ShardId, index: LogIndex },
    Stop,
}

/// Called once with what the driver says; never when it has stopped.
pub(crate) type Told<T> = Box<dyn FnOnce(T) + Send>;

/// What reaches it from other nodes.
pub(crate) enum Frame {
    Heard {
        from: NodeId,
        boot: u64,
        messages: Vec<PeerMessage>,
    },
    /// A message whose snapshot is on this node's disk now.
    Fetched(PeerMessage),
}

/// A node is alive.
pub(crate) struct Sign {
    /// Which process it is.
    pub(crate) boot: u64,
    /// When the sign came.
    pub(crate) at: Duration,
}

/// The queue in front of the driver. It can be closed without losing what is being put in at that moment.
pub(crate) struct Inbox {
    sender: Sender<Input>,
    pub(crate) receiver: Receiver<Input>,
    frame_sender: Sender<Frame>,
    pub(crate) frames: Receiver<Frame>,
    /// Who was heard of without a message. Bounded by the number of nodes. The driver looks at each tick; a sign of life
    /// does not wake it.
    signs: Mutex<BTreeMap<NodeId, Sign>>,
    clock: Arc<dyn Clock>,
    is_closed: AtomicBool,
}

impl Inbox {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (sender, receiver) = bounded(INBOX_MAX);
        let (frame_sender, frames) = bounded(FRAMES_MAX);
        let (signs, is_closed) = (Mutex::default(), AtomicBool::new(false));
        Self { sender, receiver, frame_sender, frames, signs, clock, is_closed }
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

    fn offer_frame(&self, frame: Frame) {
        if self.frame_sender.try_send(frame).is_err() {
            metrics::frame_dropped();
        }
    }

    fn note_sign(&self, from: NodeId, boot: u64) {
        let at = self.clock.monotonic();
        self.signs.lock().insert(from, Sign { boot, at });
    }

    /// The newest signs of life since it was last asked.
    pub(crate) fn take_signs(&self) -> BTreeMap<NodeId, Sign> {
        std::mem::take(&mut *self.signs.lock())
    }

    fn answer_all(&self) {
        for input in self.receiver.try_iter() {
            match input {
                Input::Propose(proposal) => proposal.refuse(ProposeError::Stopped),
                Input::Read { done, .. } => done(Err(ProposeError::Stopped)),
                Input::Change { .. }
                | Input::Transfer { .. }
                | Input::Leave { .. }
                | Input::Reseed { .. }
                | Input::Inspect { .. }
                | Input::SnapshotTaken { .. }
                | Input::OfferSnapshot { .. }
                | Input::Stop => {}
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
    pub(crate) checks: Arc<Checks>,
    pub(crate) space: SpaceWatch,
    pub(crate) progress: Progress,
}

impl DriverHandle {
    /// The parts of this node that must not stand still; others may add theirs.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Proposes an entry. Never blocks; with a full inbox or a stopped driver the proposal is answered at once.
    pub fn propose(&self, proposal: Proposal) {
        let overloaded = ProposeError::Overloaded { shard: proposal.shard };
        if let Err(Input::Propose(proposal)) = self.inbox.offer(Input::Propose(proposal)) {
            proposal.refuse(overloaded);
        }
    }

    /// Asks whether this node still leads the shard: answered with success once everything committed before the question
    /// is applied here. Never blocks.
    pub fn read(&self, shard: ShardId, done: Done) {
        if let Err(Input::Read { done, .. }) = self.inbox.offer(Input::Read { shard, done }) {
            done(Err(ProposeError::Overloaded { shard }));
        }
    }

    /// Begins to change who holds a shard that this node leads. `told` hears at once whether it could begin, or is
    /// dropped when the driver is full or gone.
    pub fn change(
        &self,
        shard: ShardId,
        voters: Vec<NodeId>,
        learners: Vec<NodeId>,
        told: impl FnOnce(Result<(), ChangeError>) + Send + 'static,
    ) {
        self.ask(Input::Change { shard, voters, learners, told: Box::new(told) });
    }

    /// Begins to move the leadership of a shard that this node leads. `told` as for [`DriverHandle::change`].
    pub fn transfer(&self, shard: ShardId, to: NodeId, told: impl FnOnce(Result<(), ChangeError>) + Send + 'static) {
        self.ask(Input::Transfer { shard, to, told: Box::new(told) });
    }

    /// Lets a shard leave this node whose replica is no member any more, as [`crate::raft::Core::leave`] says; `told`
    /// hears whether it did.
    pub fn leave(&self, shard: ShardId, heard: u64, told: impl FnOnce(bool) + Send + 'static) {
        self.ask(Input::Leave { shard, heard, told: Box::new(told) });
    }

    /// Has the state of a shard replaced by another replica's, as [`crate::raft::Core::reseed`] says, and parks it until
    /// then; `told` hears whether it will be.
    pub fn reseed(&self, shard: ShardId, told: impl FnOnce(bool) + Send + 'static) {
        self.ask(Input::Reseed { shard, told: Box::new(told) });
    }

    /// Notes the format that is in force in a shard, as its state machine read it.
    pub fn note_format(&self, shard: ShardId, format: Format) {
        self.board.note_format(shard, format);
    }

    /// Notes what the state of a shard came to at a check entry, for comparing it with other replicas.
    pub fn note_check(&self, check: Check) {
        self.checks.note_own(check);
    }

    /// The last check of a shard that was noted here.
    pub fn last_check(&self, shard: ShardId) -> Option<Check> {
        self.checks.own(shard)
    }

    pub(crate) fn checks(&self) -> &Checks {
        &self.checks
    }

    /// Tells how every shard held here stands.
    pub fn inspect(&self, told: impl FnOnce(Arc<[ShardDetail]>) + Send + 'static) {
        self.ask(Input::Inspect { told: Box::new(told) });
    }

    fn ask(&self, input: Input) {
        if self.inbox.offer(input).is_err() {
            tracing::debug!("the driver is full, a question to it was dropped");
        }
    }

    /// Takes in what a peer sent, or merely that it is alive. Never blocks; with a full inbox it is lost.
    pub fn receive(&self, from: NodeId, boot: u64, messages: Vec<PeerMessage>) {
        if messages.is_empty() {
            self.inbox.note_sign(from, boot);
        } else {
            self.inbox.offer_frame(Frame::Heard { from, boot, messages });
        }
    }

    /// Takes in a message again whose snapshot has been fetched. Never blocks.
    pub fn fetched(&self, message: PeerMessage) {
        self.inbox.offer_frame(Frame::Fetched(message));
    }

    /// Says that a durable snapshot covers the shard's log up to `index`, so that the log may forget it. Never blocks: a
    /// full inbox drops the notice, and the next snapshot covers more.
    pub fn snapshot_taken(&self, shard: ShardId, index: LogIndex) {
        if self.inbox.offer(Input::SnapshotTaken { shard, index }).is_err() {
            tracing::debug!(shard = shard.0, "a snapshot notice was dropped, the log is kept until the next one");
        }
    }

    /// Says that a durable snapshot of the shard at `index` lies ready to be sent to peers. Never blocks; when it is
    /// dropped the peer asks again.
    pub fn offer_snapshot(&self, shard: ShardId, index: LogIndex) {
        self.ask(Input::OfferSnapshot { shard, index });
    }

    /// Whether the disk of this node's log is nearly full, so that proposals are refused.
    pub(crate) fn is_space_low(&self) -> bool {
        self.space.is_low()
    }

    /// How a shard stands; `None` when it is not here.
    pub fn status(&self, shard: ShardId) -> Option<ShardStatus> {
        self.board.read(shard)
    }
}
