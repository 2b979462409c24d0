//! ⑦ Applies what is committed: rows first, then whoever wants to know. Called on the applier's thread only; loading a
//! snapshot goes on beside it.
//!
//! # Invariants
//! - **Y1 one step**: the rows of a batch and its applied indices are written together.
//! - **Y2 told after**: observers and followers hear of an event after its rows can be read.

use std::collections::HashMap;
use std::sync::Arc;

use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::raft::{ApplyError, Committed, Installation, Role, StateMachine};

use super::digest::Digest;
use super::node::Node;
use super::projection::Projection;
use crate::codec::{Barrier, Decision, decode_entry};
use crate::domain::ids::AccountId;
use crate::metrics;

/// Bytes of entries that go into one write of the store.
const WRITE_BYTES_MAX: usize = 8 << 20;

/// What the driver applies to.
pub(crate) struct Machine {
    pub(crate) node: Arc<Node>,
}

impl StateMachine for Machine {
    fn apply(&mut self, entries: &[Committed<'_>]) -> Result<(), ApplyError> {
        let mut rest = entries;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            self.write(now).map_err(|source| ApplyError { source })?;
            rest = later;
        }
        Ok(())
    }

    fn install(&mut self, shard: ShardId, index: LogIndex) -> Result<Installation, ApplyError> {
        // Until it is known: nobody may take what is being loaded for less than it is.
        self.node.driver().note_format(shard, Format::NEWEST);
        self.node.tips.replacing(shard);
        let node = Arc::clone(&self.node);
        Ok(Box::new(move || {
            let installed = node.snapshots.install(&*node.store, shard, index);
            installed.map_err(|error| ApplyError { source: error.into() })
        }))
    }

    fn installed(&mut self, shard: ShardId, index: LogIndex) -> Result<(), ApplyError> {
        self.node.tips.replaced(shard, index);
        let digest = Digest::read(&*self.node.store, shard).map_err(|error| ApplyError { source: error.into() })?;
        if let Some(check) = digest.check(shard) {
            self.node.driver().note_check(check);
        }
        let barrier = Barrier::read(&*self.node.store, shard).map_err(|error| ApplyError { source: error.into() })?;
        let format = barrier.map_or(Format::FIRST, |barrier| barrier.format);
        self.node.driver().note_format(shard, format);
        self.node.replaced(shard);
        tracing::info!(shard = shard.0, index = index.0, "a snapshot of the shard was put in place");
        Ok(())
    }

    fn leave(&mut self, shard: ShardId) -> Result<(), ApplyError> {
        self.node.yield_shard(shard);
        self.node.withdraw(shard);
        self.node.tips.replacing(shard);
        let forgotten = self.node.snapshots.forget(&*self.node.store, shard);
        forgotten.map_err(|error| ApplyError { source: error.into() })?;
        self.node.tips.replaced(shard, LogIndex(0));
        self.node.replaced(shard);
        tracing::info!(shard = shard.0, "the shard has left this node");
        Ok(())
    }

    fn parked(&mut self, shard: ShardId) {
        self.node.withdraw(shard);
    }

    fn snapshot_wanted(&mut self, shard: ShardId) {
        self.node.snapshots.want(shard, self.node.store.clone(), self.node.driver().clone());
    }

    fn outcomes_told(&mut self) {
        self.node.answers.release(&self.node.runtime);
    }

    fn role_changed(&mut self, shard: ShardId, role: Role) {
        match role {
            Role::Leader { term, ready: true } => self.node.lead(shard, term),
            Role::Leader { ready: false, .. } | Role::Follower { .. } => self.node.yield_shard(shard),
        }
        self.node.role_changed();
    }
}

impl Machine {
    fn write(&self, entries: &[Committed<'_>]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut projection = Projection::new(&*self.node.store);
        self.node.remembered.forget_into(&mut projection, &self.node)?;
        self.node.bygone.forget_into(&mut projection);
        let (mut decisions, mut checks, mut raised) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries {
            let decoded = decode_entry(entry.data.clone())?;
            if let Some(barrier) = decoded.barrier {
                raised.push((entry.shard, barrier.known(entry.shard)?));
                projection.raise(entry.shard, &barrier)?;
            }
            for decision in decoded.decisions {
                projection.add(entry.shard, entry.index, &decision)?;
                decisions.push((entry.shard, decision));
            }
            decoded.acked.iter().for_each(|acked| projection.acknowledge_shard(entry.shard, acked));
            let digest = projection.applied(entry.shard, entry.index, decoded.is_check)?;
            if decoded.is_check {
                checks.extend(digest.check(entry.shard));
            }
            self.node.snapshots.note(entry.shard, entry.index, entry.term, entry.data.len());
        }
        // Before it can be read: a snapshot that has the row is of its format.
        raised.into_iter().for_each(|(shard, format)| self.node.raised(shard, format));
        self.node.store.write(projection.finish())?;
        metrics::checks(checks.len());
        checks.into_iter().for_each(|check| self.node.driver().note_check(check));
        self.node.tips.tell(entries.iter().map(|entry| (entry.shard, entry.index)));
        self.tell(&decisions);
        Ok(())
    }

    fn tell(&self, decisions: &[(ShardId, Decision)]) {
        let mut newest: HashMap<&AccountId, u64> = HashMap::new();
        for (shard, decision) in decisions {
            if self.node.is_led(*shard) {
                self.node.observe(*shard, decision);
            } else {
                self.node.follow(decision);
            }
            if let Some((seq, _, _)) = decision.numbered().last() {
                newest.insert(&decision.account, seq);
            }
        }
        self.node.followers.tell(newest);
    }
}

/// How many of the entries go into one write; at least one.
fn fitting(entries: &[Committed<'_>]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Committed<'_>| {
        bytes += entry.data.len();
        bytes <= WRITE_BYTES_MAX
    };
    entries.iter().take_while(fits).count().max(1)
}
