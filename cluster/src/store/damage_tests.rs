//! What happens to a store whose files were harmed: it answers with the truth, with an error, or is rebuilt.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::conformance_tests::{open_in, put};
use super::snapshot::{self, SnapshotError};
use super::{Engine, Opened, StateStore, StoreError, mark_damaged, open, open_or_rebuild};
use crate::format::Format;
use crate::ids::{LogIndex, ShardId, Term};

const SHARD: ShardId = ShardId(1);
const ROUNDS: u64 = 6;
const PLACES_PER_FILE: usize = 8;

type State = BTreeMap<Vec<u8>, Vec<u8>>;
/// The state at each applied index.
type Truth = BTreeMap<u64, State>;

fn read(store: &dyn StateStore) -> Result<(u64, State), StoreError> {
    let mut found = BTreeMap::new();
    let index = store.shard_view(SHARD, &mut |key, value| {
        found.insert(key.to_vec(), value.to_vec());
        Ok(())
    })?;
    Ok((index.0, found))
}

/// Overwrites some keys and adds others, so that tables overlap and a lost one shows as an old value.
fn write_round(store: &dyn StateStore, round: u64) {
    let pairs: Vec<(String, String)> = (0..40)
        .map(|number| {
            let name = if number % 2 == 0 { format!("shared{number}") } else { format!("own{round}-{number}") };
            (name, format!("{round}-{number}-").repeat(20))
        })
        .collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
    put(store, SHARD.0, round, &pairs);
}

/// A closed store of several flushes, and what it held after each.
fn build(engine: Engine, dir: &Path) -> Truth {
    let store = open_in(engine, dir);
    let mut truth = Truth::from([(0, BTreeMap::new())]);
    for round in 1..=ROUNDS {
        write_round(&*store, round);
        store.flush().expect("flushes");
        let (index, found) = read(&*store).expect("reads");
        truth.insert(index, found);
    }
    truth
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("lists").path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("has one")).expect("creates");
        fs::copy(&file, &target).expect("copies");
    }
}

/// Ways to harm a file of this length, spread over it.
fn harms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let step = bytes.len().div_ceil(PLACES_PER_FILE).max(1);
    let mut harmed: Vec<Vec<u8>> = Vec::new();
    for (turn, place) in (0..bytes.len()).step_by(step).chain(bytes.len().checked_sub(1)).enumerate() {
        let mut flipped = bytes.to_vec();
        flipped[place] ^= 1 << (turn % 8);
        harmed.push(flipped);
        if turn % 6 == 0 {
            harmed.push(bytes[..place].to_vec());
        }
    }
    harmed
}

/// Harms every file in many places. Each time the store must show some state it really had, or refuse.
fn survive_harm(engine: Engine) -> (usize, usize) {
    let (origin, work) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let truth = build(engine, origin.path());
    let (mut refused, mut served) = (0, 0);
    for file in files(origin.path()) {
        let name = file.strip_prefix(origin.path()).expect("below");
        let bytes = fs::read(&file).expect("reads");
        for (number, harmed) in harms(&bytes).into_iter().enumerate() {
            let dir = work.path().join(format!("{}-{number}", name.display()).replace('/', "-"));
            copy(origin.path(), &dir);
            fs::write(dir.join(name), harmed).expect("writes");
            match open(engine, &dir, 8 << 20).and_then(|store| read(&*store)) {
                Ok((index, found)) => {
                    assert_eq!(truth.get(&index), Some(&found), "harm {number} to {} showed", name.display());
                    served += 1;
                }
                Err(StoreError::Engine { .. }) => refused += 1,
                Err(other) => panic!("harm {number} to {} gave {other}", name.display()),
            }
            fs::remove_dir_all(&dir).expect("removes");
        }
    }
    (refused, served)
}

#[test]
fn harmed_fjall_shows_the_truth_or_an_error() {
    let (refused, _) = survive_harm(Engine::Fjall);
    assert!(refused > 20, "{refused} harms were refused");
}

#[test]
fn harmed_sled_is_always_refused() {
    let (refused, served) = survive_harm(Engine::Sled);
    assert_eq!(served, 0);
    assert!(refused > 20, "{refused} harms were refused");
}

/// A closed store and the snapshots of its newest state.
fn with_snapshot(engine: Engine, dir: &Path) -> (PathBuf, State) {
    let mut truth = build(engine, dir);
    let snapshots = dir.join("snapshots");
    fs::create_dir(&snapshots).expect("creates");
    let store = open_in(engine, dir);
    snapshot::write(&*store, SHARD, &|_| (Term(4), Format::FIRST), &snapshots).expect("writes");
    store.flush().expect("flushes");
    (snapshots, truth.remove(&ROUNDS).expect("was read"))
}

fn reopen(engine: Engine, dir: &Path, snapshots: &Path) -> Opened {
    open_or_rebuild(engine, dir, snapshots, 8 << 20, &|_, _| false).expect("opens")
}

#[test]
fn a_harmed_store_is_rebuilt_from_its_snapshots() {
    for engine in [Engine::Fjall, Engine::Sled] {
        let dir = tempfile::tempdir().expect("a folder");
        let (snapshots, truth) = with_snapshot(engine, dir.path());
        let clean = reopen(engine, dir.path(), &snapshots);
        assert_eq!((clean.rebuilt, clean.loaded.len()), (None, 0));
        clean.store.flush().expect("flushes");
        drop(clean.store);
        for file in files(&engine.folder(dir.path())) {
            fs::write(&file, b"gone").expect("writes");
        }
        let opened = reopen(engine, dir.path(), &snapshots);
        assert!(opened.rebuilt.is_some());
        assert_eq!(read(&*opened.store).expect("reads"), (ROUNDS, truth));
    }
}

#[test]
fn a_mark_of_damage_rebuilds_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (snapshots, truth) = with_snapshot(Engine::Fjall, dir.path());
    mark_damaged(dir.path(), "a read failed").expect("marks");
    let opened = reopen(Engine::Fjall, dir.path(), &snapshots);
    assert_eq!(opened.rebuilt.as_deref(), Some("a read failed"));
    assert_eq!(read(&*opened.store).expect("reads"), (ROUNDS, truth));
    opened.store.flush().expect("flushes");
    drop(opened.store);
    assert_eq!(reopen(Engine::Fjall, dir.path(), &snapshots).rebuilt, None);
}

#[test]
fn a_failing_read_leaves_a_mark() {
    let dir = tempfile::tempdir().expect("a folder");
    let (snapshots, truth) = with_snapshot(Engine::Fjall, dir.path());
    let store = open_in(Engine::Fjall, dir.path());
    let tables = files(&Engine::Fjall.folder(dir.path()).join("tables"));
    assert!(!tables.is_empty(), "nothing to harm");
    for table in tables {
        let mut bytes = fs::read(&table).expect("reads");
        bytes[40] ^= 1;
        fs::write(&table, bytes).expect("writes");
    }
    assert!(matches!(read(&*store), Err(StoreError::Engine { .. })));
    drop(store);
    let opened = reopen(Engine::Fjall, dir.path(), &snapshots);
    let reason = opened.rebuilt.expect("rebuilt");
    assert!(reason.contains("fjall could not read a range"), "{reason}");
    assert_eq!(read(&*opened.store).expect("reads"), (ROUNDS, truth));
}

#[test]
fn a_crash_goes_back_to_an_earlier_index_and_on_from_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let truth = build(Engine::Fjall, dir.path());
    let store = open_in(Engine::Fjall, dir.path());
    write_round(&*store, ROUNDS + 1);
    drop(store);
    for round in [ROUNDS, ROUNDS + 1] {
        let store = open_in(Engine::Fjall, dir.path());
        let (index, found) = read(&*store).expect("reads");
        assert_eq!(index, round);
        if round == ROUNDS {
            assert_eq!(truth.get(&index), Some(&found));
        }
        // The log replays what was lost, under sequence numbers the engine has used before.
        write_round(&*store, ROUNDS + 1);
        assert_eq!(read(&*store).expect("reads").0, ROUNDS + 1);
        store.flush().expect("flushes");
    }
}

#[test]
fn snapshots_go_between_engines_and_keep_their_bytes() {
    let engines = [Engine::Fjall, Engine::Sled, Engine::Memory];
    let mut hashes = Vec::new();
    for (from, to) in engines.iter().flat_map(|from| engines.iter().map(move |to| (*from, *to))) {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (source, target) = (open_in(from, a.path()), open_in(to, b.path()));
        (1..=3).for_each(|round| write_round(&*source, round));
        put(&*source, 2, 1, &[("other", "shard")]);
        put(&*target, SHARD.0, 99, &[("stale", "v")]);
        put(&*target, 2, 7, &[("kept", "v")]);
        let file =
            snapshot::write(&*source, SHARD, &|index| (Term(index.0 * 2), Format::FIRST), b.path()).expect("writes");
        assert_eq!((file.index, file.term, file.shard), (LogIndex(3), Term(6), SHARD));
        assert_eq!(snapshot::load(&file.path, &*target).expect("loads"), file);
        assert_eq!(read(&*target).expect("reads"), read(&*source).expect("reads"));
        assert_eq!(target.applied(ShardId(2)).expect("reads"), LogIndex(7));
        hashes.push(file.hash);
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "the engine shows in the bytes");
}

fn small_snapshot(dir: &Path) -> (Arc<dyn StateStore>, snapshot::SnapshotFile) {
    let store = open_in(Engine::Memory, dir);
    put(&*store, SHARD.0, 5, &[("a", "1"), ("b", "2")]);
    let file = snapshot::write(&*store, SHARD, &|_| (Term(1), Format::FIRST), dir).expect("writes");
    (store, file)
}

#[test]
fn no_flipped_bit_or_cut_in_a_snapshot_is_loaded() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, file) = small_snapshot(dir.path());
    put(&*store, SHARD.0, 6, &[("c", "3")]);
    let before = read(&*store).expect("reads");
    let good = fs::read(&file.path).expect("reads");
    let flips = (0..good.len() * 8).map(|bit| {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    });
    let cuts = (0..good.len()).map(|len| good[..len].to_vec());
    let longer = [[&good[..], &[0]].concat()];
    for bytes in flips.chain(cuts).chain(longer) {
        fs::write(&file.path, bytes).expect("writes");
        let refused = snapshot::load(&file.path, &*store).expect_err("is refused");
        assert!(matches!(refused, SnapshotError::Damaged { .. }), "{refused}");
        assert!(refused.to_string().contains(&file.path.display().to_string()));
        assert_eq!(read(&*store).expect("reads"), before);
    }
}

#[test]
fn a_snapshot_of_a_newer_format_is_refused_and_nothing_is_touched() {
    let dir = tempfile::tempdir().expect("a folder");
    let (store, file) = small_snapshot(dir.path());
    assert_eq!(file.format, Format::FIRST);
    let newer = Format(Format::NEWEST.0 + 1);
    let file = snapshot::write(&*store, SHARD, &|_| (Term(1), newer), dir.path()).expect("writes");
    assert_eq!(file.format, newer);
    put(&*store, SHARD.0, 6, &[("c", "3")]);
    let before = read(&*store).expect("reads");
    let refused = snapshot::load(&file.path, &*store).expect_err("is refused").to_string();
    let (path, known) = (file.path.display(), Format::NEWEST);
    assert_eq!(
        refused,
        format!("snapshot {path} is of {newer}, this binary knows up to {known}: start the release that wrote it")
    );
    assert_eq!(read(&*store).expect("reads"), before);
    let opened = open_or_rebuild(Engine::Memory, dir.path(), dir.path(), 8 << 20, &|_, _| false);
    assert!(matches!(opened.err(), Some(SnapshotError::Newer { .. })), "a start passes over what it cannot read");
}

#[test]
fn pruning_keeps_the_newest_two_that_are_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open_in(Engine::Memory, dir.path());
    for index in 1..=4 {
        put(&*store, SHARD.0, index, &[("a", "1")]);
        snapshot::write(&*store, SHARD, &|_| (Term(1), Format::FIRST), dir.path()).expect("writes");
    }
    put(&*store, 2, 1, &[("a", "1")]);
    snapshot::write(&*store, ShardId(2), &|_| (Term(1), Format::FIRST), dir.path()).expect("writes");
    fs::write(dir.path().join("00001.part"), b"cut short").expect("writes");
    let newest = snapshot::list(dir.path()).expect("lists").swap_remove(0);
    fs::write(&newest.path, b"damaged").expect("writes");
    let kept = snapshot::prune(dir.path(), SHARD).expect("prunes");
    assert_eq!(kept.iter().map(|file| file.index.0).collect::<Vec<_>>(), [3, 2]);
    let listed = snapshot::list(dir.path()).expect("lists");
    let listed: Vec<(u16, u64)> = listed.iter().map(|file| (file.shard.0, file.index.0)).collect();
    assert_eq!(listed, [(1, 3), (1, 2), (2, 1)]);
    assert_eq!(files(dir.path()).len(), 3);
}

#[test]
fn opening_falls_back_over_damaged_snapshots_and_half_loads() {
    let dir = tempfile::tempdir().expect("a folder");
    let snapshots = dir.path().join("snapshots");
    fs::create_dir(&snapshots).expect("creates");
    let store = open_in(Engine::Fjall, dir.path());
    for round in 1..=2 {
        write_round(&*store, round);
        snapshot::write(&*store, SHARD, &|_| (Term(1), Format::FIRST), &snapshots).expect("writes");
    }
    put(&*store, 2, 5, &[("half", "v")]);
    store.begin_load(ShardId(2)).expect("begins");
    put(&*store, 3, 5, &[("behind", "v")]);
    store.begin_load(SHARD).expect("begins");
    store.flush().expect("flushes");
    drop(store);
    let newest = snapshot::list(&snapshots).expect("lists").swap_remove(0);
    fs::write(&newest.path, b"damaged").expect("writes");
    let opened = reopen(Engine::Fjall, dir.path(), &snapshots);
    assert_eq!(opened.rebuilt, None);
    assert_eq!(opened.loaded.iter().map(|file| file.index.0).collect::<Vec<_>>(), [1]);
    assert_eq!(read(&*opened.store).expect("reads").0, 1);
    assert_eq!(opened.store.applied(ShardId(2)).expect("reads"), LogIndex(0));
    assert_eq!(opened.store.applied(ShardId(3)).expect("reads"), LogIndex(5));
}

#[test]
fn a_log_that_continues_spares_the_load() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, file) = small_snapshot(dir.path());
    let snapshots = dir.path();
    let open = |continues: bool| {
        let log = move |shard: ShardId, index: LogIndex| continues && (shard, index) == (SHARD, LogIndex(0));
        open_or_rebuild(Engine::Memory, dir.path(), snapshots, 8 << 20, &log).expect("opens").loaded
    };
    assert_eq!(open(true), []);
    assert_eq!(open(false), [file]);
}
