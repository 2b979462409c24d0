//! The folder of a node: one process at a time, whose it is, and the key that seals secrets at rest.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rand::Rng as _;
use serde::{Deserialize, Serialize};
use steward_cluster::ids::NodeId;
use uuid::Uuid;

/// Read and write for the owner, nothing for others.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Bytes of the node's key.
pub(crate) const NODE_KEY_BYTES: usize = 32;

/// Who a data folder belongs to.
const IDENTITY_FILE: &str = "node.json";
/// Log, snapshots and state.
pub(crate) const SHARDS_FOLDER: &str = "shards";
/// The newest layout of [`IDENTITY_FILE`] this release reads, and the one it writes.
const FORMAT: u32 = 1;
/// A node that was always alone.
pub(crate) const NODE_ALONE: NodeId = NodeId(1);
/// No node yet.
const NODE_NONE: NodeId = NodeId(0);

/// Who a data folder belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Names these bytes: a copy of the folder has it too, a new folder never.
    pub(crate) data_id: Uuid,
    pub(crate) node: NodeId,
    /// Whether every shard began in this folder, as it does in that of a node that is alone.
    pub(crate) is_founder: bool,
    /// None: the node is alone.
    pub(crate) cluster: Option<JoinedCluster>,
}

/// The cluster that a folder is part of; fixed when it joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinedCluster {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) shards: u16,
    pub(crate) replicas: u8,
}

impl Identity {
    /// A node that is alone, with data of its own.
    pub(crate) fn alone(node: NodeId) -> Self {
        Self { data_id: Uuid::now_v7(), node, is_founder: true, cluster: None }
    }

    /// A folder that has a name of its own and nothing else yet: it is about to join.
    pub(crate) fn unjoined() -> Self {
        Self { data_id: Uuid::now_v7(), node: NODE_NONE, is_founder: false, cluster: None }
    }

    /// Whether there is a node here, with data.
    pub(crate) fn is_node(&self) -> bool {
        self.node != NODE_NONE
    }
}

/// [`IDENTITY_FILE`] as it is written.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    data_id: Uuid,
    node: u64,
    is_founder: bool,
    cluster: Option<JoinedCluster>,
}

/// All that is read of a layout that may not be known.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("cannot use {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the data folder {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("the key file {} does not hold 64 hex digits", path.display())]
    Key { path: PathBuf },
    #[error("{} cannot be read", path.display())]
    Identity { path: PathBuf, source: serde_json::Error },
    #[error("{} has format {format}, this release knows {FORMAT}: start the release that wrote it", path.display())]
    NewerFormat { path: PathBuf, format: u32 },
    #[error("node.id is {configured}, but the data folder belongs to {node}")]
    OtherNode { configured: u64, node: NodeId },
}

/// A data folder that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The lock lasts as long as this file is open; none for somebody who only looks.
    _lock: Option<File>,
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
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The folder as it is, for a command that changes nothing in it while its node may run.
    pub(crate) fn look_into(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// A folder or file within.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The key that wraps the accounts' data keys. Whoever loses it loses every sealed secret.
    ///
    /// Without a `file` it is the folder's own, made when there is none. A file that is named is never made: a new key
    /// would open nothing that the other nodes sealed.
    pub(crate) fn node_key(&self, file: Option<&Path>) -> Result<[u8; NODE_KEY_BYTES], DataDirError> {
        let path = file.map_or_else(|| self.join("node.key"), Path::to_owned);
        let failed = |source| DataDirError::Io { path: path.clone(), source };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
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

    /// Who the folder belongs to; none when nothing was ever written to it.
    ///
    /// A folder that was used before it had a `node.json` is a node that is alone. `configured` is `node.id`: 0, or what
    /// the folder must say.
    pub(crate) fn identity(&self, configured: u64) -> Result<Option<Identity>, DataDirError> {
        let path = self.join(IDENTITY_FILE);
        let identity = match std::fs::read_to_string(&path) {
            Ok(text) => read_identity(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.join(SHARDS_FOLDER).exists() {
                    return Ok(None);
                }
                Identity::alone(NODE_ALONE)
            }
            Err(source) => return Err(DataDirError::Io { path, source }),
        };
        if configured != 0 && identity.is_node() && identity.node != NodeId(configured) {
            return Err(DataDirError::OtherNode { configured, node: identity.node });
        }
        Ok(Some(identity))
    }

    /// Keeps a file that may be made again, whole or not at all.
    pub(crate) fn keep(&self, name: &str, text: &str) -> Result<(), DataDirError> {
        let path = self.join(name);
        self.write_new(&path, text).map_err(|source| DataDirError::Io { path, source })
    }

    /// Keeps who the folder belongs to.
    pub(crate) fn keep_identity(&self, identity: &Identity) -> Result<(), DataDirError> {
        let path = self.join(IDENTITY_FILE);
        let stored = Stored {
            format: FORMAT,
            data_id: identity.data_id,
            node: identity.node.0,
            is_founder: identity.is_founder,
            cluster: identity.cluster.clone(),
        };
        let text = serde_json::to_string_pretty(&stored).expect("names and numbers are JSON");
        self.write_new(&path, &text).map_err(|source| DataDirError::Io { path, source })
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

fn read_identity(path: &Path, text: &str) -> Result<Identity, DataDirError> {
    let unread = |source| DataDirError::Identity { path: path.to_owned(), source };
    let Format { format } = serde_json::from_str(text).map_err(unread)?;
    if format > FORMAT {
        return Err(DataDirError::NewerFormat { path: path.to_owned(), format });
    }
    let Stored { data_id, node, is_founder, cluster, .. } = serde_json::from_str(text).map_err(unread)?;
    Ok(Identity { data_id, node: NodeId(node), is_founder, cluster })
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
        let key = held.node_key(None).unwrap();
        assert_eq!(held.node_key(None).unwrap(), key);
        let mode = std::fs::metadata(path.join("node.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        drop(held);
        let again = DataDir::open(&path).unwrap();
        assert_eq!(again.node_key(None).unwrap(), key);
        std::fs::write(path.join("node.key"), "short").unwrap();
        assert!(matches!(again.node_key(None), Err(DataDirError::Key { .. })));
    }

    #[test]
    fn a_key_file_that_is_named_is_read_and_never_made() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(&dir.path().join("node")).unwrap();
        let file = dir.path().join("shared.key");
        assert!(matches!(held.node_key(Some(&file)), Err(DataDirError::Io { .. })));
        assert!(!file.exists());
        std::fs::write(&file, "ab".repeat(NODE_KEY_BYTES)).unwrap();
        assert_eq!(held.node_key(Some(&file)).unwrap(), [0xab; NODE_KEY_BYTES]);
        assert!(!held.join("node.key").exists());
    }

    #[test]
    fn a_folder_knows_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        assert_eq!(held.identity(0).unwrap(), None);
        std::fs::create_dir(held.join(SHARDS_FOLDER)).unwrap();
        let old = held.identity(0).unwrap().unwrap();
        assert_eq!((old.node, &old.cluster), (NODE_ALONE, &None));
        let cluster = JoinedCluster { name: "c".to_owned(), id: Uuid::now_v7(), shards: 64, replicas: 3 };
        let joined = Identity { node: NodeId(7), is_founder: false, cluster: Some(cluster), ..old };
        held.keep_identity(&joined).unwrap();
        assert_eq!(held.identity(7).unwrap(), Some(joined));
        let refused = held.identity(2).unwrap_err().to_string();
        assert_eq!(refused, "node.id is 2, but the data folder belongs to node 7");
    }

    #[test]
    fn a_newer_layout_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let file = held.join(IDENTITY_FILE);
        std::fs::write(&file, "{\"format\": 2, \"node\": \"seven\"}").unwrap();
        let refused = held.identity(0).unwrap_err().to_string();
        assert!(
            refused.ends_with("node.json has format 2, this release knows 1: start the release that wrote it"),
            "{refused}"
        );
        std::fs::write(&file, "{\"format\": 1}").unwrap();
        assert!(matches!(held.identity(0), Err(DataDirError::Identity { .. })));
    }
}
