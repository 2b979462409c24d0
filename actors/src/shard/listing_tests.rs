//! Accounts come by id whichever shards they are in, from any place and in pages of any size.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use steward_cluster::ids::ShardId;
use steward_cluster::store::{Engine, StateStore, WriteBatch, open};

use super::rows::{Family, Place};
use super::{Reads, shard_of};
use crate::domain::ids::AccountId;

const SHARDS: u16 = 3;
const CACHE_BYTES: u64 = 8 << 20;

/// Short ones, so that many begin with others.
fn ids() -> impl Strategy<Value = BTreeSet<AccountId>> {
    prop::collection::btree_set("[a-c][a-c0_-]{0,4}".prop_map(|id| AccountId::parse(&id).unwrap()), 0..120)
}

fn reads(accounts: &BTreeSet<AccountId>, folder: &std::path::Path) -> Reads {
    let store: Arc<dyn StateStore> = open(Engine::Memory, folder, CACHE_BYTES).unwrap();
    let mut batch = WriteBatch::default();
    for account in accounts {
        let place = Place { shard: shard_of(account, SHARDS), account };
        batch.put(place.key(Family::Account, &[]), "{}");
        batch.put(place.key(Family::Floor, &[]), "1");
    }
    store.write(batch).unwrap();
    Reads::new(store, SHARDS)
}

proptest! {
    #[test]
    fn pages_behind_each_other_name_every_account_once(accounts in ids(), size in 1..50_usize, left_out in 0..SHARDS) {
        let folder = tempfile::tempdir().unwrap();
        let reads = reads(&accounts, folder.path());
        let shards: Vec<ShardId> = (0..SHARDS).filter(|shard| *shard != left_out).map(ShardId).collect();
        let wanted = accounts.iter().filter(|account| shards.contains(&shard_of(account, SHARDS)));
        let mut found: Vec<AccountId> = vec![];
        loop {
            let page = reads.accounts(&shards, found.last(), size).unwrap();
            prop_assert!(page.len() <= size);
            let is_last = page.len() < size;
            found.extend(page);
            if is_last {
                break;
            }
        }
        prop_assert_eq!(found.iter().collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    }
}
