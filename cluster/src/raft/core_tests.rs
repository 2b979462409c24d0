//! What the simulation meets too seldom: votes of a replica that has nothing.

use std::sync::Arc;

use raft::eraftpb::{Message, MessageType};

use super::*;
use crate::log::disk::MemoryDisk;
use crate::log::{Log, LogConfig};
use crate::raft::Role;

const SHARD: ShardId = ShardId(0);

/// A node that joined a cluster and holds nothing yet.
fn newcomer() -> (Core<u64>, Log) {
    let config = LogConfig { reserve_bytes: 0, floor_bytes: 0, ..LogConfig::default() };
    let (log, recovered) = Log::open(Arc::new(MemoryDisk::new()), config).expect("an empty disk opens");
    let elections = ElectionTicks::default();
    let config =
        CoreConfig { node: NodeId(2), shards: 1, founders: vec![], elections, seed: 1, cached_bytes_max: 1 << 20 };
    (Core::open(&config, recovered, &[], &log.reader()).expect("an empty log opens"), log)
}

fn message(kind: MessageType, from: u64, term: u64) -> PeerMessage {
    let mut message = Message { from, to: 2, term, index: 9, log_term: term - 1, ..Message::default() };
    message.set_msg_type(kind);
    PeerMessage { shard: SHARD, message }
}

/// Rounds until there is nothing to do; what they send.
fn sent(core: &mut Core<u64>, log: &mut Log) -> Vec<MessageType> {
    let mut kinds = vec![];
    while core.has_work() {
        let round = core.round();
        kinds.extend(round.messages.iter().map(|message| message.message.get_msg_type()));
        if let Some((number, batch)) = round.batch {
            let positions = log.append(&batch).expect("memory takes it");
            core.persisted(number, &positions, Batch::new());
        }
    }
    kinds
}

/// A removed replica that is about to come back has forgotten its log: its vote could elect who lacks what it once held.
#[test]
fn a_replica_without_a_state_does_not_vote() {
    let (mut core, mut log) = newcomer();
    for kind in [MessageType::MsgRequestPreVote, MessageType::MsgRequestVote] {
        core.receive(message(kind, 3, 7));
        assert_eq!(core.status(SHARD), None, "a candidate does not bring a shard here");
    }
    core.receive(message(MessageType::MsgHeartbeat, 1, 5));
    assert_eq!(sent(&mut core, &mut log), [MessageType::MsgHeartbeatResponse]);
    assert!(matches!(core.status(SHARD).map(|status| status.role), Some(Role::Follower { leader: Some(NodeId(1)) })));
    // Its leader is silent for so long that nothing but its empty log speaks against a candidate.
    (0..100).for_each(|_| core.tick());
    sent(&mut core, &mut log);
    for kind in [MessageType::MsgRequestPreVote, MessageType::MsgRequestVote] {
        core.receive(message(kind, 3, 7));
        assert_eq!(sent(&mut core, &mut log), [], "{kind:?}");
    }
}
