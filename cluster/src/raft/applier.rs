//! The thread that applies committed entries and answers their proposals. Fed by the driver thread, in order.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::clock::Clock;
use crate::failpoint::{Point, passed};
use crate::ids::{LogIndex, ShardId};
use crate::raft::handle::Done;
use crate::raft::status::StatusBoard;
use crate::raft::{ApplyError, Committed, CommittedEntry, ProposeError, Role, StateMachine, metrics};

/// Rounds waiting for the applier; beyond that the driver takes nothing in that would bring more.
pub(crate) const ROUNDS_WAITING_MAX: usize = 256;
/// Entries applied in one call of the state machine.
const ENTRIES_MAX: usize = 4096;

/// What a round leaves to be put in place, applied, answered and told, in this order.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) left: Vec<ShardId>,
    pub(crate) installs: Vec<(ShardId, LogIndex)>,
    pub(crate) parked: Vec<ShardId>,
    pub(crate) committed: Vec<CommittedEntry<Done>>,
    pub(crate) reads: Vec<(LogIndex, Done)>,
    pub(crate) rejected: Vec<(Done, ProposeError)>,
    pub(crate) roles: Vec<(ShardId, Role)>,
    pub(crate) snapshots_wanted: Vec<ShardId>,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.is_ordinary()
            && self.parked.is_empty()
            && self.committed.is_empty()
            && self.reads.is_empty()
            && self.rejected.is_empty()
            && self.roles.is_empty()
            && self.snapshots_wanted.is_empty()
    }

    /// Whether it may be done together with the one before: nothing has to come before its entries.
    fn is_ordinary(&self) -> bool {
        self.left.is_empty() && self.installs.is_empty()
    }

    fn join(&mut self, mut later: Self) {
        self.parked.append(&mut later.parked);
        self.committed.append(&mut later.committed);
        self.reads.append(&mut later.reads);
        self.snapshots_wanted.append(&mut later.snapshots_wanted);
        self.rejected.append(&mut later.rejected);
        self.roles.append(&mut later.roles);
    }
}

/// The applier's state.
pub(crate) struct Applier<M> {
    pub(crate) machine: M,
    pub(crate) rounds: Receiver<Work>,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl<M: StateMachine> Applier<M> {
    /// Runs until the driver is gone and everything it left is done.
    pub(crate) fn run(mut self) -> Result<(), ApplyError> {
        let mut next = None;
        while let Some(mut work) = next.take().or_else(|| self.rounds.recv().ok()) {
            while work.committed.len() < ENTRIES_MAX
                && let Ok(later) = self.rounds.try_recv()
            {
                if !later.is_ordinary() {
                    next = Some(later);
                    break;
                }
                work.join(later);
            }
            self.finish(work)?;
        }
        Ok(())
    }

    fn finish(&mut self, work: Work) -> Result<(), ApplyError> {
        for shard in work.left {
            self.machine.leave(shard)?;
            self.board.remove(shard);
        }
        for (shard, index) in work.installs {
            self.machine.install(shard, index)?;
            self.board.note_applied(shard, index);
            self.board.note_parked(shard, false);
        }
        work.parked.into_iter().for_each(|shard| self.machine.parked(shard));
        if !work.committed.is_empty() {
            let views: Vec<Committed<'_>> = work.committed.iter().map(CommittedEntry::view).collect();
            let started = self.clock.monotonic();
            passed(Point::BeforeApply);
            self.machine.apply(&views)?;
            passed(Point::BeforeAnswer);
            metrics::applied(views.len(), self.clock.monotonic().saturating_sub(started));
        }
        for entry in work.committed {
            self.board.note_applied(entry.shard, entry.index);
            if let Some(done) = entry.token {
                done(Ok(entry.index));
            }
        }
        for (index, done) in work.reads {
            done(Ok(index));
        }
        for (done, reason) in work.rejected {
            metrics::refused(&reason);
            done(Err(reason));
        }
        self.machine.outcomes_told();
        metrics::role_changes(work.roles.len());
        for (shard, role) in work.roles {
            self.machine.role_changed(shard, role);
            if let Role::Leader { ready: true, .. } = role {
                // It was not replaced and has to lead as it is.
                self.board.note_parked(shard, false);
            }
        }
        for shard in work.snapshots_wanted {
            self.machine.snapshot_wanted(shard);
        }
        Ok(())
    }
}
