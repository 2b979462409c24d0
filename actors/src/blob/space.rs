//! Room on the disk of blobs. What comes in from outside ends before it takes what the log and the state need.

use std::io;
use std::path::Path;

/// Bytes of the disk that uploads leave free: well above what the log keeps for itself.
pub(super) const UPLOADS_FREE_BYTES_MIN: u64 = 256 << 20;
/// The same for copies from other nodes: less, so that what was taken as an upload can still be copied.
pub(super) const COPIES_FREE_BYTES_MIN: u64 = 128 << 20;
/// How often it is looked while bytes come in.
const LOOK_EVERY_BYTES: u64 = 1 << 20;

/// Refuses when the disk of a folder has less than so many bytes left.
pub(super) fn check(folder: &Path, free_bytes_min: u64) -> io::Result<()> {
    let space = rustix::fs::statvfs(folder)?;
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    if free_bytes < free_bytes_min { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

/// Whether it is time to look again after these bytes.
pub(super) fn is_due(before: u64, after: u64) -> bool {
    before / LOOK_EVERY_BYTES < after / LOOK_EVERY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_too_little_is_full() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check(folder.path(), 1).is_ok());
        assert_eq!(check(folder.path(), u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(!is_due(0, LOOK_EVERY_BYTES - 1) && is_due(LOOK_EVERY_BYTES - 1, LOOK_EVERY_BYTES));
        assert!(!is_due(LOOK_EVERY_BYTES, LOOK_EVERY_BYTES + 1));
    }
}
