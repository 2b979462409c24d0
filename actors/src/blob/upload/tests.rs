//! Uploads over a real folder: what is kept, what is refused, and what is left.

use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use steward_cluster::clock::ManualClock;

use super::*;
use crate::blob::BlobStore;
use crate::domain::ids::AccountId;

struct Bench {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    uploads: Uploads,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_000)));
        let uploads = open(folder.path(), &clock);
        Self { folder, clock, uploads }
    }

    /// As after a crash.
    fn restart(&mut self) {
        self.uploads = open(self.folder.path(), &self.clock);
    }

    async fn create(&self, bytes: u64, hash: Option<&[u8]>) -> UploadId {
        let hash = hash.map(|bytes| BlobHash::parse(blake3::hash(bytes).to_hex().as_str()).unwrap());
        let new = NewUpload { bytes, hash, name: "a".to_owned(), ..NewUpload::default() };
        self.uploads.create(&acme(), new).await.unwrap().0
    }

    async fn append(&self, id: &UploadId, offset: u64, bytes: &'static [u8]) -> Result<Progress, UploadError> {
        let body = stream::iter([Ok::<_, io::Error>(bytes::Bytes::from_static(bytes))]);
        self.uploads.append(&acme(), id, offset, None, body).await
    }

    fn files(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("uploads")).unwrap().count()
    }

    /// Bytes of all files of uploads.
    fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.folder.path().join("uploads")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Uploads {
    let blobs = BlobStore::open(folder.to_owned()).unwrap();
    Uploads::open(NodeId(3), blobs, clock.clone()).unwrap()
}

fn acme() -> AccountId {
    AccountId::parse("acme").unwrap()
}

#[tokio::test]
async fn a_file_in_pieces_becomes_a_blob_and_says_so_again() {
    let mut bench = Bench::new();
    let id = bench.create(5, Some(b"hello")).await;
    assert_eq!(bench.append(&id, 0, b"he").await.unwrap().offset, 2);
    // Behind the mark lies what a crash left.
    let part = bench.folder.path().join(format!("uploads/{id}.part"));
    std::fs::write(&part, b"heXX").unwrap();
    bench.restart();
    assert_eq!(bench.uploads.progress(&acme(), &id).await.unwrap().offset, 2);
    let refused = bench.append(&id, 3, b"lo").await.unwrap_err();
    assert!(matches!(refused, UploadError::Offset { offset: 2, asked: 3 }), "{refused}");
    let whole = bench.append(&id, 2, b"llo").await.unwrap().whole.unwrap();
    let hash = blake3::hash(b"hello").to_hex();
    assert_eq!((whole.hash.as_str(), whole.bytes, whole.name.as_str()), (hash.as_str(), 5, "a"));
    let blob = bench.folder.path().join(&hash[..2]).join(hash.as_str());
    assert_eq!(std::fs::read(blob).unwrap(), b"hello");
    // A last request whose answer was lost, before and after a restart.
    assert_eq!(bench.append(&id, 5, b"").await.unwrap().whole, Some(whole.clone()));
    bench.restart();
    assert_eq!(bench.uploads.progress(&acme(), &id).await.unwrap().whole, Some(whole));
}

#[tokio::test]
async fn other_bytes_than_were_said_are_refused_and_nothing_is_left() {
    let bench = Bench::new();
    let id = bench.create(5, Some(b"hello")).await;
    let refused = bench.append(&id, 0, b"hullo").await.unwrap_err();
    assert!(matches!(refused, UploadError::WrongBlob { .. }), "{refused}");
    assert_eq!(bench.files(), 0);
    let absent = bench.uploads.progress(&acme(), &id).await.unwrap_err();
    assert!(matches!(absent, UploadError::Rejected(Rejection::NotFound { .. })), "{absent}");
}

#[tokio::test]
async fn more_bytes_than_were_said_are_refused_and_the_first_kept() {
    let bench = Bench::new();
    let id = bench.create(5, None).await;
    let pieces = [&b"hel"[..], b"lo!"].map(|piece| Ok::<_, io::Error>(bytes::Bytes::from_static(piece)));
    let refused = bench.uploads.append(&acme(), &id, 0, None, stream::iter(pieces)).await.unwrap_err();
    assert!(matches!(refused, UploadError::TooLong { bytes: 5 }), "{refused}");
    assert_eq!(bench.uploads.progress(&acme(), &id).await.unwrap().offset, 3);
}

#[tokio::test]
async fn a_request_with_a_checksum_counts_in_whole_or_not_at_all() {
    let bench = Bench::new();
    let id = bench.create(5, None).await;
    let before = bench.bytes();
    let sums = [
        (Algorithm::Sha1, "2aae6c35c94fcfb415dbe95f408b9ce91ee846ed"),
        (Algorithm::Sha256, "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"),
    ];
    for (algorithm, sum) in sums {
        // The sums are of another text.
        let checksum = Checksum { algorithm, digest: hex::decode(sum).unwrap() };
        let body = stream::iter([Ok::<_, io::Error>(bytes::Bytes::from_static(b"he"))]);
        let refused = bench.uploads.append(&acme(), &id, 0, Some(checksum), body).await.unwrap_err();
        assert!(matches!(refused, UploadError::Checksum), "{refused}");
        assert_eq!(bench.bytes(), before, "what is refused takes no space");
        assert_eq!(bench.uploads.progress(&acme(), &id).await.unwrap().offset, 0);
    }
    let broken = || stream::iter([Ok(bytes::Bytes::from_static(b"he")), Err(io::Error::other("reset"))]);
    let blake3 = |bytes: &[u8]| {
        let digest = blake3::hash(bytes).as_bytes().to_vec();
        Some(Checksum { algorithm: Algorithm::Blake3, digest })
    };
    bench.uploads.append(&acme(), &id, 0, blake3(b"he"), broken()).await.unwrap_err();
    assert_eq!(bench.uploads.progress(&acme(), &id).await.unwrap().offset, 0);
    bench.uploads.append(&acme(), &id, 0, None, broken()).await.unwrap_err();
    assert_eq!(bench.uploads.progress(&acme(), &id).await.unwrap().offset, 2, "without one, what came is kept");
    let rest = stream::iter([Ok::<_, io::Error>(bytes::Bytes::from_static(b"llo"))]);
    let whole = bench.uploads.append(&acme(), &id, 2, blake3(b"llo"), rest).await.unwrap().whole.unwrap();
    assert_eq!(whole.hash, blake3::hash(b"hello").to_hex().as_str());
}

#[tokio::test]
async fn whoever_asks_ends_a_request_that_is_silent() {
    let bench = Bench::new();
    let id = bench.create(5, None).await;
    let first = stream::iter([Ok::<_, io::Error>(bytes::Bytes::from_static(b"he"))]);
    let (began, begun) = tokio::sync::oneshot::channel();
    let told = stream::once(async move {
        began.send(()).ok();
        std::future::pending::<io::Result<bytes::Bytes>>().await
    });
    let account = acme();
    let silent = bench.uploads.append(&account, &id, 0, None, first.chain(told));
    let asking = async {
        begun.await.unwrap();
        bench.uploads.progress(&account, &id).await
    };
    let (ended, told) = futures_util::join!(silent, asking);
    assert!(matches!(ended, Err(UploadError::Busy)), "{ended:?}");
    assert_eq!(told.unwrap().offset, 2);
}

#[tokio::test]
async fn what_nobody_finishes_goes_and_what_is_whole_is_forgotten() {
    let mut bench = Bench::new();
    let (open, whole) = (bench.create(5, None).await, bench.create(1, None).await);
    bench.append(&whole, 0, b"x").await.unwrap();
    bench.clock.advance(UPLOAD_LIFE / 2);
    bench.append(&open, 0, b"he").await.unwrap();
    bench.uploads.sweep().await.unwrap();
    bench.restart();
    assert!(bench.uploads.progress(&acme(), &whole).await.unwrap().whole.is_some(), "whoever was away gets the answer");
    bench.clock.advance(UPLOAD_LIFE / 2);
    bench.uploads.sweep().await.unwrap();
    let answer = bench.uploads.progress(&acme(), &whole).await;
    assert!(matches!(answer, Err(UploadError::Rejected(_))), "{answer:?}");
    bench.clock.advance(UPLOAD_LIFE / 2 - Duration::from_millis(1));
    bench.uploads.sweep().await.unwrap();
    assert_eq!(bench.uploads.progress(&acme(), &open).await.unwrap().offset, 2);
    bench.clock.advance(Duration::from_millis(1));
    bench.uploads.sweep().await.unwrap();
    assert_eq!(bench.files(), 0);
}

#[tokio::test]
async fn an_account_has_so_many_uploads_and_only_its_own() {
    let bench = Bench::new();
    let other = AccountId::parse("other").unwrap();
    let id = bench.create(1, None).await;
    assert!(bench.uploads.progress(&other, &id).await.is_err());
    assert!(bench.uploads.end(&other, &id).await.is_err());
    let create = |bytes| bench.uploads.create(&other, NewUpload { bytes, ..NewUpload::default() });
    for bytes in [0, UPLOAD_BYTES_MAX + 1] {
        assert!(matches!(create(bytes).await, Err(UploadError::Rejected(Rejection::Invalid { .. }))));
    }
    for _ in 0..4 {
        create(UPLOAD_BYTES_MAX).await.unwrap();
    }
    let refused = create(1).await.unwrap_err().to_string();
    assert!(refused.contains("bytes of open uploads"), "{refused}");
    for _ in 1..UPLOADS_OPEN_MAX {
        bench.create(1, None).await;
    }
    let one_more = bench.uploads.create(&acme(), NewUpload { bytes: 1, ..NewUpload::default() }).await;
    assert!(one_more.unwrap_err().to_string().contains("open uploads"));
    bench.uploads.end(&acme(), &id).await.unwrap();
    bench.create(1, None).await;
}

#[tokio::test]
async fn what_is_whole_is_no_open_upload_after_a_restart_either() {
    let mut bench = Bench::new();
    for _ in 0..UPLOADS_OPEN_MAX {
        let id = bench.create(1, None).await;
        bench.append(&id, 0, b"x").await.unwrap();
    }
    bench.restart();
    bench.create(1, None).await;
}

#[test]
fn names_of_uploads_say_their_node() {
    let id = UploadId::new(NodeId(3));
    assert_eq!(UploadId::parse(&id.to_string()), Some(id.clone()));
    assert_eq!(id.node(), NodeId(3));
    for bad in ["", "3", "3-", "-0", "x-0123", &format!("+{id}"), &id.to_string().to_uppercase().replace('3', "4a")] {
        assert_eq!(UploadId::parse(bad), None, "{bad}");
    }
}
