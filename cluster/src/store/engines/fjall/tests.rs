//! What the tree must bear: readers beside its writer and its workers, restarts, full memtables, damaged lists.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// The tree reads these files without holding them against the checksum; on some of the bits it aborts the process.
#[test]
fn no_changed_byte_in_the_list_of_tables_is_opened() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Fjall::open(dir.path(), 1024 * 1024).expect("opens");
    for value in ["old", "new"] {
        store.commit(vec![(Bytes::from("key"), Some(Bytes::from(value)))]).expect("writes");
        store.flush().expect("flushes");
    }
    drop(store);
    let tree = dir.path();
    check_current(tree).expect("is whole");
    let current = fs::read(tree.join(CURRENT_FILE)).expect("reads");
    let version = format!("v{}", u64::from_le_bytes(*current.first_chunk().expect("is long enough")));
    for name in [CURRENT_FILE, &version] {
        let good = fs::read(tree.join(name)).expect("reads");
        for place in 0..good.len() {
            let mut bytes = good.clone();
            bytes[place] ^= 1 << (place % 8);
            fs::write(tree.join(name), bytes).expect("writes");
            assert!(check_current(tree).is_err(), "byte {place} of {name}");
        }
        fs::write(tree.join(name), good).expect("writes");
    }
    Fjall::open(dir.path(), 1024 * 1024).expect("is whole");
}

/// Readers, the writer and both workers take the same locks.
#[test]
fn reads_go_on_while_memtables_are_flushed_and_merged() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Fjall::open(dir.path(), 1024 * 1024).expect("opens");
    let row = |row: u8| Bytes::copy_from_slice(&[row]);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let read = || {
            while !is_done.load(Ordering::Relaxed) {
                let mut rows = vec![];
                let mut see = |_: &[u8], value: &[u8]| {
                    rows.push(value.to_vec());
                    ControlFlow::Continue(())
                };
                store.visit(&[0], &[9], Direction::Forward, &mut see).expect("reads");
                assert!(rows.windows(2).all(|pair| pair[0] == pair[1]), "half of a batch: {rows:?}");
            }
        };
        scope.spawn(read);
        scope.spawn(read);
        for round in 0..200 {
            let rows = (0..8).map(|number| (row(number), Some(row(round)))).collect();
            store.commit(rows).expect("writes");
            store.flush().expect("flushes");
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

/// Also of one key: who has read a row of a batch sees all of it, by key or by range.
#[test]
fn a_row_read_by_its_key_is_of_a_whole_batch() {
    const ROWS: u16 = 512;
    let dir = tempfile::tempdir().expect("a folder");
    let store = Fjall::open(dir.path(), 1024 * 1024).expect("opens");
    let key = |row: u16| Bytes::copy_from_slice(&row.to_be_bytes());
    let batch = |round: u16| (0..ROWS).map(|row| (key(row), Some(key(round)))).collect();
    store.commit(batch(0)).expect("writes");
    let is_done = AtomicBool::new(false);
    let last = |way: Direction| {
        let mut last = None;
        let mut see = |_: &[u8], value: &[u8]| {
            last = Some(Bytes::copy_from_slice(value));
            ControlFlow::Break(())
        };
        store.visit(&key(0), &key(ROWS), way, &mut see).expect("reads");
        last.expect("is there")
    };
    let get = |row: u16| store.get(&key(row)).expect("reads").expect("is there");
    std::thread::scope(|scope| {
        let read = || {
            while !is_done.load(Ordering::Relaxed) {
                let (first, by_range, by_key) = (get(0), last(Direction::Backward), get(ROWS - 1));
                assert!(first <= by_range && by_range <= by_key, "half of a batch: {first:?} {by_range:?} {by_key:?}");
            }
        };
        scope.spawn(read);
        scope.spawn(read);
        for round in 1..100 {
            store.commit(batch(round)).expect("writes");
            if round % 8 == 0 {
                store.flush().expect("flushes");
            }
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

/// Numbers of batches go on where the tables end: a batch after a restart wins over one before it.
#[test]
fn newer_batches_win_over_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    for round in 0..4_u8 {
        let store = Fjall::open(dir.path(), 1024 * 1024).expect("opens");
        let before = store.get(b"key").expect("reads");
        assert_eq!(before, round.checked_sub(1).map(|last| Bytes::copy_from_slice(&[last])));
        for value in [0xFF, round] {
            store.commit(vec![(Bytes::from("key"), Some(Bytes::copy_from_slice(&[value])))]).expect("writes");
        }
        store.flush().expect("flushes");
    }
}

/// More than the memtables hold: writers wait for the disk, nothing is lost, and what is merged away is deleted.
#[test]
fn a_full_memtable_goes_to_disk_and_old_values_go_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Fjall::open(dir.path(), 1024 * 1024).expect("opens");
    let value = Bytes::from(vec![7; 64 * 1024]);
    let rows = 64_u32;
    for round in 0..24_u8 {
        for row in 0..rows {
            let mut value = value.to_vec();
            value[0] = round;
            store.commit(vec![(Bytes::from(row.to_be_bytes().to_vec()), Some(Bytes::from(value)))]).expect("writes");
        }
    }
    store.flush().expect("flushes");
    for row in 0..rows {
        let found = store.get(&row.to_be_bytes()).expect("reads").expect("is there");
        assert_eq!((found.len(), found[0]), (value.len(), 23));
    }
    let written = u64::from(rows) * 64 * 1024 * 24;
    drop(store);
    let kept: u64 = fs::read_dir(dir.path().join("tables"))
        .expect("lists")
        .map(|entry| entry.expect("an entry").metadata().expect("is there").len())
        .sum();
    assert!(kept < written / 2, "{kept} of {written} bytes are kept");
}
