//! Messages of the library as the schema that peers exchange, and back. The links between nodes call it.
//!
//! # Invariants
//! - **W1 own decoder**: bytes of a peer are decoded by prost; the library's protobuf 2 decoder never sees a message.
//! - **W2 checked**: what comes back names a known type, a possible shard and everything its type needs.
//!
//! # Decisions
//! - A snapshot's data is left out: the message names a snapshot, its bytes come from the peer's file.

use raft::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot, SnapshotMetadata};
use steward_proto::peer::v1 as pb;

use crate::ids::{NodeId, ShardId};
use crate::raft::PeerMessage;

/// Why a peer's message is not one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A number that this binary gives no meaning.
    #[error("field {field} holds {value}, which is unknown")]
    Unknown { field: &'static str, value: i64 },
    /// The type of the message needs it.
    #[error("field {field} is missing")]
    Missing { field: &'static str },
}

impl PeerMessage {
    /// The node that says it comes from it.
    pub(crate) fn sender(&self) -> NodeId {
        NodeId(self.message.from)
    }

    /// The message as it travels.
    pub(crate) fn into_wire(self) -> pb::RaftMessage {
        let message = self.message;
        pb::RaftMessage {
            r#type: type_to_wire(message.msg_type).into(),
            shard: self.shard.0.into(),
            to: message.to,
            from: message.from,
            term: message.term,
            log_term: message.log_term,
            index: message.index,
            entries: message.entries.into_iter().map(entry_to_wire).collect(),
            commit: message.commit,
            commit_term: message.commit_term,
            snapshot: message.snapshot.into_option().map(snapshot_to_wire),
            request_snapshot: message.request_snapshot,
            reject: message.reject,
            reject_hint: message.reject_hint,
            context: message.context,
            priority: message.priority,
        }
    }

    /// The message that travelled.
    pub(crate) fn from_wire(wire: pb::RaftMessage) -> Result<Self, WireError> {
        let shard = u16::try_from(wire.shard);
        let shard = shard.map_err(|_| WireError::Unknown { field: "shard", value: wire.shard.into() })?;
        let mut message = Message {
            msg_type: type_from_wire(wire.r#type)?,
            to: wire.to,
            from: wire.from,
            term: wire.term,
            log_term: wire.log_term,
            index: wire.index,
            commit: wire.commit,
            commit_term: wire.commit_term,
            request_snapshot: wire.request_snapshot,
            reject: wire.reject,
            reject_hint: wire.reject_hint,
            context: wire.context,
            priority: wire.priority,
            ..Message::default()
        };
        let entries = wire.entries.into_iter().map(entry_from_wire).collect::<Result<Vec<_>, _>>()?;
        message.set_entries(entries.into());
        match wire.snapshot {
            Some(snapshot) => message.set_snapshot(snapshot_from_wire(snapshot)?),
            None if message.msg_type == MessageType::MsgSnapshot => {
                return Err(WireError::Missing { field: "snapshot" });
            }
            None => {}
        }
        Ok(Self { shard: ShardId(shard), message })
    }
}

fn entry_to_wire(entry: Entry) -> pb::RaftEntry {
    let kind = match entry.entry_type {
        EntryType::EntryNormal => pb::RaftEntryType::Normal,
        EntryType::EntryConfChange => pb::RaftEntryType::ConfChange,
        EntryType::EntryConfChangeV2 => pb::RaftEntryType::ConfChangeV2,
    };
    pb::RaftEntry {
        r#type: kind.into(),
        term: entry.term,
        index: entry.index,
        data: entry.data,
        context: entry.context,
    }
}

fn entry_from_wire(wire: pb::RaftEntry) -> Result<Entry, WireError> {
    let unknown = WireError::Unknown { field: "entries.type", value: wire.r#type.into() };
    let entry_type = match pb::RaftEntryType::try_from(wire.r#type) {
        Ok(pb::RaftEntryType::Normal) => EntryType::EntryNormal,
        Ok(pb::RaftEntryType::ConfChange) => EntryType::EntryConfChange,
        Ok(pb::RaftEntryType::ConfChangeV2) => EntryType::EntryConfChangeV2,
        Ok(pb::RaftEntryType::Unspecified) | Err(_) => return Err(unknown),
    };
    let pb::RaftEntry { term, index, data, context, .. } = wire;
    Ok(Entry { entry_type, term, index, data, context, ..Entry::default() })
}

fn snapshot_to_wire(snapshot: Snapshot) -> pb::SnapshotMetadata {
    let metadata = snapshot.metadata.unwrap_or_default();
    let conf = metadata.conf_state.unwrap_or_default();
    let conf_state = pb::ConfState {
        voters: conf.voters,
        learners: conf.learners,
        voters_outgoing: conf.voters_outgoing,
        learners_next: conf.learners_next,
        auto_leave: conf.auto_leave,
    };
    pb::SnapshotMetadata { index: metadata.index, term: metadata.term, conf_state: Some(conf_state) }
}

fn snapshot_from_wire(wire: pb::SnapshotMetadata) -> Result<Snapshot, WireError> {
    let conf = wire.conf_state.ok_or(WireError::Missing { field: "snapshot.conf_state" })?;
    let mut metadata = SnapshotMetadata { index: wire.index, term: wire.term, ..SnapshotMetadata::default() };
    metadata.set_conf_state(ConfState {
        voters: conf.voters,
        learners: conf.learners,
        voters_outgoing: conf.voters_outgoing,
        learners_next: conf.learners_next,
        auto_leave: conf.auto_leave,
        ..ConfState::default()
    });
    let mut snapshot = Snapshot::default();
    snapshot.set_metadata(metadata);
    Ok(snapshot)
}

fn type_to_wire(kind: MessageType) -> pb::RaftMessageType {
    use pb::RaftMessageType as Wire;
    match kind {
        MessageType::MsgHup => Wire::Hup,
        MessageType::MsgBeat => Wire::Beat,
        MessageType::MsgPropose => Wire::Propose,
        MessageType::MsgAppend => Wire::Append,
        MessageType::MsgAppendResponse => Wire::AppendResponse,
        MessageType::MsgRequestVote => Wire::RequestVote,
        MessageType::MsgRequestVoteResponse => Wire::RequestVoteResponse,
        MessageType::MsgSnapshot => Wire::Snapshot,
        MessageType::MsgHeartbeat => Wire::Heartbeat,
        MessageType::MsgHeartbeatResponse => Wire::HeartbeatResponse,
        MessageType::MsgUnreachable => Wire::Unreachable,
        MessageType::MsgSnapStatus => Wire::SnapshotStatus,
        MessageType::MsgCheckQuorum => Wire::CheckQuorum,
        MessageType::MsgTransferLeader => Wire::TransferLeader,
        MessageType::MsgTimeoutNow => Wire::TimeoutNow,
        MessageType::MsgReadIndex => Wire::ReadIndex,
        MessageType::MsgReadIndexResp => Wire::ReadIndexResponse,
        MessageType::MsgRequestPreVote => Wire::RequestPreVote,
        MessageType::MsgRequestPreVoteResponse => Wire::RequestPreVoteResponse,
    }
}

fn type_from_wire(value: i32) -> Result<MessageType, WireError> {
    use pb::RaftMessageType as Wire;
    let kind = match Wire::try_from(value) {
        Ok(Wire::Unspecified) | Err(_) => {
            return Err(WireError::Unknown { field: "type", value: value.into() });
        }
        Ok(Wire::Hup) => MessageType::MsgHup,
        Ok(Wire::Beat) => MessageType::MsgBeat,
        Ok(Wire::Propose) => MessageType::MsgPropose,
        Ok(Wire::Append) => MessageType::MsgAppend,
        Ok(Wire::AppendResponse) => MessageType::MsgAppendResponse,
        Ok(Wire::RequestVote) => MessageType::MsgRequestVote,
        Ok(Wire::RequestVoteResponse) => MessageType::MsgRequestVoteResponse,
        Ok(Wire::Snapshot) => MessageType::MsgSnapshot,
        Ok(Wire::Heartbeat) => MessageType::MsgHeartbeat,
        Ok(Wire::HeartbeatResponse) => MessageType::MsgHeartbeatResponse,
        Ok(Wire::Unreachable) => MessageType::MsgUnreachable,
        Ok(Wire::SnapshotStatus) => MessageType::MsgSnapStatus,
        Ok(Wire::CheckQuorum) => MessageType::MsgCheckQuorum,
        Ok(Wire::TransferLeader) => MessageType::MsgTransferLeader,
        Ok(Wire::TimeoutNow) => MessageType::MsgTimeoutNow,
        Ok(Wire::ReadIndex) => MessageType::MsgReadIndex,
        Ok(Wire::ReadIndexResponse) => MessageType::MsgReadIndexResp,
        Ok(Wire::RequestPreVote) => MessageType::MsgRequestPreVote,
        Ok(Wire::RequestPreVoteResponse) => MessageType::MsgRequestPreVoteResponse,
    };
    Ok(kind)
}
