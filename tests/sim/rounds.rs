//! The way of a simulated core's rounds: batches to the disk and back, entries to the store, answers to whoever asked.
//! Every hand-over is a step of its own, and several faults are planted in one of them.

use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::log::{Batch, LogError, Position};
use steward_cluster::raft::{CommittedEntry, PeerMessage, ProposeError, Role, Round};

use crate::fault::Fault;
use crate::invariants::{Violation, r1_durability, r2_order, r3_fencing, r4_readiness, r5_answer, r6_reads};
use crate::node::{Life, Node, READ};
use crate::oracle::Oracle;

/// More than any batch of a run has records.
const LIED_POSITIONS: usize = 4096;

/// What a round has for the store and for those who asked.
pub(crate) struct Work {
    left: Vec<ShardId>,
    installs: Vec<(ShardId, LogIndex)>,
    committed: Vec<CommittedEntry<u64>>,
    reads: Vec<(ShardId, LogIndex, u64)>,
    rejected: Vec<(u64, ProposeError)>,
    roles: Vec<(ShardId, Role)>,
    snapshots_wanted: Vec<ShardId>,
}

impl Work {
    fn is_empty(&self) -> bool {
        let nothing_before = self.left.is_empty() && self.installs.is_empty() && self.committed.is_empty();
        let nothing_told = self.reads.is_empty() && self.rejected.is_empty() && self.roles.is_empty();
        nothing_before && nothing_told && self.snapshots_wanted.is_empty()
    }
}

impl Node {
    /// One round of the core; gives what it sends.
    pub(crate) fn turn(&mut self) -> Vec<PeerMessage> {
        let Some(life) = &mut self.life else { return Vec::new() };
        let round = life.core.round();
        let Round { batch, messages, installs, committed, rejected, reads, roles, left, snapshots_wanted, touched: _ } =
            round;
        if let Some((number, batch)) = batch {
            if self.fault == Fault::EarlyDurable {
                let nowhere = Position { segment: 0, offset: 0, len: 0 };
                life.core.persisted(number, &[nowhere; LIED_POSITIONS], Batch::new());
            }
            life.writes.push_back((number, batch));
        }
        life.rounds.push_back(Work { left, installs, committed, reads, rejected, roles, snapshots_wanted });
        life.rounds.retain(|work| !work.is_empty());
        messages
    }

    /// Writes the oldest waiting batch; an error means that the power went.
    pub(crate) fn write(&mut self) -> Result<(), LogError> {
        let Some(life) = &mut self.life else { return Ok(()) };
        let Some((number, batch)) = life.writes.pop_front() else { return Ok(()) };
        let positions = life.log.append(&batch)?;
        life.durable.push_back((number, positions));
        life.log.drop_dead_segments()
    }

    /// Tells the core about the oldest durable batch.
    pub(crate) fn report(&mut self) {
        if let Some(life) = &mut self.life
            && let Some((number, positions)) = life.durable.pop_front()
            && self.fault != Fault::EarlyDurable
        {
            life.core.persisted(number, &positions, Batch::new());
        }
    }

    /// Applies the oldest waiting round, answers its proposals and hears of its roles.
    pub(crate) fn apply(&mut self, oracle: &mut Oracle) -> Result<(), Violation> {
        let Some(work) = self.life.as_mut().and_then(|life| life.rounds.pop_front()) else { return Ok(()) };
        if self.fault == Fault::EarlyReady {
            self.hear(oracle, &work.roles)?;
        }
        for shard in work.left {
            self.store.clear(shard);
        }
        for (shard, index) in work.installs {
            self.store.install(shard, index);
            oracle.installs += 1;
        }
        let mut answers = Vec::new();
        for entry in work.committed {
            let number = entry.data.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
            let applied = (entry.term, number);
            r1_durability::on_apply(oracle, entry.shard, entry.index, applied)?;
            r3_fencing::on_apply(oracle, entry.shard, applied)?;
            r2_order::on_apply(oracle, &self.store, entry.shard, entry.index, applied)?;
            self.store.push(entry.shard, applied);
            oracle.note((self.id, entry.shard, entry.index, applied));
            answers.extend(entry.token.map(|token| (token, Ok(entry.index))));
        }
        for (_, index, token) in work.reads {
            oracle.note((self.id, token, index));
            r6_reads::on_answer(oracle, &self.store, token & !READ)?;
            self.tell_whether_out(oracle, token & !READ);
        }
        let proposals = work.rejected.into_iter().filter(|(token, _)| token & READ == 0);
        answers.extend(proposals.map(|(token, reason)| (token, Err(reason))));
        for (number, answer) in answers {
            if self.fault == Fault::LostAnswer && number % 16 == 0 {
                continue;
            }
            r5_answer::on_answer(oracle, number, answer)?;
            oracle.answer(number, answer);
        }
        if self.fault != Fault::EarlyReady {
            self.hear(oracle, &work.roles)?;
        }
        for shard in work.snapshots_wanted {
            self.store.sync();
            self.offer_snapshot(shard);
        }
        Ok(())
    }

    /// Now that this node knows that it leads, it knows who holds the shard.
    fn tell_whether_out(&self, oracle: &mut Oracle, number: u64) {
        let Some((node, heard)) = oracle.leaving.remove(&number) else { return };
        let shard = oracle.reads[usize::try_from(number - 1).expect("the number was given out")].0;
        if self.members(shard).is_some_and(|members| !members.contains(node)) {
            oracle.may_leave.push((node, shard, heard));
        }
    }

    fn offer_snapshot(&mut self, shard: ShardId) {
        let index = self.store.take_snapshot(shard);
        if let Some(life) = &mut self.life {
            life.core.offer_snapshot(shard, index);
        }
    }

    fn hear(&mut self, oracle: &mut Oracle, roles: &[(ShardId, Role)]) -> Result<(), Violation> {
        let by = self.name();
        let Some(life) = &mut self.life else { return Ok(()) };
        for &(shard, role) in roles {
            oracle.note((by, shard, format!("{role:?}")));
            let at = usize::from(shard.0);
            life.ready[at] = false;
            if let Role::Leader { term, ready: true } = role {
                r3_fencing::on_ready(oracle, shard, term, by)?;
                r4_readiness::on_ready(oracle, &self.store, shard, term)?;
                life.terms[at].push(term);
                life.ready[at] = true;
            }
        }
        Ok(())
    }

    /// Takes a snapshot and lets the log forget it.
    pub(crate) fn take_snapshot(&mut self, shard: ShardId) {
        if let Some(life) = &mut self.life {
            let index = self.store.take_snapshot(shard);
            life.core.snapshot_taken(shard, index);
            life.core.offer_snapshot(shard, index);
        }
    }

    /// Whether something is under way between core, log and store.
    pub(crate) fn is_busy(&self) -> bool {
        let busy = |life: &Life| !(life.writes.is_empty() && life.durable.is_empty() && life.rounds.is_empty());
        self.life.as_ref().is_some_and(busy)
    }
}
