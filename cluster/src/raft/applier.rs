//! The thread that applies committed entries and answers their proposals. Fed by the driver thread, in order.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::clock::Clock;
use crate::ids::ShardId;
use crate::raft::handle::Done;
use crate::raft::status::StatusBoard;
use crate::raft::{ApplyError, Committed, CommittedEntry, ProposeError, Role, StateMachine, metrics};

/// Rounds waiting for the applier; beyond that the driver waits too, and callers see overload.
pub(crate) const ROUNDS_WAITING_MAX: usize = 256;
/// Entries applied in one call of the state machine.
const ENTRIES_MAX: usize = 4096;

/// What a round leaves to be applied, answered and told, in this order.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) committed: Vec<CommittedEntry<Done>>,
    pub(crate) rejected: Vec<(Done, ProposeError)>,
    pub(crate) roles: Vec<(ShardId, Role)>,
}

impl Work {
    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.rejected.is_empty() && self.roles.is_empty()
    }

    fn join(&mut self, mut later: Self) {
        self.committed.append(&mut later.committed);
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
        while let Ok(mut work) = self.rounds.recv() {
            while work.committed.len() < ENTRIES_MAX
                && let Ok(later) = self.rounds.try_recv()
            {
                work.join(later);
            }
            self.finish(work)?;
        }
        Ok(())
    }

    fn finish(&mut self, work: Work) -> Result<(), ApplyError> {
        if !work.committed.is_empty() {
            let views: Vec<Committed<'_>> = work.committed.iter().map(CommittedEntry::view).collect();
            let started = self.clock.monotonic();
            self.machine.apply(&views)?;
            metrics::applied(views.len(), self.clock.monotonic().saturating_sub(started));
        }
        for entry in work.committed {
            self.board.note_applied(entry.shard, entry.index);
            if let Some(done) = entry.token {
                done(Ok(entry.index));
            }
        }
        for (done, reason) in work.rejected {
            metrics::refused(&reason);
            done(Err(reason));
        }
        self.machine.outcomes_told();
        metrics::role_changes(work.roles.len());
        for (shard, role) in work.roles {
            self.machine.role_changed(shard, role);
        }
        Ok(())
    }
}
