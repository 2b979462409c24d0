//! Slows down what one process writes to one disk, through the system's control groups. For tests that run as root.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor, stat};

use super::disk::Disk;

/// Where control groups for block devices are.
const GROUPS: &str = "/sys/fs/cgroup/blkio";

/// A limit on the writes of a process. Lifted when dropped.
#[derive(Debug)]
pub struct Throttle {
    group: PathBuf,
}

impl Throttle {
    /// Lets the process do so many writes to the disk in a second; the reason when that is not possible here.
    ///
    /// # Panics
    /// When the disk is not mounted.
    pub fn writes(pid: u32, disk: &Disk, per_second: u32) -> Result<Self, String> {
        let device = stat(disk.path()).expect("the disk is mounted").st_dev;
        let group = Path::new(GROUPS).join(format!("steward-test-{pid}"));
        fs::create_dir(&group).map_err(|error| format!("no control group for disks: {error}"))?;
        let throttle = Self { group };
        let limit = format!("{}:{} {per_second}", major(device), minor(device));
        throttle.write("blkio.throttle.write_iops_device", &limit)?;
        throttle.write("cgroup.procs", &pid.to_string())?;
        Ok(throttle)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.group.join(file), text).map_err(|error| format!("{file} of a control group: {error}"))
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Only an empty group can be removed.
        let members = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines() {
            fs::write(Path::new(GROUPS).join("cgroup.procs"), member).ok(); // It may have ended.
        }
        fs::remove_dir(&self.group).ok(); // It is empty, and gone with the machine otherwise.
    }
}
