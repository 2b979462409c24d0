//! Messages survive the way over the wire, byte for byte as agreed, and damaged ones are named.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot, SnapshotMetadata};
use steward_proto::peer::v1 as pb;

use super::wire::WireError;
use crate::ids::ShardId;
use crate::raft::PeerMessage;

const TYPES: [MessageType; 19] = [
    MessageType::MsgHup,
    MessageType::MsgBeat,
    MessageType::MsgPropose,
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgUnreachable,
    MessageType::MsgSnapStatus,
    MessageType::MsgCheckQuorum,
    MessageType::MsgTransferLeader,
    MessageType::MsgTimeoutNow,
    MessageType::MsgReadIndex,
    MessageType::MsgReadIndexResp,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];
const ENTRY_TYPES: [EntryType; 3] = [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2];

fn some_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let fields = (0..ENTRY_TYPES.len(), any::<[u64; 2]>(), some_bytes(), some_bytes());
    let entry = fields.prop_map(|(kind, [term, index], data, context)| Entry {
        entry_type: ENTRY_TYPES[kind],
        term,
        index,
        data,
        context,
        ..Entry::default()
    });
    vec(entry, 0..4)
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let nodes = || vec(any::<u64>(), 0..4);
    let fields = (any::<[u64; 2]>(), nodes(), nodes(), nodes(), nodes(), any::<bool>());
    fields.prop_map(|([index, term], voters, learners, voters_outgoing, learners_next, auto_leave)| {
        let conf = ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, ..ConfState::default() };
        let mut metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
        metadata.set_conf_state(conf);
        let mut snapshot = Snapshot::default();
        snapshot.set_metadata(metadata);
        snapshot
    })
}

fn messages() -> impl Strategy<Value = PeerMessage> {
    let head = (any::<u16>(), 0..TYPES.len(), any::<[u64; 9]>(), any::<bool>(), any::<i64>());
    let parts = (entries(), some_bytes(), snapshot(), any::<bool>());
    (head, parts).prop_map(|((shard, kind, numbers, reject, priority), (entries, context, snapshot, with))| {
        let [to, from, term, log_term, index, commit, commit_term, request_snapshot, reject_hint] = numbers;
        let mut message = Message { to, from, term, log_term, index, commit, commit_term, ..Message::default() };
        message.set_msg_type(TYPES[kind]);
        message.request_snapshot = request_snapshot;
        message.reject = reject;
        message.reject_hint = reject_hint;
        message.priority = priority;
        message.context = context;
        message.set_entries(entries.into());
        if with || TYPES[kind] == MessageType::MsgSnapshot {
            message.set_snapshot(snapshot);
        }
        PeerMessage { shard: ShardId(shard), message }
    })
}

proptest! {
    #[test]
    fn a_message_comes_back_as_it_left(sent in messages()) {
        let bytes = sent.clone().into_wire().encode_to_vec();
        let wire = pb::RaftMessage::decode(Bytes::from(bytes)).unwrap();
        let got = PeerMessage::from_wire(wire).unwrap();
        prop_assert_eq!(got.shard, sent.shard);
        prop_assert_eq!(got.message, sent.message);
    }
}

fn append() -> PeerMessage {
    let entry = Entry { term: 5, index: 8, data: Bytes::from_static(b"data"), ..Entry::default() };
    let mut message = Message { to: 2, from: 1, term: 5, log_term: 4, index: 7, commit: 6, ..Message::default() };
    message.set_msg_type(MessageType::MsgAppend);
    message.set_entries(vec![entry].into());
    PeerMessage { shard: ShardId(300), message }
}

fn snapshot_message() -> PeerMessage {
    let conf = ConfState { voters: vec![1, 2], learners: vec![3], auto_leave: true, ..ConfState::default() };
    let mut metadata = SnapshotMetadata { index: 9, term: 5, ..SnapshotMetadata::default() };
    metadata.set_conf_state(conf);
    let mut message = Message { to: 3, from: 1, term: 5, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.mut_snapshot().set_metadata(metadata);
    PeerMessage { shard: ShardId(1), message }
}

#[test]
fn the_bytes_are_golden() {
    let hex = |message: PeerMessage| -> String {
        message.into_wire().encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    assert_eq!(hex(append()), "080410ac0218022001280530043807420c0801100518082204646174614806");
    assert_eq!(hex(snapshot_message()), "080810011803200128055a0f080910051a090a0201021201032801");
}

#[test]
fn what_is_not_a_message_is_named() {
    let refused = |change: &dyn Fn(&mut pb::RaftMessage), message: PeerMessage| {
        let mut wire = message.into_wire();
        change(&mut wire);
        PeerMessage::from_wire(wire).unwrap_err()
    };
    let unknown = |field, value| WireError::Unknown { field, value };
    assert_eq!(refused(&|wire| wire.r#type = 0, append()), unknown("type", 0));
    assert_eq!(refused(&|wire| wire.r#type = 20, append()), unknown("type", 20));
    assert_eq!(refused(&|wire| wire.shard = 65_536, append()), unknown("shard", 65_536));
    assert_eq!(refused(&|wire| wire.entries[0].r#type = 0, append()), unknown("entries.type", 0));
    assert_eq!(refused(&|wire| wire.entries[0].r#type = 4, append()), unknown("entries.type", 4));
    let missing = |field| WireError::Missing { field };
    assert_eq!(refused(&|wire| wire.snapshot = None, snapshot_message()), missing("snapshot"));
    let no_members = |wire: &mut pb::RaftMessage| wire.snapshot.as_mut().unwrap().conf_state = None;
    assert_eq!(refused(&no_members, snapshot_message()), missing("snapshot.conf_state"));
}
