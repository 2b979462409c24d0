//! When nothing happens: a group whose replicas all hold the same log sleeps, without heartbeats, until something does.
//!
//! The leader says so in its last heartbeat. Nodes tell each other all the time that they are alive, once for all their
//! groups; when a node falls silent, or comes back as another process, the core wakes the groups it mattered to.
//!
//! # Invariants
//! - **Z1 level**: a replica sleeps only with everything its leader has, committed and on its disk.
//! - **Z2 woken**: every input but the answers to the last heartbeat wakes it; so does the loss of a node it relies on.

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};

use super::Group;
use super::reseed::needs_snapshot;
use crate::ids::NodeId;

/// What a leader's heartbeat carries when it is the last one for now.
const LAST_HEARTBEAT: &[u8] = b"rest";

/// How long a group has had nothing to do.
#[derive(Default)]
pub(super) struct Rest {
    idle_ticks: usize,
    is_asleep: bool,
    /// The last heartbeats are to be sent.
    last_heartbeats: Vec<Message>,
}

impl Rest {
    pub(super) fn is_asleep(&self) -> bool {
        self.is_asleep
    }
}

impl<T> Group<T> {
    /// Moves the clock. False when the group sleeps or heeds no clock, so that nothing came of it.
    pub(crate) fn tick(&mut self) -> bool {
        let is_alone = self.leads() && self.node.raft.prs().iter().count() == 1;
        if self.rest.is_asleep || (is_alone && !self.reseed.is_sought) {
            return false;
        }
        // The library draws from the thread's randomness; drawing again makes a seeded run repeat.
        if self.node.raft.election_elapsed == 0 {
            let timeout = self.elections.draw(&mut self.seed);
            self.node.raft.set_randomized_election_timeout(timeout);
        }
        self.count_awaiting();
        self.pursue_seed();
        self.rest.idle_ticks = if self.is_level() { self.rest.idle_ticks + 1 } else { 0 };
        if self.rest.idle_ticks >= self.elections.rest_after {
            self.say_last_heartbeat();
            self.sleep();
            return true;
        }
        self.node.tick();
        true
    }

    /// Something happens, or somebody is missed.
    pub(crate) fn wake(&mut self) {
        self.rest.idle_ticks = 0;
        self.rest.is_asleep = false;
    }

    /// A node is silent, or another process now. A sleeping group that relies on it wakes; one it led elects at once.
    /// Whether anything came of it.
    pub(crate) fn lost(&mut self, node: NodeId) -> bool {
        if !self.rest.is_asleep || !self.members().contains(node) {
            return false;
        }
        self.wake();
        if self.node.raft.leader_id == node.0 {
            // The silence was counted for all groups of the node at once. What is left of the time drawn spreads them.
            let timeout = self.elections.draw(&mut self.seed);
            self.node.raft.set_randomized_election_timeout(timeout);
            self.node.raft.election_elapsed = self.elections.silence_min;
        }
        true
    }

    pub(super) fn sleep(&mut self) {
        self.rest.idle_ticks = 0;
        self.rest.is_asleep = true;
    }

    pub(super) fn take_last_heartbeats(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.rest.last_heartbeats)
    }

    /// What a message means for the rest: the message to step, and whether the group sleeps after it.
    pub(super) fn heed_rest(&mut self, mut message: Message) -> (Message, bool) {
        let kind = message.get_msg_type();
        if kind == MessageType::MsgHeartbeatResponse {
            return (message, self.rest.is_asleep);
        }
        self.wake();
        if kind != MessageType::MsgHeartbeat || message.context[..] != *LAST_HEARTBEAT {
            return (message, false);
        }
        message.context.clear();
        let raft = &self.node.raft;
        let log = &raft.raft_log;
        let follows = raft.state == StateRole::Follower && raft.leader_id == message.from && raft.term == message.term;
        let level = log.last_index() == message.commit && log.persisted == message.commit && self.pending.is_empty();
        (message, follows && level && !self.reseed.is_sought)
    }

    /// Whether this node leads, and every replica holds all there is.
    fn is_level(&self) -> bool {
        let raft = &self.node.raft;
        let last = raft.raft_log.last_index();
        let settled = raft.raft_log.committed == last && raft.raft_log.applied() == last && self.pending.is_empty();
        let idle = self.queued.is_empty() && self.in_flight.is_empty() && self.reads.is_idle();
        self.leads()
            && !self.reseed.is_sought
            && settled
            && idle
            && !self.members().is_joint()
            && raft.lead_transferee.is_none()
            && raft.prs().iter().all(|(_, progress)| progress.matched == last && !needs_snapshot(progress))
    }

    fn say_last_heartbeat(&mut self) {
        let raft = &self.node.raft;
        let others = raft.prs().iter().map(|(id, _)| *id).filter(|id| *id != raft.id);
        let heartbeat = |to| {
            let mut message = Message { from: raft.id, to, term: raft.term, ..Message::default() };
            message.set_msg_type(MessageType::MsgHeartbeat);
            message.commit = raft.raft_log.committed;
            message.context = LAST_HEARTBEAT.into();
            message
        };
        self.rest.last_heartbeats = others.map(heartbeat).collect();
    }
}
