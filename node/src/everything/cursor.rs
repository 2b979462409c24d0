//! A place in every shard, and its form for clients: a text that means nothing to them.
//!
//! # Decisions
//! - One number per shard, as short as it is: 64 young shards are 100 characters, 1,024 old ones 7,000. Rejected: names
//!   of cursors kept here, which would need an owner and an end.
//! - The cluster is told by a hash of the key that seals its secrets: one node alone has the same one as the cluster it
//!   grows into, and two clusters never have. Rejected: the id of the cluster, which is new when a node stops being alone.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Buf;
use prost::encoding::{decode_varint, encode_varint};
use steward_cluster::ids::{LogIndex, ShardId};

/// The only form there is so far.
const FORM: u8 = 1;
/// What the hash of the key is made for, so that it fits nothing else.
const CLUSTER_CONTEXT: &str = "steward 2026 cluster of a cursor";
/// Bytes that tell the cluster.
const CLUSTER_BYTES: usize = 8;
/// Bytes at the end that tell a damaged cursor.
const CHECK_BYTES: usize = 4;
/// Longer than any cursor: 65,536 shards would not fit into a request.
const TEXT_BYTES_MAX: usize = 128 * 1024;

/// How far each shard was read, by shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places(Vec<LogIndex>);

/// Why a text is no place here. Names the rule, for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CursorError {
    #[error("must be a cursor as SubscribeAll gives it, unchanged")]
    Form,
    #[error("is a cursor of another cluster")]
    OtherCluster,
}

/// Tells cursors of one cluster from those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClusterMark([u8; CLUSTER_BYTES]);

impl ClusterMark {
    /// Of the cluster whose secrets are sealed with this key.
    pub(crate) fn of(seal_key: &[u8]) -> Self {
        let derived = blake3::derive_key(CLUSTER_CONTEXT, seal_key);
        Self(*derived.first_chunk().expect("a key has 32 bytes"))
    }
}

impl fmt::Display for ClusterMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Places {
    /// The beginning of so many shards.
    pub(crate) fn beginning(shards: u16) -> Self {
        Self(vec![LogIndex(0); usize::from(shards)])
    }

    pub(crate) fn get(&self, shard: ShardId) -> LogIndex {
        self.0.get(usize::from(shard.0)).copied().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, shard: ShardId, index: LogIndex) {
        if let Some(place) = self.0.get_mut(usize::from(shard.0)) {
            *place = index;
        }
    }

    /// Every shard with its place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ShardId, LogIndex)> {
        (0..).map(ShardId).zip(self.0.iter().copied())
    }

    /// The text for clients.
    pub(crate) fn encode(&self, cluster: ClusterMark) -> String {
        let mut bytes = vec![FORM];
        bytes.extend_from_slice(&cluster.0);
        self.0.iter().for_each(|index| encode_varint(index.0, &mut bytes));
        let check = blake3::hash(&bytes);
        bytes.extend_from_slice(&check.as_bytes()[..CHECK_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// From a text, for as many shards as there are.
    pub(crate) fn decode(text: &str, cluster: ClusterMark, shards: u16) -> Result<Self, CursorError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(CursorError::Form);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Form)?;
        let (rest, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(CursorError::Form)?;
        if blake3::hash(rest).as_bytes()[..CHECK_BYTES] != check[..] {
            return Err(CursorError::Form);
        }
        let (form, rest) = rest.split_first().ok_or(CursorError::Form)?;
        let (told, mut rest) = rest.split_first_chunk::<CLUSTER_BYTES>().ok_or(CursorError::Form)?;
        if *form != FORM {
            return Err(CursorError::Form);
        }
        if *told != cluster.0 {
            return Err(CursorError::OtherCluster);
        }
        let index = |_| decode_varint(&mut rest).map(LogIndex).map_err(|_| CursorError::Form);
        let places = (0..shards).map(index).collect::<Result<_, _>>()?;
        // The number of shards is fixed when a cluster begins, so there is nothing behind them.
        if rest.has_remaining() { Err(CursorError::Form) } else { Ok(Self(places)) }
    }
}
