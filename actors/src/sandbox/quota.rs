//! How much a child may put into its folder. Its limit for one file says nothing about many.

use std::fs;
use std::future::pending;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::policy::Policy;

/// How often the folder is looked at while the child runs. It may pass its quota by what it writes meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What `st_blocks` counts.
const BLOCK_BYTES: u64 = 512;
/// What a file takes at least: a name and an inode are not free.
const FILE_BYTES_MIN: u64 = 4 << 10;

/// What a folder may hold, beyond what was there before the child.
#[derive(Debug, Clone)]
pub(super) struct Quota {
    folder: PathBuf,
    bytes_max: u64,
}

impl Quota {
    /// None for a child that may not write.
    pub(super) fn of(policy: &Policy) -> io::Result<Option<Self>> {
        let Some(folder) = policy.write.clone() else { return Ok(None) };
        let bytes_max = occupied(&folder)?.saturating_add(policy.folder_bytes_max);
        Ok(Some(Self { folder, bytes_max }))
    }

    /// Whether the folder holds too much. One that is gone holds nothing.
    pub(super) fn is_passed(&self) -> bool {
        occupied(&self.folder).is_ok_and(|bytes| bytes > self.bytes_max)
    }
}

/// Returns when the quota is passed.
pub(super) async fn passed(quota: Option<&Quota>) {
    let Some(quota) = quota else { return pending().await };
    loop {
        sleep(LOOK_EVERY).await;
        let looked_at = quota.clone();
        if spawn_blocking(move || looked_at.is_passed()).await.unwrap_or(false) {
            return;
        }
    }
}

/// Bytes on disk of all files below a folder. Links are not followed; a file that goes meanwhile counts nothing.
fn occupied(folder: &Path) -> io::Result<u64> {
    let (mut bytes, mut folders) = (0_u64, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += (found.blocks() * BLOCK_BYTES).max(FILE_BYTES_MIN),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_a_child_adds_in_files_of_any_size() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("chunks")).unwrap();
        fs::write(dir.path().join("chunks/before"), [7; 100 << 10]).unwrap();
        let policy = Policy {
            program: "/bin/true".into(),
            args: vec![],
            read: vec![],
            write: Some(dir.path().to_owned()),
            cpu_seconds_max: 1,
            memory_bytes_max: 1,
            file_bytes_max: 1,
            folder_bytes_max: 64 << 10,
        };
        let quota = Quota::of(&policy).unwrap().unwrap();
        assert!(!quota.is_passed(), "what was there is not the child's");
        let file = |name: &str, bytes: usize| fs::write(dir.path().join(name), vec![7; bytes]).unwrap();
        file("a", 40 << 10);
        assert!(!quota.is_passed());
        file("chunks/b", 40 << 10);
        assert!(quota.is_passed());
        fs::remove_file(dir.path().join("a")).unwrap();
        assert!(!quota.is_passed());
        (0..8).for_each(|number| file(&format!("empty-{number}"), 0));
        assert!(quota.is_passed(), "names and inodes are not free");
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(!quota.is_passed(), "a folder that is gone holds nothing");
        assert!(Quota::of(&Policy { write: None, ..policy }).unwrap().is_none());
    }
}
