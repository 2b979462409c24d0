//! The driver thread: carries inputs into the core, batches to the log, messages to peers and committed entries to the
//! applier.
//!
//! # Invariants
//! - **D1 one batch per round**: all shards a round touched share one write and one sync.
//! - **D2 no circle**: the driver may wait for the log; neither the log nor the applier ever waits for the driver.
//! - **D3 alive**: with peers the driver never waits for the applier either, so that heartbeats go on. While the applier
//!   is behind, nothing is taken in that would bring it more.
//! - **D4 idle**: a lone voter has no rival and no follower: without peers no clock ticks, and an idle node sleeps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, never, select};

use crate::failpoint::{Point, passed};
use crate::ids::{NodeId, ShardId};
use crate::log::{Durable, LogStopped, LogThread};
use crate::progress::Part;
use crate::raft::handle::{Done, Frame, Inbox, Input};
use crate::raft::status::StatusBoard;
use crate::raft::ticks::Ticks;
use crate::raft::work::Work;
use crate::raft::{Core, PeerMessage, Proposal, ProposeError, Round, ShardDetail, Transport, metrics};

/// Batches handed to the log and not durable. While one is under way the driver sleeps and the inbox fills, so that a
/// busy node does few large rounds instead of one for each proposal; rounds are short beside a sync.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 1;
/// Inputs taken from the inbox before a round.
const INPUTS_MAX: usize = 1024;
/// Payload bytes taken from the inbox before a round, so that a batch stays far below what the log takes as one.
const INPUT_BYTES_MAX: usize = 16 << 20;
/// How soon a full applier is looked at again.
const BACKLOG_LOOK: Duration = Duration::from_millis(2);
/// Longer than anybody waits for anything.
const LONG: Duration = Duration::from_secs(3600);

/// The driver thread's state.
pub(crate) struct Pump {
    pub(crate) core: Core<Done>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) durable: Receiver<Durable>,
    pub(crate) log: LogThread,
    pub(crate) rounds: Sender<Work>,
    /// What the applier had no room for. Bounded by what was in flight when it fell behind.
    pub(crate) backlog: VecDeque<Work>,
    pub(crate) ticks: Option<Ticks>,
    pub(crate) transport: Option<Box<dyn Transport>>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) unplugged: Arc<AtomicBool>,
    /// What was told of all shards, and how often the board had changed.
    pub(crate) inspected: Option<(u64, Arc<[ShardDetail]>)>,
    pub(crate) is_stopping: bool,
    pub(crate) at_work: Arc<Part>,
    /// The applier, which gets its work from here.
    pub(crate) applier: Arc<Part>,
}

impl Pump {
    /// Runs until stopped, unplugged, or left alone by the log or the applier.
    pub(crate) fn run(mut self) {
        while !self.unplugged.load(Ordering::Acquire) && !self.is_finished() {
            self.at_work.rests();
            self.wait();
            self.at_work.begins(None);
            self.take_in();
            self.pass_time();
            self.work_off();
            if self.may_turn() && self.turn().is_err() {
                // The log's thread has reported why; nothing can become durable any more.
                break;
            }
        }
        self.leave();
    }

    fn pass_time(&mut self) {
        if let (Some(ticks), Some(transport)) = (&mut self.ticks, &mut self.transport)
            && ticks.pass(&mut self.core, || self.inbox.take_signs())
        {
            transport.alive();
        }
    }

    fn is_finished(&self) -> bool {
        // With peers there is always something to do; what was proposed here is what a stop waits for.
        let idle = !self.core.has_work() || self.transport.is_some();
        self.is_stopping && idle && self.core.batches_in_flight() == 0 && self.backlog.is_empty()
    }

    /// Sleeps until there is something to take in, unless the core has work it may do now.
    fn wait(&mut self) {
        let may_turn = self.may_turn();
        if may_turn && self.core.has_work() {
            return;
        }
        let patience = self.ticks.as_ref().map_or(LONG, Ticks::left);
        let patience = if self.backlog.is_empty() { patience } else { patience.min(BACKLOG_LOOK) };
        let (local, frames) = (never(), never());
        let local = if may_turn && self.takes_local() { &self.inbox.receiver } else { &local };
        let frames = if may_turn { &self.inbox.frames } else { &frames };
        select! {
            recv(local) -> input => {
                let input = input.expect("the inbox holds both of its ends");
                self.take(input);
            }
            recv(frames) -> frame => {
                let frame = frame.expect("the inbox holds both of its ends");
                self.take_frame(frame);
            }
            recv(self.durable) -> batch => match batch {
                Ok(batch) => self.persisted(batch),
                Err(_) => self.unplugged.store(true, Ordering::Release),
            },
            default(patience) => {}
        }
    }

    fn may_turn(&self) -> bool {
        self.core.batches_in_flight() < BATCHES_IN_FLIGHT_MAX
    }

    fn takes_local(&self) -> bool {
        !self.is_stopping && self.backlog.is_empty()
    }

    fn take_in(&mut self) {
        while let Ok(batch) = self.durable.try_recv() {
            self.persisted(batch);
        }
        let mut bytes = 0;
        let mut count = 0;
        while count < INPUTS_MAX
            && bytes < INPUT_BYTES_MAX
            && let Ok(frame) = self.inbox.frames.try_recv()
        {
            bytes += self.take_frame(frame);
            count += 1;
        }
        while self.takes_local()
            && count < INPUTS_MAX
            && bytes < INPUT_BYTES_MAX
            && let Ok(input) = self.inbox.receiver.try_recv()
        {
            bytes += self.take(input);
            count += 1;
        }
    }

    /// Takes one input in and says how many payload bytes it brought.
    fn take(&mut self, input: Input) -> usize {
        match input {
            Input::Propose(proposal) => return self.propose(proposal),
            Input::Read { shard, done } => self.core.read(shard, done),
            Input::Change { shard, voters, learners, told } => {
                let changed = self.core.change(shard, &voters, &learners);
                passed(Point::ChangeProposed);
                told(changed);
            }
            Input::Transfer { shard, to, told } => {
                passed(Point::BeforeTransfer);
                told(self.core.transfer(shard, to));
            }
            Input::Leave { shard, heard, told } => told(self.core.leave(shard, heard)),
            Input::Reseed { shard, told } => told(self.reseed(shard)),
            Input::Inspect { told } => told(self.inspect()),
            Input::SnapshotTaken { shard, index } => self.core.snapshot_taken(shard, index),
            Input::OfferSnapshot { shard, index } => self.core.offer_snapshot(shard, index),
            Input::Stop => self.is_stopping = true,
        }
        0
    }

    /// Takes one frame in and says how many payload bytes it brought.
    fn take_frame(&mut self, frame: Frame) -> usize {
        match frame {
            Frame::Heard { from, boot, messages } => {
                let uncounted = self.ticks.as_ref().map_or(0, |ticks| ticks.uncounted(ticks.now()));
                self.core.heard(from, boot, uncounted);
                messages.into_iter().map(|message| self.take_message(message)).sum()
            }
            Frame::Fetched(message) => {
                self.core.receive(message);
                0
            }
        }
    }

    fn take_message(&mut self, message: PeerMessage) -> usize {
        let bytes = message.payload_bytes();
        if bytes > 0 && !self.backlog.is_empty() {
            // Its sender comes again; what is here already has to be applied first.
            return 0;
        }
        match (&mut self.transport, message.snapshot()) {
            (Some(transport), Some(_)) => transport.fetch(message),
            (Some(_) | None, _) => self.core.receive(message),
        }
        bytes
    }

    fn propose(&mut self, Proposal { shard, term, data, done }: Proposal) -> usize {
        metrics::proposals(1);
        if self.log.is_space_low() {
            self.hand_over(Work { rejected: vec![(done, ProposeError::SpaceLow { shard })], ..Work::default() });
            return 0;
        }
        let data = data();
        let bytes = data.len();
        self.core.propose(shard, term, data, done);
        bytes
    }

    fn reseed(&mut self, shard: ShardId) -> bool {
        let begins = self.core.reseed(shard);
        if begins {
            self.board.note_parked(shard, true);
            self.hand_over(Work { parked: vec![shard], ..Work::default() });
        }
        begins
    }

    /// What was told last, unless something may have happened since: most who look do so again and again.
    fn inspect(&mut self) -> Arc<[ShardDetail]> {
        let now = self.board.changes();
        if !self.core.has_work()
            && let Some((then, details)) = &self.inspected
            && *then == now
        {
            return Arc::clone(details);
        }
        let details: Arc<[ShardDetail]> = self.details().into();
        // What the core has taken in and not gone through changes more than the board says.
        self.inspected = (!self.core.has_work()).then(|| (now, Arc::clone(&details)));
        details
    }

    fn details(&self) -> Vec<ShardDetail> {
        let detail = |shard: ShardId| {
            let (status, members) = (self.board.read(shard)?, self.core.members(shard)?.clone());
            let (peers, heard) = (self.core.peers(shard), self.core.heard_of_leaders(shard));
            Some(ShardDetail { shard, status, members, peers, heard })
        };
        (0..self.core.shards()).map(ShardId).filter_map(detail).collect()
    }

    fn persisted(&mut self, durable: Durable) {
        self.core.persisted(durable.number, &durable.positions, durable.batch);
    }

    fn turn(&mut self) -> Result<(), LogStopped> {
        if self.core.has_work() {
            self.inspected = None;
        }
        if let Some(ticks) = &mut self.ticks {
            ticks.turned();
        }
        let round = self.core.round();
        let Round { batch, messages, installs, committed, rejected, reads, roles, left, touched, snapshots_wanted } =
            round;
        if !messages.is_empty() {
            self.send(messages);
        }
        if let Some((number, batch)) = batch {
            metrics::batch_records(batch.records().len());
            self.log.submit(batch, number)?;
        }
        for shard in touched.into_iter().map(ShardId) {
            if let Some(status) = self.core.status(shard) {
                self.board.note(shard, status);
            }
        }
        let parked = vec![];
        self.hand_over(Work { left, installs, parked, committed, reads, rejected, roles, snapshots_wanted });
        Ok(())
    }

    fn send(&mut self, messages: Vec<PeerMessage>) {
        let Some(transport) = &mut self.transport else { return };
        let mut by_node: BTreeMap<NodeId, Vec<PeerMessage>> = BTreeMap::new();
        for message in messages {
            by_node.entry(message.to()).or_default().push(message);
        }
        by_node.into_iter().for_each(|(to, messages)| transport.send(to, messages));
    }

    fn hand_over(&mut self, work: Work) {
        if !work.is_empty() {
            self.backlog.push_back(work);
            self.work_off();
        }
    }

    /// Gives the applier what it has room for.
    fn work_off(&mut self) {
        while let Some(work) = self.backlog.pop_front() {
            self.applier.given();
            match self.rounds.try_send(work) {
                Ok(()) => {}
                Err(TrySendError::Full(work)) => {
                    self.applier.taken();
                    return self.backlog.push_front(work);
                }
                // The applier has reported why it is gone.
                Err(TrySendError::Disconnected(_)) => return self.unplugged.store(true, Ordering::Release),
            }
        }
    }

    /// Answers everything that still waits; dropping the rest ends the log's thread and the applier's.
    fn leave(&mut self) {
        let rejected = self.core.abandon();
        self.backlog.push_back(Work { rejected, ..Work::default() });
        for work in std::mem::take(&mut self.backlog) {
            // An applier that is gone has nobody left to tell.
            self.applier.given();
            self.rounds.send(work).ok();
        }
    }
}

impl Drop for Pump {
    /// Also after a panic: nobody may wait for a driver that is gone.
    fn drop(&mut self) {
        self.inbox.close();
    }
}
