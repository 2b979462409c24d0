//! What a node must never forget about its votes, as the bytes of a hard state record. Written by the group, read at start.
//!
//! The layout is ours (three little-endian u64), so the log never depends on a library's codec.

use bytes::Bytes;
use raft::eraftpb::HardState;

/// Bytes of one encoded vote: term, vote and commit.
pub(crate) const VOTE_BYTES: usize = 24;

/// Term, vote and a lower bound of the commit index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) commit: u64,
}

impl Vote {
    /// What the library holds now.
    pub(crate) fn of(state: &HardState) -> Self {
        Self { term: state.term, vote: state.vote, commit: state.commit }
    }

    /// Whether an answer may depend on this record being durable; the commit index alone is learned again.
    pub(crate) fn promises_more_than(self, earlier: Self) -> bool {
        self.term != earlier.term || self.vote != earlier.vote
    }

    pub(crate) fn encode(self) -> [u8; VOTE_BYTES] {
        let mut bytes = [0; VOTE_BYTES];
        bytes[..8].copy_from_slice(&self.term.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.vote.to_le_bytes());
        bytes[16..].copy_from_slice(&self.commit.to_le_bytes());
        bytes
    }

    /// `None` when the bytes have another length than this layout.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let (fields, rest) = bytes.as_chunks::<8>();
        match (fields, rest) {
            ([term, vote, commit], []) => Some(Self {
                term: u64::from_le_bytes(*term),
                vote: u64::from_le_bytes(*vote),
                commit: u64::from_le_bytes(*commit),
            }),
            _ => None,
        }
    }

    pub(crate) fn into_hard_state(self) -> HardState {
        HardState { term: self.term, vote: self.vote, commit: self.commit, ..HardState::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_survives_its_bytes() {
        let vote = Vote { term: 7, vote: 0x0102_0304_0506_0708, commit: u64::MAX };
        let golden = "07000000000000000807060504030201ffffffffffffffff";
        let bytes = Bytes::copy_from_slice(&vote.encode());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(Vote::decode(&bytes), Some(vote));
    }

    #[test]
    fn other_lengths_are_refused() {
        for length in [0, 8, 23, 25, 32] {
            assert_eq!(Vote::decode(&Bytes::from(vec![0; length])), None, "{length} bytes");
        }
    }
}
