//! The thread that applies committed entries and answers their proposals. Fed by the driver thread, in order.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, never, select};

use crate::clock::Clock;
use crate::failpoint::{Point, passed};
use crate::ids::{LogIndex, ShardId};
use crate::progress::Part;
use crate::raft::installs::Installs;
use crate::raft::status::StatusBoard;
use crate::raft::work::Work;
use crate::raft::{ApplyError, Committed, CommittedEntry, Role, StateMachine, metrics};

/// Rounds waiting for the applier; beyond that the driver takes nothing in that would bring more.
pub(crate) const ROUNDS_WAITING_MAX: usize = 256;
/// How often it shows that it only waits for snapshots; nothing else wakes it for nothing.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(3600);
/// Entries applied in one call of the state machine.
const ENTRIES_MAX: usize = 4096;

/// The applier's state.
pub(crate) struct Applier<M> {
    pub(crate) machine: M,
    pub(crate) rounds: Receiver<Work>,
    pub(crate) installs: Installs,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) at_work: Arc<Part>,
}

impl<M: StateMachine> Applier<M> {
    /// Runs until the driver is gone and everything it left is done.
    pub(crate) fn run(mut self) -> Result<(), ApplyError> {
        let (none, mut next) = (never(), None);
        loop {
            self.at_work.rests();
            let is_full = self.installs.are_full();
            let (rounds, patience) = if is_full { (&none, LOOK_EVERY) } else { (&self.rounds, LONG) };
            let mut work = match next.take() {
                Some(work) => work,
                None => select! {
                    recv(rounds) -> work => match work {
                        Ok(work) => {
                            self.at_work.taken();
                            work
                        }
                        Err(_) => break,
                    },
                    recv(self.installs.done) -> done => match done {
                        Ok((shard, index)) => {
                            self.installed(shard, index)?;
                            continue;
                        }
                        // The installer has reported why it is gone.
                        Err(_) => return Ok(()),
                    },
                    // Waiting for a snapshot is no standstill: the next turn shows it.
                    default(patience) => continue,
                },
            };
            while work.committed.len() < ENTRIES_MAX
                && let Ok(later) = self.rounds.try_recv()
            {
                self.at_work.taken();
                if !later.is_ordinary() {
                    next = Some(later);
                    break;
                }
                work.join(later);
            }
            self.take(work)?;
        }
        while self.installs.are_under_way()
            && let Ok((shard, index)) = self.installs.done.recv()
        {
            self.installed(shard, index)?;
        }
        Ok(())
    }

    /// Does what need not wait for a snapshot to be in place.
    fn take(&mut self, mut work: Work) -> Result<(), ApplyError> {
        self.at_work.begins(work.committed.first().map(|entry| entry.shard));
        self.installs.hold_back(&mut work);
        for shard in work.left.drain(..) {
            self.machine.leave(shard)?;
            self.board.remove(shard);
        }
        for (shard, index) in work.installs.drain(..) {
            let installation = self.machine.install(shard, index)?;
            self.installs.begin(shard, index, installation);
        }
        self.installs.hold_back(&mut work);
        self.finish(work)
    }

    /// A snapshot is in place; what waited for it comes now.
    fn installed(&mut self, shard: ShardId, index: LogIndex) -> Result<(), ApplyError> {
        self.at_work.begins(Some(shard));
        self.machine.installed(shard, index)?;
        self.board.note_applied(shard, index);
        self.board.note_parked(shard, false);
        self.installs.end(shard).into_iter().try_for_each(|work| self.take(work))
    }

    fn finish(&mut self, work: Work) -> Result<(), ApplyError> {
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
        for (_, index, done) in work.reads {
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
