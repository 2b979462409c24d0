//! A blob on its way in from another node: a file beside the blobs until all of it is here and is what its name says.

use std::fs;
use std::io;
use std::path::PathBuf;

use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::space::{self, COPIES_FREE_BYTES_MIN};
use super::{BlobHash, BlobStore};

/// The largest blob that is taken: the largest recording, and what its normalised form may have more.
const BLOB_BYTES_MAX: u64 = 16 << 30;

/// Takes the bytes in order. Dropping it before it is finished leaves nothing behind.
pub struct Incoming {
    store: BlobStore,
    hash: BlobHash,
    path: PathBuf,
    file: File,
    hasher: blake3::Hasher,
}

impl Incoming {
    pub(super) async fn begin(store: BlobStore, hash: BlobHash, path: PathBuf) -> io::Result<Self> {
        space::check(path.parent().unwrap_or(&path), COPIES_FREE_BYTES_MIN)?;
        let file = File::create_new(&path).await?;
        Ok(Self { store, hash, path, file, hasher: blake3::Hasher::new() })
    }

    /// Takes the next bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.hasher.count();
        self.hasher.update(bytes);
        if space::is_due(before, self.hasher.count()) {
            space::check(self.path.parent().unwrap_or(&self.path), COPIES_FREE_BYTES_MIN)?;
        }
        if self.hasher.count() > BLOB_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a blob is larger than any may be"));
        }
        self.file.write_all(bytes).await
    }

    /// Keeps the blob, if it is the one it was said to be.
    pub async fn finish(mut self) -> io::Result<()> {
        if self.hasher.finalize().to_hex().as_str() != self.hash.as_str() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the bytes are not the blob they were said to be"));
        }
        self.file.flush().await?;
        let (store, hash, path) = (self.store.clone(), self.hash.clone(), self.path.clone());
        tokio::task::spawn_blocking(move || store.place(&path, &hash)).await.expect("placing a file does not panic")
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // It was kept.
            Err(error) => tracing::warn!(%error, "a blob that did not arrive could not be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_bytes_of_the_name_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = BlobStore::open(folder.path().to_owned()).unwrap();
        let hash = BlobHash::parse(blake3::hash(b"hello").to_hex().as_str()).unwrap();
        for (bytes, is_kept) in [(&b"hullo"[..], false), (b"hell", false), (b"hello", true), (b"hello", true)] {
            let mut incoming = store.receive(&hash).await.unwrap();
            incoming.write(&bytes[..2]).await.unwrap();
            incoming.write(&bytes[2..]).await.unwrap();
            assert_eq!(incoming.finish().await.is_ok(), is_kept);
            assert_eq!(store.has(&hash), is_kept);
        }
        assert_eq!(fs::read(store.path(&hash)).unwrap(), b"hello");
        let mut broken = store.receive(&hash).await.unwrap();
        broken.write(b"he").await.unwrap();
        drop(broken);
        assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0, "nothing is left behind");
    }
}
