//! The folder of a node: one process at a time, and the key that seals secrets at rest.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rand::Rng as _;

/// Read and write for the owner, nothing for others.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Bytes of the node's key.
pub(crate) const NODE_KEY_BYTES: usize = 32;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the data folder {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the key file {} does not hold 64 hex digits", path.display())]
    Key { path: PathBuf },
}

/// A data folder that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The lock lasts as long as this file is open.
    _lock: File,
}

impl DataDir {
    /// Makes the folder when it is not there, and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io { path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(failed)?;
        let file = path.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(file);
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// A folder or file within.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The key that wraps the accounts' data keys. Whoever loses it loses every sealed secret.
    pub(crate) fn node_key(&self) -> Result<[u8; NODE_KEY_BYTES], DataDirError> {
        let path = self.join("node.key");
        let failed = |source| DataDirError::Io { path: path.clone(), source };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; NODE_KEY_BYTES];
                rand::rng().fill_bytes(&mut key);
                let text = hex::encode(key);
                self.write_new(&path, &text).map_err(failed)?;
                text
            }
            Err(error) => return Err(failed(error)),
        };
        let mut key = [0; NODE_KEY_BYTES];
        hex::decode_to_slice(text.trim(), &mut key).map_err(|_| DataDirError::Key { path: path.clone() })?;
        Ok(key)
    }

    /// The file appears under its name whole, or not at all.
    fn write_new(&self, path: &Path, text: &str) -> io::Result<()> {
        let draft = path.with_extension("draft");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&draft)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_process_holds_a_folder_and_its_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node");
        let held = DataDir::open(&path).unwrap();
        assert!(matches!(DataDir::open(&path), Err(DataDirError::InUse { .. })));
        let key = held.node_key().unwrap();
        assert_eq!(held.node_key().unwrap(), key);
        let mode = std::fs::metadata(path.join("node.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        drop(held);
        let again = DataDir::open(&path).unwrap();
        assert_eq!(again.node_key().unwrap(), key);
        std::fs::write(path.join("node.key"), "short").unwrap();
        assert!(matches!(again.node_key(), Err(DataDirError::Key { .. })));
    }
}
