//! The driver thread: carries inputs into the core, batches to the log and committed entries to the applier.
//!
//! # Invariants
//! - **D1 one batch per round**: all shards a round touched share one write and one sync.
//! - **D2 no circle**: the driver may wait for the log and the applier; neither ever waits for the driver.
//! - **D3 absence**: no clock ticks here. A lone voter has no rival and no follower, so an idle node sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, select};

use crate::ids::ShardId;
use crate::log::{Durable, LogStopped, LogThread};
use crate::raft::applier::Work;
use crate::raft::handle::{Done, Inbox, Input};
use crate::raft::status::StatusBoard;
use crate::raft::{Core, Proposal, ProposeError, Round, metrics};

/// Batches handed to the log and not durable. While one is under way the driver sleeps and the inbox fills, so that a
/// busy node does few large rounds instead of one for each proposal; rounds are short beside a sync.
pub(crate) const BATCHES_IN_FLIGHT_MAX: usize = 1;
/// Inputs taken from the inbox before a round.
const INPUTS_MAX: usize = 1024;
/// Payload bytes taken from the inbox before a round, so that a batch stays far below what the log takes as one.
const INPUT_BYTES_MAX: usize = 16 << 20;

/// The driver thread's state.
pub(crate) struct Pump {
    pub(crate) core: Core<Done>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) durable: Receiver<Durable>,
    pub(crate) log: LogThread,
    pub(crate) rounds: Sender<Work>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) unplugged: Arc<AtomicBool>,
    pub(crate) is_stopping: bool,
}

impl Pump {
    /// Runs until stopped, unplugged, or left alone by the log or the applier.
    pub(crate) fn run(mut self) {
        while !self.unplugged.load(Ordering::Acquire) && !self.is_finished() {
            self.wait();
            self.take_in();
            if self.core.batches_in_flight() < BATCHES_IN_FLIGHT_MAX && self.turn().is_err() {
                // The log's thread has reported why; nothing can become durable any more.
                break;
            }
        }
        self.leave();
    }

    fn is_finished(&self) -> bool {
        self.is_stopping && !self.core.has_work() && self.core.batches_in_flight() == 0
    }

    /// Sleeps until there is something to take in, unless the core has work it may do now.
    fn wait(&mut self) {
        let may_write = self.core.batches_in_flight() < BATCHES_IN_FLIGHT_MAX;
        if may_write && self.core.has_work() {
            return;
        }
        if self.is_stopping || !may_write {
            match self.durable.recv() {
                Ok(batch) => self.persisted(batch),
                Err(_) => self.unplugged.store(true, Ordering::Release),
            }
            return;
        }
        select! {
            recv(self.inbox.receiver) -> input => {
                self.take(input.expect("the inbox holds both of its ends"));
            }
            recv(self.durable) -> batch => match batch {
                Ok(batch) => self.persisted(batch),
                Err(_) => self.unplugged.store(true, Ordering::Release),
            }
        }
    }

    fn take_in(&mut self) {
        while let Ok(batch) = self.durable.try_recv() {
            self.persisted(batch);
        }
        let mut bytes = 0;
        let mut count = 0;
        while !self.is_stopping
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
            Input::SnapshotTaken { shard, index } => self.core.snapshot_taken(shard, index),
            Input::Stop => self.is_stopping = true,
        }
        0
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

    fn persisted(&mut self, durable: Durable) {
        self.core.persisted(durable.number, &durable.positions, durable.batch);
    }

    fn turn(&mut self) -> Result<(), LogStopped> {
        let Round { batch, messages, committed, rejected, roles, touched } = self.core.round();
        assert!(messages.is_empty(), "a lone voter has no peers to write to");
        if let Some((number, batch)) = batch {
            metrics::batch_records(batch.records().len());
            self.log.submit(batch, number)?;
        }
        for shard in touched.into_iter().map(ShardId) {
            if let Some(status) = self.core.status(shard) {
                self.board.note(shard, status);
            }
        }
        self.hand_over(Work { committed, rejected, roles });
        Ok(())
    }

    fn hand_over(&mut self, work: Work) {
        if !work.is_empty() && self.rounds.send(work).is_err() {
            // The applier has reported why it is gone.
            self.unplugged.store(true, Ordering::Release);
        }
    }

    /// Answers everything that still waits; dropping the rest ends the log's thread and the applier's.
    fn leave(&mut self) {
        let rejected = self.core.abandon();
        self.hand_over(Work { rejected, ..Work::default() });
    }
}

impl Drop for Pump {
    /// Also after a panic: nobody may wait for a driver that is gone.
    fn drop(&mut self) {
        self.inbox.close();
    }
}
