//! Stops single threads of a process, as a hang would, through the system's control groups. For tests that run as root.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups that stop their threads are.
const GROUPS: &str = "/sys/fs/cgroup/freezer";

/// Threads that stand still, until this is dropped.
#[derive(Debug)]
pub struct Frozen {
    group: PathBuf,
}

impl Frozen {
    /// Stops the threads of a process that have this name; the reason when that is not possible here.
    pub fn thread(pid: u32, name: &str) -> Result<Self, String> {
        let group = Path::new(GROUPS).join(format!("steward-test-{pid}-{name}"));
        fs::create_dir(&group).map_err(|error| format!("no control group to stop a thread: {error}"))?;
        let frozen = Self { group };
        let threads: Vec<String> = threads(pid, name);
        if threads.is_empty() {
            return Err(format!("process {pid} has no thread {name}"));
        }
        threads.iter().try_for_each(|thread| frozen.write("tasks", thread))?;
        frozen.write("freezer.state", "FROZEN")?;
        Ok(frozen)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), String> {
        fs::write(self.group.join(file), text).map_err(|error| format!("{file} of a control group: {error}"))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.write("freezer.state", "THAWED").ok(); // The group may never have been made.
        // Only an empty group can be removed.
        for thread in fs::read_to_string(self.group.join("tasks")).unwrap_or_default().lines() {
            fs::write(Path::new(GROUPS).join("tasks"), thread).ok(); // It may have ended.
        }
        fs::remove_dir(&self.group).ok(); // It goes with the machine otherwise.
    }
}

/// The numbers of a process's threads that have this name. Names are cut at 15 bytes.
fn threads(pid: u32, name: &str) -> Vec<String> {
    let name = &name[..name.len().min(15)];
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return vec![] };
    let has_name = |folder: &PathBuf| fs::read_to_string(folder.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
    let folders = entries.flatten().map(|entry| entry.path()).filter(has_name);
    folders.filter_map(|folder| folder.file_name().map(|name| name.to_string_lossy().into_owned())).collect()
}
