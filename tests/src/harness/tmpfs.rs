//! A small disk that can be full, for tests that run as root.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A file system in memory. Unmounted when dropped.
#[derive(Debug)]
pub struct Tmpfs {
    folder: TempDir,
}

impl Tmpfs {
    /// Mounts one of this size; the reason when that is not possible here.
    pub fn mount(mib: u32) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("steward-tmpfs-").tempdir().map_err(|error| error.to_string())?;
        let size = format!("size={mib}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match mount {
            Ok(output) if output.status.success() => Ok(Self { folder }),
            Ok(output) => Err(format!("no tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("no tmpfs: {error}")),
        }
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Fills the disk but for this much.
    ///
    /// # Panics
    /// When it cannot be filled.
    pub fn fill_but(&self, spare_mib: u64) {
        let stat = rustix::fs::statvfs(self.folder.path()).expect("the disk can be asked");
        let ballast = vec![
            0;
            usize::try_from((stat.f_bavail * stat.f_frsize).saturating_sub(spare_mib << 20))
                .expect("it is small")
        ];
        fs::write(self.ballast(), ballast).expect("there is room for the ballast");
    }

    /// Gives the space back.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast can be removed");
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.folder.path()).output().ok(); // The folder goes with it or stays empty.
    }
}
