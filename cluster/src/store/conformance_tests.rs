//! One suite for every engine: what [`super::StateStore`] promises.

use std::path::Path;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;

use super::{Direction, Engine, KeyRange, StateStore, StoreError, WriteBatch, open, shard_prefix};
use crate::ids::{LogIndex, ShardId};

const ENGINES: [Engine; 3] = [Engine::Fjall, Engine::Sled, Engine::Memory];
const DURABLE: [Engine; 2] = [Engine::Fjall, Engine::Sled];

pub(super) fn open_in(engine: Engine, dir: &Path) -> Arc<dyn StateStore> {
    open(engine, dir, 8 << 20).expect("opens")
}

pub(super) fn key(shard: u16, rest: &str) -> Vec<u8> {
    [&shard_prefix(ShardId(shard))[..], &[1], rest.as_bytes()].concat()
}

pub(super) fn put(store: &dyn StateStore, shard: u16, index: u64, pairs: &[(&str, &str)]) {
    let mut batch = WriteBatch::default();
    for (rest, value) in pairs {
        batch.put(key(shard, rest), value.as_bytes().to_vec());
    }
    batch.set_applied(ShardId(shard), LogIndex(index));
    store.write(batch).expect("writes");
}

fn each(engines: &[Engine], check: impl Fn(&dyn StateStore)) {
    for engine in engines {
        let dir = tempfile::tempdir().expect("a folder");
        check(&*open_in(*engine, dir.path()));
    }
}

fn scan(store: &dyn StateStore, range: &KeyRange, direction: Direction, limit: usize) -> Vec<String> {
    let found = store.scan(range, direction, limit).expect("scans");
    found.iter().map(|(key, value)| format!("{}={}", text(&key[3..]), text(value))).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn the_last_word_on_a_key_counts() {
    each(&ENGINES, |store| {
        put(store, 1, 1, &[("a", "1"), ("b", "1")]);
        let mut batch = WriteBatch::default();
        batch.put(key(1, "a"), "2");
        batch.put(key(1, "a"), "3");
        batch.delete(key(1, "b"));
        batch.delete(key(1, "c"));
        batch.put(key(1, "c"), "1");
        assert_eq!(batch.len(), 3);
        store.write(batch).expect("writes");
        assert_eq!(store.get(&key(1, "a")).expect("reads"), Some(Bytes::from("3")));
        assert_eq!(store.get(&key(1, "b")).expect("reads"), None);
        assert_eq!(store.get(&key(1, "c")).expect("reads"), Some(Bytes::from("1")));
    });
}

#[test]
fn ranges_are_ordered_limited_and_cut_both_ways() {
    each(&ENGINES, |store| {
        put(store, 1, 1, &[("a", "1"), ("ab", "2"), ("b", "3"), ("c", "4")]);
        put(store, 2, 1, &[("a", "other")]);
        let all = KeyRange::shard(ShardId(1));
        assert_eq!(scan(store, &all, Direction::Forward, 9), ["a=1", "ab=2", "b=3", "c=4"]);
        assert_eq!(scan(store, &all, Direction::Backward, 2), ["c=4", "b=3"]);
        assert_eq!(scan(store, &all, Direction::Forward, 0), [""; 0]);
        let prefix = KeyRange::prefix(&key(1, "a"));
        assert_eq!(scan(store, &prefix, Direction::Backward, 9), ["ab=2", "a=1"]);
        let between = KeyRange::between(&key(1, "ab"), &key(1, "c"));
        assert_eq!(scan(store, &between, Direction::Forward, 9), ["ab=2", "b=3"]);
        let none = KeyRange::between(&key(1, "c"), &key(1, "a"));
        assert_eq!(scan(store, &none, Direction::Backward, 9), [""; 0]);
    });
}

#[test]
fn shards_do_not_see_each_other() {
    each(&ENGINES, |store| {
        for shard in [0, 1, 255, 256, u16::MAX] {
            put(store, shard, u64::from(shard) + 1, &[("k", "v")]);
        }
        let shards: Vec<u16> = store.shards().expect("lists").iter().map(|shard| shard.0).collect();
        assert_eq!(shards, [0, 1, 255, 256, u16::MAX]);
        store.clear_shard(ShardId(255)).expect("clears");
        assert_eq!(store.applied(ShardId(255)).expect("reads"), LogIndex(0));
        assert_eq!(store.get(&key(255, "k")).expect("reads"), None);
        for shard in [0, 1, 256, u16::MAX] {
            assert_eq!(scan(store, &KeyRange::shard(ShardId(shard)), Direction::Forward, 9), ["k=v"]);
            assert_eq!(store.applied(ShardId(shard)).expect("reads"), LogIndex(u64::from(shard) + 1));
        }
    });
}

#[test]
fn clearing_goes_beyond_one_step() {
    each(&ENGINES, |store| {
        let mut batch = WriteBatch::default();
        for number in 0..2_500 {
            batch.put(key(3, &format!("{number:05}")), "v");
        }
        store.write(batch).expect("writes");
        store.clear_shard(ShardId(3)).expect("clears");
        assert_eq!(store.shards().expect("lists"), []);
    });
}

#[test]
fn reserved_and_oversized_keys_are_refused_whole() {
    each(&ENGINES, |store| {
        for bad in [vec![0, 1], vec![0, 1, 0xFF, b'a'], vec![0; 5_000]] {
            let mut batch = WriteBatch::default();
            batch.put(key(1, "good"), "v");
            batch.put(bad.clone(), "v");
            assert!(matches!(store.write(batch), Err(StoreError::Key { .. })));
            assert!(matches!(store.get(&bad), Err(StoreError::Key { .. })));
        }
        assert_eq!(store.get(&key(1, "good")).expect("reads"), None);
    });
}

#[test]
fn a_shard_is_incomplete_until_its_load_ends() {
    each(&ENGINES, |store| {
        put(store, 1, 5, &[("old", "v")]);
        store.begin_load(ShardId(1)).expect("begins");
        let mut batch = WriteBatch::default();
        batch.put(key(1, "new"), "v");
        store.write(batch).expect("writes");
        assert!(matches!(store.applied(ShardId(1)), Err(StoreError::Incomplete { shard: ShardId(1) })));
        assert!(matches!(store.shard_view(ShardId(1), &mut |_, _| Ok(())), Err(StoreError::Incomplete { .. })));
        store.finish_load(ShardId(1), LogIndex(9)).expect("ends");
        assert_eq!(store.applied(ShardId(1)).expect("reads"), LogIndex(9));
        assert_eq!(scan(store, &KeyRange::shard(ShardId(1)), Direction::Forward, 9), ["new=v"]);
    });
}

#[test]
fn a_failing_sink_ends_the_view() {
    each(&ENGINES, |store| {
        put(store, 1, 1, &[("a", "1"), ("b", "1")]);
        let mut seen = 0;
        let outcome = store.shard_view(ShardId(1), &mut |_, _| {
            seen += 1;
            Err(StoreError::Value { len: 0 })
        });
        assert!(matches!(outcome, Err(StoreError::Value { len: 0 })));
        assert_eq!(seen, 1);
    });
}

/// Every batch sets all keys to its own index; no view, scan or point read may mix two of them.
#[test]
fn views_are_of_one_moment_while_a_writer_runs() {
    const KEYS: usize = 50;
    const BATCHES: u64 = 400;
    let write = |store: &dyn StateStore, index: u64| {
        let keys: Vec<String> = (0..KEYS).map(|number| format!("{number:05}")).collect();
        let value = index.to_string();
        let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (&**key, &*value)).collect();
        put(store, 1, index, &pairs);
    };
    each(&ENGINES, |store| {
        write(store, 1);
        thread::scope(|scope| {
            let writer = scope.spawn(|| (2..=BATCHES).for_each(|index| write(store, index)));
            let mut applied = LogIndex(0);
            // One more look when the writer is done, so that the last one is of a store at rest.
            while applied < LogIndex(BATCHES) || !writer.is_finished() {
                let mut seen = Vec::new();
                let mut collect = |_: &[u8], value: &[u8]| {
                    seen.push(text(value));
                    Ok(())
                };
                applied = store.shard_view(ShardId(1), &mut collect).expect("views");
                assert_eq!(seen, vec![applied.0.to_string(); KEYS]);
                let scanned = store.scan(&KeyRange::shard(ShardId(1)), Direction::Backward, 1_000).expect("scans");
                assert_eq!(scanned.len(), KEYS);
                assert!(scanned.iter().all(|(_, value)| *value == scanned[0].1), "a scan saw half a batch");
                // Whoever knows the applied index finds at least what it stands for.
                let known = store.applied(ShardId(1)).expect("reads");
                let value = store.get(&key(1, "00000")).expect("reads").expect("stands");
                assert!(text(&value).parse::<u64>().expect("a number") >= known.0);
            }
        });
    });
}

#[test]
fn flushed_writes_are_there_after_reopening() {
    for engine in DURABLE {
        let dir = tempfile::tempdir().expect("a folder");
        for round in 1..4_u64 {
            let store = open_in(engine, dir.path());
            assert_eq!(store.applied(ShardId(1)).expect("reads"), LogIndex(round - 1));
            put(&*store, 1, round, &[("k", &round.to_string()), (&format!("only{round}"), "v")]);
            store.flush().expect("flushes");
        }
        let store = open_in(engine, dir.path());
        let expected = ["k=3", "only1=v", "only2=v", "only3=v"];
        assert_eq!(scan(&*store, &KeyRange::shard(ShardId(1)), Direction::Forward, 9), expected);
    }
}

#[test]
fn engines_go_by_their_names() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(open_in(engine, dir.path()).engine().parse::<Engine>().expect("known"), engine);
    }
    assert!("rocksdb".parse::<Engine>().is_err());
}
