//! Which shard an account belongs to.

use steward_cluster::ids::ShardId;

use crate::domain::ids::AccountId;

/// The first eight bytes of the BLAKE3 hash of the account's name, little endian, modulo the number of shards.
///
/// Data lies where this says, so it never changes.
#[must_use]
pub fn shard_of(account: &AccountId, shards: u16) -> ShardId {
    let hash = blake3::hash(account.as_str().as_bytes());
    let head = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    let slot = u64::from_le_bytes(*head) % u64::from(shards.max(1));
    ShardId(u16::try_from(slot).expect("less than the number of shards"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_spread_evenly() {
        let mut counts = [0_u32; 64];
        for n in 0..64_000 {
            let account = AccountId::parse(&format!("account-{n}")).unwrap();
            counts[usize::from(shard_of(&account, 64).0)] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
