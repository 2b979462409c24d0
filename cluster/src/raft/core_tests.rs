//! What the simulation meets too seldom or cannot see: votes of a replica that has nothing, when followers hear what
//! is committed, and when the leader of a sleeping group is missed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::{Message, MessageType};

use super::*;
use crate::clock::{Clock as _, ManualClock, Timestamp};
use crate::log::disk::{Disk, MemoryDisk};
use crate::log::{Log, LogConfig};
use crate::raft::Role;
use crate::raft::election::TICK;
use crate::raft::handle::Sign;
use crate::raft::ticks::Ticks;

const SHARD: ShardId = ShardId(0);

/// A node, with the shards of a cluster that begins now or, without founders, with nothing yet.
fn node(id: u64, founders: &[u64]) -> (Core<u64>, Log) {
    node_over(Arc::new(MemoryDisk::new()), id, founders)
}

fn node_over(disk: Arc<dyn Disk>, id: u64, founders: &[u64]) -> (Core<u64>, Log) {
    let config = LogConfig { reserve_bytes: 0, floor_bytes: 0, ..LogConfig::default() };
    let (log, recovered) = Log::open(disk, config).expect("the disk opens");
    let elections = ElectionTicks::default();
    let founders = founders.iter().copied().map(NodeId).collect();
    let config = CoreConfig { node: NodeId(id), shards: 1, founders, elections, seed: id, cached_bytes_max: 1 << 20 };
    (Core::open(&config, recovered, &[], &log.reader()).expect("the log opens"), log)
}

fn message(kind: MessageType, from: u64, term: u64) -> PeerMessage {
    let mut message = Message { from, to: 2, term, index: 9, log_term: term - 1, ..Message::default() };
    message.set_msg_type(kind);
    PeerMessage { shard: SHARD, message }
}

/// Rounds until there is nothing to do; what they send.
fn messages(core: &mut Core<u64>, log: &mut Log) -> Vec<PeerMessage> {
    let mut messages = vec![];
    while core.has_work() {
        let round = core.round();
        messages.extend(round.messages);
        if let Some((number, batch)) = round.batch {
            let positions = log.append(&batch).expect("memory takes it");
            core.persisted(number, &positions, Batch::new());
        }
    }
    messages
}

fn sent(core: &mut Core<u64>, log: &mut Log) -> Vec<MessageType> {
    messages(core, log).iter().map(|message| message.message.get_msg_type()).collect()
}

/// Three nodes, and a network that loses nothing.
struct Trio([(Core<u64>, Log); 3]);

impl Trio {
    /// The first one leads, and everybody knows all there is.
    fn led() -> Self {
        let mut trio = Self([1, 2, 3].map(|id| node(id, &[1, 2, 3])));
        while !trio.committed().iter().all(|committed| *committed > LogIndex(0)) {
            trio.0[0].0.tick(1);
            trio.talk();
        }
        trio
    }

    /// Carries messages until nobody has anything to say.
    fn talk(&mut self) {
        loop {
            let said: Vec<_> = self.0.iter_mut().flat_map(|(core, log)| messages(core, log)).collect();
            if said.is_empty() {
                return;
            }
            for message in said {
                let at = usize::try_from(message.to().0).expect("there are three") - 1;
                self.0[at].0.receive(message);
            }
        }
    }

    /// Carries messages until the third node, whose disk takes everything and says nothing, has got an entry together with
    /// the news that more is committed than this; false when nobody has anything to say.
    fn tells_the_third(&mut self, before: LogIndex) -> bool {
        loop {
            let [first, second, (third, disk)] = &mut self.0;
            while third.has_work() {
                third.round().batch.map(|(_, batch)| disk.append(&batch).expect("memory takes it"));
            }
            let said: Vec<_> = [first, second].into_iter().flat_map(|(core, log)| messages(core, log)).collect();
            if said.is_empty() {
                return false;
            }
            for message in said {
                let at = usize::try_from(message.to().0).expect("there are three") - 1;
                let tells = at == 2 && message.message.commit > before.0 && !message.message.entries.is_empty();
                self.0[at].0.receive(message);
                if tells {
                    return true;
                }
            }
        }
    }

    fn propose(&mut self) {
        self.hand_in();
        self.talk();
    }

    /// Gives the leader an entry.
    fn hand_in(&mut self) {
        let core = &mut self.0[0].0;
        let term = core.status(SHARD).expect("it is a founder").term;
        core.propose(SHARD, term, Bytes::from_static(b"entry"), 0);
    }

    fn committed(&self) -> [LogIndex; 3] {
        self.0.each_ref().map(|(core, _)| core.status(SHARD).expect("it is a founder").committed)
    }
}

/// A removed replica that is about to come back has forgotten its log: its vote could elect who lacks what it once held.
#[test]
fn a_replica_without_a_state_does_not_vote() {
    let (mut core, mut log) = node(2, &[]);
    for kind in [MessageType::MsgRequestPreVote, MessageType::MsgRequestVote] {
        core.receive(message(kind, 3, 7));
        assert_eq!(core.status(SHARD), None, "a candidate does not bring a shard here");
    }
    core.receive(message(MessageType::MsgHeartbeat, 1, 5));
    assert_eq!(sent(&mut core, &mut log), [MessageType::MsgHeartbeatResponse]);
    assert!(matches!(core.status(SHARD).map(|status| status.role), Some(Role::Follower { leader: Some(NodeId(1)) })));
    // Its leader is silent for so long that nothing but its empty log speaks against a candidate.
    for _ in 0..100 {
        core.tick(1);
    }
    sent(&mut core, &mut log);
    for kind in [MessageType::MsgRequestPreVote, MessageType::MsgRequestVote] {
        core.receive(message(kind, 3, 7));
        assert_eq!(sent(&mut core, &mut log), [], "{kind:?}");
    }
}

#[test]
fn followers_hear_what_is_committed_with_the_next_entry_or_with_the_next_tick() {
    let mut trio = Trio::led();
    let LogIndex(before) = trio.committed()[0];
    let everybody_knows = trio.committed();
    assert_eq!(everybody_knows, [LogIndex(before); 3]);
    trio.propose();
    assert_eq!(trio.committed(), [before + 1, before, before].map(LogIndex));
    trio.propose();
    assert_eq!(trio.committed(), [before + 2, before + 1, before + 1].map(LogIndex));
    let (core, log) = &mut trio.0[0];
    core.tick(1);
    let told = messages(core, log);
    let kinds: Vec<MessageType> = told.iter().map(|message| message.message.get_msg_type()).collect();
    assert_eq!(kinds, [MessageType::MsgHeartbeat; 2], "one for each follower");
    for message in told {
        let (core, log) = &mut trio.0[usize::try_from(message.to().0).expect("there are three") - 1];
        core.receive(message);
        assert_eq!(sent(core, log), [], "nobody answers");
    }
    assert_eq!(trio.committed(), [before + 2; 3].map(LogIndex));
}

/// One that has forgotten it would look for votes among those before the change, who need not know those after it. The
/// record of the new members is written when the change is applied, which waits for the disk; the power goes before.
#[test]
fn who_hears_that_a_change_of_members_is_committed_remembers_it_with_what_follows() {
    let mut trio = Trio::led();
    let before = trio.committed()[0];
    trio.0[0].0.change(SHARD, &[NodeId(1)], &[]).expect("it leads and nothing is under way");
    while !trio.tells_the_third(before) {
        trio.hand_in();
    }
    let [.., (mut core, mut log)] = trio.0;
    let (_, batch) = core.round().batch.expect("there is an entry to write");
    log.append(&batch).expect("memory takes it");
    let disk = log.disk();
    drop((core, log));
    let (core, _log) = node_over(disk, 3, &[1, 2, 3]);
    let status = core.status(SHARD).expect("it was a founder");
    assert!(status.committed > before, "it has {:?} and forgot the change before it", status.last);
}

/// How long after its last sign of life the leader of a sleeping group is missed; signs come so long after the looks of the
/// node that hears them.
fn missed_after(phase: Duration) -> Duration {
    let mut trio = Trio::led();
    while trio.0.iter_mut().map(|(core, _)| core.tick(1)).collect::<Vec<_>>().contains(&1) {
        trio.talk();
    }
    let [_, (mut core, _log), _] = trio.0;
    let clock = Arc::new(ManualClock::new(Timestamp(0)));
    let mut ticks = Ticks::new(clock.clone());
    let signs: Vec<Duration> = (0..20).map(|so_many| so_many * 4 * TICK + phase).collect();
    let last = *signs.last().expect("there are some");
    let mut heard = BTreeMap::new();
    while !core.has_work() {
        clock.advance(Duration::from_millis(1));
        let at = clock.monotonic();
        if signs.contains(&at) {
            heard.insert(NodeId(1), Sign { boot: 1, at });
        }
        ticks.pass(&mut core, || std::mem::take(&mut heard));
        ticks.turned();
    }
    clock.monotonic().checked_sub(last).expect("nobody is missed who says that he is alive")
}

#[test]
fn the_leader_of_a_sleeping_group_is_missed_after_the_silence_whenever_its_signs_came() {
    let silence = TICK * u32::try_from(ElectionTicks::default().lost_after()).expect("it is short");
    for phase in (1..=200).step_by(7).map(Duration::from_millis) {
        let missed = missed_after(phase);
        assert!((silence - TICK..=silence).contains(&missed), "after {missed:?}, signs {phase:?} behind");
    }
}
