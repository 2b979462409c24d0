//! Snapshots over the wire: whole, after breaks, and damaged on the way or where they came from.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::relay::{Mode, Relay};
use super::{Node, Setup, in_time};
use crate::format::Format;
use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::peers::{AttemptError, FetchError, fetch_snapshot};
use crate::store::snapshot::{self, SnapshotError, SnapshotFile};
use crate::store::{Engine, WriteBatch, open, shard_prefix};

const SHARD: ShardId = ShardId(3);
const INDEX: LogIndex = LogIndex(41);
const VALUES: u32 = 48;
const VALUE_BYTES: usize = 100_000;
/// What a broken connection may have brought in vain: the chunk under way and what was buffered behind it.
const WASTE_BYTES: u64 = 512 * 1024;

/// A snapshot of some 5 MB.
fn snapshot_in(folder: &Path, format: Format) -> SnapshotFile {
    let state = tempfile::tempdir().unwrap();
    let store = open(Engine::Memory, state.path(), 8 << 20).unwrap();
    let mut batch = WriteBatch::default();
    for number in 0..VALUES {
        let key = [&shard_prefix(SHARD)[..], &[1], &number.to_be_bytes()].concat();
        let value: Vec<u8> = (0..VALUE_BYTES).map(|at| (at * 31 + at / 255).to_le_bytes()[0]).collect();
        batch.put(key, value);
    }
    batch.set_applied(SHARD, INDEX);
    store.write(batch).unwrap();
    snapshot::write(&*store, SHARD, &|_| (Term(2), format), folder).unwrap()
}

/// A node that has a snapshot, and one that fetches it over a relay.
struct Pair {
    giver: Node,
    taker: Node,
    relay: Relay,
    given: SnapshotFile,
    from: TempDir,
    to: TempDir,
}

impl Pair {
    async fn new(mode: Mode) -> Self {
        Self::of(Format::FIRST, mode).await
    }

    async fn of(format: Format, mode: Mode) -> Self {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let given = snapshot_in(from.path(), format);
        let giver = Setup { snapshots: from.path().to_owned(), ..Setup::of(1) }.start().await;
        let taker = Setup::of(2).start().await;
        let relay = Relay::to(&giver.address, mode).await;
        taker.knows(&[(1, &relay.address)]);
        Self { giver, taker, relay, given, from, to }
    }

    async fn fetch(&self) -> Result<SnapshotFile, FetchError> {
        let fetch = fetch_snapshot(&self.taker.peers, NodeId(1), SHARD, INDEX, self.to.path());
        in_time("the end of the fetch", fetch).await
    }

    fn passed(&self) -> u64 {
        self.relay.passed.load(Ordering::SeqCst)
    }

    #[track_caller]
    fn assert_arrived(&self, got: &SnapshotFile) {
        assert_eq!(fs::read(&got.path).unwrap(), fs::read(&self.given.path).unwrap());
        assert_eq!(got.path.parent(), Some(self.to.path()));
        assert_eq!((got.shard, got.index, got.term, got.hash), (SHARD, INDEX, Term(2), self.given.hash));
        assert_eq!(self.names(), [self.given.path.file_name().unwrap().to_str().unwrap()]);
        let listed = snapshot::list(self.to.path()).unwrap();
        assert_eq!(listed.len(), 1);
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.to.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    async fn stop(self) {
        self.giver.stop().await;
        self.taker.stop().await;
    }
}

#[tokio::test]
async fn a_snapshot_arrives_whole() {
    let pair = Pair::new(Mode::Through).await;
    let got = pair.fetch().await.unwrap();
    pair.assert_arrived(&got);
    pair.stop().await;
}

#[tokio::test]
async fn a_snapshot_of_a_newer_format_is_not_kept() {
    let newer = Format(Format::NEWEST.0 + 1);
    let pair = Pair::of(newer, Mode::Through).await;
    let refused = pair.fetch().await.unwrap_err();
    assert!(
        matches!(&refused, FetchError::Unusable(SnapshotError::Newer { found, .. }) if *found == newer),
        "{refused:?}"
    );
    assert!(pair.names().is_empty(), "{:?}", pair.names());
    pair.stop().await;
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_was() {
    let pair = Pair::new(Mode::CutAfter(1_200_000)).await;
    let got = pair.fetch().await.unwrap();
    pair.assert_arrived(&got);
    let (connections, bytes) = (pair.relay.connections.load(Ordering::SeqCst), pair.given.bytes);
    assert!((4..=8).contains(&connections), "{connections} connections");
    let passed = pair.passed();
    assert!(passed < bytes + connections * WASTE_BYTES, "{passed} bytes for a file of {bytes}");
    pair.stop().await;
}

#[tokio::test]
async fn what_an_earlier_fetch_left_is_not_fetched_again() {
    let pair = Pair::new(Mode::Through).await;
    let name = pair.given.path.file_name().unwrap().to_str().unwrap();
    let there = 3_000_000;
    fs::write(pair.to.path().join(format!("{name}.fetch")), &fs::read(&pair.given.path).unwrap()[..there]).unwrap();
    // Left by a fetch of an older snapshot, which nobody wants any more; another shard's stays.
    fs::write(pair.to.path().join("00003-00000000000000000007.snapshot.fetch"), "old").unwrap();
    let others = pair.to.path().join("00004-00000000000000000007.snapshot.fetch");
    fs::write(&others, "another").unwrap();
    let got = pair.fetch().await.unwrap();
    fs::remove_file(others).unwrap();
    pair.assert_arrived(&got);
    let (passed, missing) = (pair.passed(), pair.given.bytes - u64::try_from(there).unwrap());
    assert!(passed < missing + WASTE_BYTES, "{passed} bytes for {missing}");
    pair.stop().await;
}

#[tokio::test]
async fn more_than_the_snapshot_has_is_thrown_away() {
    let pair = Pair::new(Mode::Through).await;
    let name = pair.given.path.file_name().unwrap().to_str().unwrap();
    let too_much = [fs::read(&pair.given.path).unwrap(), vec![0; 10]].concat();
    fs::write(pair.to.path().join(format!("{name}.fetch")), too_much).unwrap();
    assert!(matches!(pair.fetch().await, Err(FetchError::Unusable(_))));
    let got = pair.fetch().await.unwrap();
    pair.assert_arrived(&got);
    pair.stop().await;
}

#[tokio::test]
async fn a_chunk_whose_bit_flipped_is_fetched_again() {
    let pair = Pair::new(Mode::FlipAt(700_000)).await;
    let got = pair.fetch().await.unwrap();
    pair.assert_arrived(&got);
    pair.stop().await;
}

#[tokio::test]
async fn a_snapshot_that_is_damaged_at_its_source_gets_no_name() {
    let pair = Pair::new(Mode::Through).await;
    let mut bytes = fs::read(&pair.given.path).unwrap();
    bytes[2_000_000] ^= 1;
    fs::write(&pair.given.path, bytes).unwrap();
    assert!(matches!(pair.fetch().await, Err(FetchError::Unusable(_))));
    assert_eq!(pair.names(), [""; 0]);
    pair.stop().await;
}

#[tokio::test]
async fn a_snapshot_that_is_another_gets_no_name() {
    let pair = Pair::new(Mode::Through).await;
    let lying = pair.given.path.with_file_name("00003-00000000000000000041.snapshot");
    assert_eq!(lying, pair.given.path);
    fs::rename(&lying, pair.from.path().join("00003-00000000000000000042.snapshot")).unwrap();
    let fetch = fetch_snapshot(&pair.taker.peers, NodeId(1), SHARD, LogIndex(42), pair.to.path());
    let error = in_time("the end of the fetch", fetch).await.unwrap_err();
    assert!(matches!(error, FetchError::Another { found, .. } if found.index == INDEX));
    assert_eq!(pair.names(), [""; 0]);
    pair.stop().await;
}

#[tokio::test]
async fn a_snapshot_that_is_not_there_is_said_at_once() {
    let pair = Pair::new(Mode::Through).await;
    fs::remove_file(&pair.given.path).unwrap();
    assert!(matches!(pair.fetch().await, Err(FetchError::Gone { index: INDEX, .. })));
    let nobody = fetch_snapshot(&pair.taker.peers, NodeId(9), SHARD, INDEX, pair.to.path()).await;
    assert!(matches!(nobody, Err(FetchError::NotReachable(_))));
    pair.stop().await;
}

#[tokio::test]
async fn a_fetch_that_brings_nothing_gives_up() {
    let pair = Pair::new(Mode::CutAfter(0)).await;
    assert!(matches!(pair.fetch().await, Err(FetchError::GaveUp(AttemptError::Broken(_)))));
    // The first attempts and the lane's own dials of each.
    assert!(pair.relay.connections.load(Ordering::SeqCst) >= 8);
    pair.stop().await;
}
