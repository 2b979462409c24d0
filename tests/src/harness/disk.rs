//! A disk that can be full and lose its power, for tests that run as root: ext4 in a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;

/// A file system of its own. Unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    at: PathBuf,
    _folder: TempDir,
}

impl Disk {
    /// Mounts an empty one of this size; the reason when that is not possible here.
    pub fn mount(mib: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("a disk of its own needs root".to_owned());
        }
        let folder = tempfile::Builder::new().prefix("steward-disk-").tempdir().map_err(|error| error.to_string())?;
        let (image, at) = (folder.path().join("image"), folder.path().join("mounted"));
        let sized = File::create(&image).and_then(|file| file.set_len(mib << 20));
        sized.and_then(|()| fs::create_dir(&at)).map_err(|error| error.to_string())?;
        // No blocks are set aside for root: what is free is free for the node as well.
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &text(&image)])?;
        let disk = Self { image, at, _folder: folder };
        disk.attach()?;
        Ok(disk)
    }

    /// So many of them.
    pub fn mount_each(disks: u64, mib: u64) -> Result<Vec<Self>, String> {
        (0..disks).map(|_| Self::mount(mib)).collect()
    }

    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.at.clone()
    }

    /// Fills the disk but for this much.
    ///
    /// # Panics
    /// When it cannot be filled.
    pub fn fill_but(&self, spare_mib: u64) {
        let stat = statvfs(&self.at).expect("the disk can be asked");
        let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(spare_mib << 20);
        let ballast = File::create(self.ballast()).expect("a file can be made");
        fallocate(&ballast, FallocateFlags::empty(), 0, bytes).expect("there is room for the ballast");
    }

    /// Gives the space back.
    ///
    /// # Panics
    /// When it was not filled.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast can be removed");
    }

    /// From here on nothing reaches the disk: what was not synced is gone.
    pub(super) fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", &text(&self.at)]).expect("a mounted disk can be shut down");
    }

    /// It is as it was when its power went. Nobody may have a file open on it.
    pub(super) fn comes_back(&self) {
        run("umount", &[&text(&self.at)]).expect("nobody uses the disk");
        self.attach().expect("it was mounted before");
    }

    /// Mounts it. The journal must not sync by itself while a test runs.
    fn attach(&self) -> Result<(), String> {
        run("mount", &["-o", "loop,commit=600", &text(&self.image), &text(&self.at)])
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", &text(&self.at)]).ok(); // The folder goes with it or stays empty.
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}
