//! The folder of blobs on this node, and the way to those of others.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::shelf::{Hold, Shelf};
use super::{Copies, CopyError, Incoming};
use crate::domain::ids::AccountId;

/// How much of a file is hashed at a time.
const HASH_CHUNK_BYTES: usize = 1 << 16;
/// Where blobs lie that are on their way in.
const INCOMING_FOLDER: &str = "incoming";
/// Where files of clients lie that are not whole.
const UPLOADS_FOLDER: &str = "uploads";

/// The BLAKE3 hash of a blob, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobHash(Box<str>);

impl BlobHash {
    /// Checks that a text is 64 lower-case hex digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 64 && text.bytes().all(hex)).then(|| Self(text.into()))
    }

    /// The hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A blob that is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub hash: BlobHash,
    pub bytes: u64,
}

/// The folder of blobs. Cheap to clone.
#[derive(Clone)]
pub struct BlobStore {
    folder: PathBuf,
    shelf: Arc<Shelf>,
    copies: Option<Arc<dyn Copies>>,
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl BlobStore {
    /// Opens the folder, making it when it is not there.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        Self::open_as(folder, None)
    }

    /// Opens the folder as a cache of so many bytes before an object store.
    pub fn open_cache(folder: PathBuf, bytes: u64) -> io::Result<Self> {
        Self::open_as(folder, Some(bytes))
    }

    fn open_as(folder: PathBuf, cache_bytes: Option<u64>) -> io::Result<Self> {
        let incoming = folder.join(INCOMING_FOLDER);
        match fs::remove_dir_all(&incoming) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::create_dir_all(&incoming)?;
        Ok(Self { folder, shelf: Shelf::new(cache_bytes), copies: None })
    }

    /// The same folder, with the place where copies of its blobs are.
    #[must_use]
    pub fn with_copies(&self, copies: Arc<dyn Copies>) -> Self {
        Self { copies: Some(copies), ..self.clone() }
    }

    /// Whether an object store has the blobs, and this folder some of them.
    pub(super) fn is_cache(&self) -> bool {
        self.shelf.is_cache()
    }

    /// Moves a finished file in. The file must be on the same file system (the job's scratch folder is).
    pub fn keep(&self, file: &Path) -> io::Result<Blob> {
        let (hash, bytes) = hash_file(file)?;
        self.place(file, &hash)?;
        Ok(Blob { hash, bytes })
    }

    /// Moves in a file whose hash is known. A blob that is there stays the file it is: tools that read it may open that file
    /// and no other, so one in its place would be closed to them.
    pub(super) fn place(&self, file: &Path, hash: &BlobHash) -> io::Result<()> {
        let path = self.path(hash);
        let parent = path.parent().expect("a blob path has a two-letter folder");
        fs::create_dir_all(parent)?;
        File::open(file)?.sync_all()?;
        self.shelf.put_in(hash, || match fs::hard_link(file, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        })?;
        fs::remove_file(file)?;
        File::open(parent)?.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    /// Where the uploads lie that may become blobs: a finished one moves within its file system.
    pub(super) fn uploads(&self) -> PathBuf {
        self.folder.join(UPLOADS_FOLDER)
    }

    /// Whether the blob lies here.
    #[must_use]
    pub fn has(&self, hash: &BlobHash) -> bool {
        self.path(hash).is_file()
    }

    /// Begins to take in a blob that another node sends.
    pub async fn receive(&self, hash: &BlobHash) -> io::Result<Incoming> {
        let path = self.folder.join(INCOMING_FOLDER).join(Uuid::now_v7().to_string());
        Incoming::begin(self.clone(), hash.clone(), path).await
    }

    /// Makes sure that the blob lies here while the caller has what is returned, if it is anywhere. A node that is alone
    /// has all there are.
    pub async fn bring(&self, account: &AccountId, hash: &BlobHash) -> Result<Hold, CopyError> {
        let hold = self.shelf.hold(hash);
        if let Some(copies) = &self.copies
            && !self.has(hash)
        {
            let turn = hold.turn();
            let _one = turn.lock().await;
            if !self.has(hash) {
                copies.fetch(account, hash).await?;
            }
        }
        Ok(hold)
    }

    /// An object store was seen to have the blob.
    pub(super) fn may_go(&self, hash: &BlobHash) {
        if let Ok(file) = fs::metadata(self.path(hash)) {
            self.shelf.may_go(hash, file.len(), |hash| self.path(hash));
        }
    }

    /// All that was here before there was an object store is there.
    pub(super) fn may_shrink(&self) {
        self.shelf.may_shrink(|hash| self.path(hash));
    }

    /// Makes sure that the blob outlives this node, before an event of the account names it.
    pub(crate) async fn spread(&self, account: &AccountId, hash: &BlobHash) -> Result<(), CopyError> {
        match &self.copies {
            Some(copies) => copies.spread(account, hash).await,
            None => Ok(()),
        }
    }

    /// Where a blob's bytes are. The file may be absent; opening it tells.
    #[must_use]
    pub fn path(&self, hash: &BlobHash) -> PathBuf {
        self.folder.join(&hash.0[..2]).join(&*hash.0)
    }
}

/// The hash of a file, and its length.
pub(super) fn hash_file(file: &Path) -> io::Result<(BlobHash, u64)> {
    let mut reader = File::open(file)?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    loop {
        let read = reader.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
    }
    Ok((BlobHash(hasher.finalize().to_hex().as_str().into()), hasher.count()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn keeps_equal_bytes_once_under_their_hash() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path().join("blobs")).unwrap();
        let keep = |name: &str| {
            let file = dir.path().join(name);
            fs::write(&file, b"hello").unwrap();
            let blob = store.keep(&file).unwrap();
            assert!(!file.exists(), "the file moved");
            blob
        };
        let first = keep("a");
        let inode = || fs::metadata(store.path(&first.hash)).unwrap().ino();
        let kept = inode();
        assert_eq!(keep("b"), first);
        assert_eq!(inode(), kept, "whoever reads it may go on");
        assert_eq!(first.bytes, 5);
        assert_eq!(first.hash.as_str(), blake3::hash(b"hello").to_hex().as_str());
        assert_eq!(fs::read(store.path(&first.hash)).unwrap(), b"hello");
    }

    #[test]
    fn refuses_texts_that_are_no_hash() {
        assert!(BlobHash::parse(&"a".repeat(64)).is_some());
        for bad in ["", "../../etc/passwd", &"A".repeat(64), &"a".repeat(63)] {
            assert!(BlobHash::parse(bad).is_none(), "{bad}");
        }
    }
}
