//! The files of uploads: for each a description, its bytes, and a mark that says how many of them count.
//!
//! # Decisions
//! - The offset is a file of its own and not the length of the bytes: after a power cut a length may be on disk before what
//!   it counts.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use steward_cluster::clock::Timestamp;

use super::UploadId;
use crate::blob::space::{self, UPLOADS_FREE_BYTES_MIN};
use crate::domain::ids::AccountId;

const DESCRIPTION: &str = "json";
const BYTES: &str = "part";
const MARK: &str = "mark";
/// A description that is being written.
const DRAFT: &str = "draft";

/// What is known of an upload, apart from how far it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Description {
    pub(super) account: AccountId,
    pub(super) bytes: u64,
    /// Empty: any bytes.
    pub(super) expected: String,
    pub(super) content_type: String,
    pub(super) name: String,
    pub(super) metadata: String,
    /// The hash of its bytes, once they are all here; empty before.
    pub(super) hash: String,
}

/// How far an upload came, and until when it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) offset: u64,
    pub(super) expires_at: Timestamp,
}

/// Where uploads lie.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// All that can be read. What a crash left of one that never began is removed.
    pub(super) fn list(&self) -> io::Result<Vec<(UploadId, Description, Mark)>> {
        let mut found = vec![];
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(UploadId::parse);
            let Some(id) = id else { continue };
            if path.extension().is_some_and(|kind| kind == DESCRIPTION) {
                let description = serde_json::from_slice(&fs::read(&path)?)?;
                found.push((id.clone(), description, self.mark(&id)?));
            } else if !self.path(&id, DESCRIPTION).exists() {
                fs::remove_file(&path)?;
            }
        }
        Ok(found)
    }

    /// Makes the files of a new upload; the description comes last, so that it stands for all of them.
    pub(super) fn begin(&self, id: &UploadId, description: &Description, mark: Mark) -> io::Result<()> {
        File::create_new(self.bytes(id))?;
        self.put_mark(id, mark)?;
        self.describe(id, description)
    }

    /// Writes the description, or another one in its place.
    pub(super) fn describe(&self, id: &UploadId, description: &Description) -> io::Result<()> {
        let draft = self.path(id, DRAFT);
        let mut file = File::create(&draft)?;
        file.write_all(&serde_json::to_vec(description)?)?;
        file.sync_all()?;
        fs::rename(&draft, self.path(id, DESCRIPTION))?;
        File::open(&self.0)?.sync_all()
    }

    /// Says how far an upload came. The bytes up to there are on disk.
    pub(super) fn put_mark(&self, id: &UploadId, mark: Mark) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&mark.offset.to_le_bytes());
        bytes[8..].copy_from_slice(&mark.expires_at.0.to_le_bytes());
        let path = self.path(id, MARK);
        // Within one block of the disk, so it is the old or the new one.
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()
    }

    /// Removes the files of an upload, the description first.
    pub(super) fn remove(&self, id: &UploadId) -> io::Result<()> {
        for kind in [DESCRIPTION, DRAFT, MARK, BYTES] {
            remove_if_there(&self.path(id, kind))?;
        }
        Ok(())
    }

    /// Refuses before files of clients take the room that everything else needs.
    pub(super) fn check_space(&self) -> io::Result<()> {
        space::check(&self.0, UPLOADS_FREE_BYTES_MIN)
    }

    /// Where the bytes of an upload are.
    pub(super) fn bytes(&self, id: &UploadId) -> PathBuf {
        self.path(id, BYTES)
    }

    fn mark(&self, id: &UploadId) -> io::Result<Mark> {
        let bytes = fs::read(self.path(id, MARK))?;
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the mark of an upload is not 16 bytes");
        let (offset, expires) = bytes.split_first_chunk::<8>().ok_or_else(broken)?;
        let expires: &[u8; 8] = expires.try_into().map_err(|_| broken())?;
        let expires_at = Timestamp(u64::from_le_bytes(*expires));
        Ok(Mark { offset: u64::from_le_bytes(*offset), expires_at })
    }

    fn path(&self, id: &UploadId, kind: &str) -> PathBuf {
        self.0.join(format!("{id}.{kind}"))
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
