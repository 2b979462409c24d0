//! How keys are cut: two bytes of shard (big-endian), one byte of family, the rest is the caller's.
//!
//! The crate `steward-actors` builds its key families on this; the engines see bytes only.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::ShardId;

/// The longest key, prefix included.
pub const KEY_BYTES_MAX: usize = 4 * 1024;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The last family open to callers; the one after it belongs to the store.
pub const FAMILY_MAX: u8 = RESERVED_FAMILY - 1;

const RESERVED_FAMILY: u8 = 0xFF;
const PREFIX_BYTES: usize = 2;
/// Shard and family: no caller's key is shorter.
const KEY_BYTES_MIN: usize = PREFIX_BYTES + 1;

/// The first bytes of every key of a shard.
#[must_use]
pub fn shard_prefix(shard: ShardId) -> [u8; PREFIX_BYTES] {
    shard.0.to_be_bytes()
}

/// The shard a key belongs to; none for a key too short to have one.
#[must_use]
pub fn shard_of(key: &[u8]) -> Option<ShardId> {
    let prefix = key.first_chunk::<PREFIX_BYTES>()?;
    Some(ShardId(u16::from_be_bytes(*prefix)))
}

/// Whether callers may write this key.
pub(super) fn is_open(key: &[u8]) -> bool {
    (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) && key.get(PREFIX_BYTES).is_some_and(|f| *f <= FAMILY_MAX)
}

/// Where a shard's applied index stands.
pub(super) fn applied_key(shard: ShardId) -> [u8; 4] {
    let [high, low] = shard_prefix(shard);
    [high, low, RESERVED_FAMILY, b'a']
}

/// Stands while a shard is being emptied or filled from a snapshot.
pub(super) fn incomplete_key(shard: ShardId) -> [u8; 4] {
    let [high, low] = shard_prefix(shard);
    [high, low, RESERVED_FAMILY, b'i']
}

/// The first key of a shard's reserved family: after all of the caller's keys.
pub(super) fn reserved_start(shard: ShardId) -> [u8; 3] {
    let [high, low] = shard_prefix(shard);
    [high, low, RESERVED_FAMILY]
}

/// After every key of a shard, reserved ones too.
pub(super) fn shard_end(shard: ShardId) -> [u8; 4] {
    let [high, low] = shard_prefix(shard);
    [high, low, RESERVED_FAMILY, 0xFF]
}

/// Keys from a start (in) to an end (out), always within one shard and outside its reserved family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Bytes,
    end: Bytes,
}

impl KeyRange {
    /// All keys of a shard.
    #[must_use]
    pub fn shard(shard: ShardId) -> Self {
        Self {
            start: Bytes::copy_from_slice(&shard_prefix(shard)),
            end: Bytes::copy_from_slice(&reserved_start(shard)),
        }
    }

    /// All keys that begin with `prefix`. A prefix too short to name a shard has no keys.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = BytesMut::from(prefix);
        // The smallest key after all that share the prefix: drop trailing 0xFF, then step the last byte.
        while end.last() == Some(&0xFF) {
            end.truncate(end.len() - 1);
        }
        match end.last_mut() {
            Some(last) => *last += 1,
            None => end.put_slice(&[0xFF; KEY_BYTES_MIN]),
        }
        Self::between(prefix, &end)
    }

    /// Keys from `start` to before `end`, cut at the end of the shard `start` lies in.
    #[must_use]
    pub fn between(start: &[u8], end: &[u8]) -> Self {
        let Some(shard) = shard_of(start) else {
            return Self { start: Bytes::new(), end: Bytes::new() };
        };
        let last = reserved_start(shard);
        let end = end.min(last.as_slice());
        Self { start: Bytes::copy_from_slice(start), end: Bytes::copy_from_slice(end.max(start)) }
    }

    /// The first key in the range, if it exists.
    #[must_use]
    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// The first key after the range.
    #[must_use]
    pub fn end(&self) -> &[u8] {
        &self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_within_their_shard() {
        let last = ShardId(u16::MAX);
        let cases = [
            (KeyRange::shard(ShardId(7)), &[0, 7][..], &[0, 7, 0xFF][..]),
            (KeyRange::shard(last), &[0xFF, 0xFF], &[0xFF, 0xFF, 0xFF]),
            (KeyRange::prefix(&[0, 7, 1]), &[0, 7, 1], &[0, 7, 2]),
            (KeyRange::prefix(&[0, 7, 1, 0xFF, 0xFF]), &[0, 7, 1, 0xFF, 0xFF], &[0, 7, 2]),
            (KeyRange::prefix(&[0, 7, FAMILY_MAX]), &[0, 7, FAMILY_MAX], &[0, 7, 0xFF]),
            // A prefix that is only a shard, or longer than it, never reaches the next shard or the reserved family.
            (KeyRange::prefix(&[0, 7]), &[0, 7], &[0, 7, 0xFF]),
            (KeyRange::prefix(&[0xFF, 0xFF]), &[0xFF, 0xFF], &[0xFF, 0xFF, 0xFF]),
            (KeyRange::prefix(&[0, 7, 0xFF]), &[0, 7, 0xFF], &[0, 7, 0xFF]),
            (KeyRange::between(&[0, 7, 1], &[0, 9]), &[0, 7, 1], &[0, 7, 0xFF]),
            (KeyRange::between(&[0, 7, 3], &[0, 7, 1]), &[0, 7, 3], &[0, 7, 3]),
            (KeyRange::prefix(&[0]), &[], &[]),
            (KeyRange::prefix(&[]), &[], &[]),
        ];
        for (range, start, end) in cases {
            assert_eq!((range.start(), range.end()), (start, end));
        }
    }

    #[test]
    fn callers_cannot_write_outside_their_families() {
        assert!(is_open(&[0, 1, 0]));
        assert!(is_open(&[0, 1, FAMILY_MAX, 9]));
        assert!(!is_open(&[0, 1]));
        assert!(!is_open(&applied_key(ShardId(1))));
        assert!(!is_open(&incomplete_key(ShardId(1))));
        assert!(!is_open(&[0; KEY_BYTES_MAX + 1]));
    }
}
