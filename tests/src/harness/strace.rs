//! Lets a system call of a running node fail, through strace.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::wait::{WAIT_MAX, within};

/// The thread of a node that writes its log, as the system knows it.
const LOG_THREAD: &str = "steward-log";
/// What strace says once it watches.
const ATTACHED: &str = "attached";
/// What stands behind a call that was made to fail.
const INJECTED: &str = "(INJECTED)";
/// How strace writes a sync.
const SYNC: &str = "fdatasync(";

/// A tracer of one thread. Detached when dropped.
#[derive(Debug)]
pub struct Tracer {
    child: Child,
    trace: PathBuf,
    _folder: TempDir,
}

impl Tracer {
    /// The next sync of the log of the node with this process id fails with `EIO`, and no later one.
    ///
    /// # Panics
    /// When the process is no node, or may not be traced.
    #[must_use]
    pub fn fail_next_sync(pid: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let trace = folder.path().join("trace");
        let thread = thread_of(pid, LOG_THREAD).expect("a node has a thread for its log");
        let mut child = Command::new("strace")
            .args(["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1", "-o"])
            .arg(&trace)
            .args(["-p", &thread.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("strace is installed by `scripts/setup --tests`");
        let mut said = String::new();
        let mut saying = BufReader::new(child.stderr.take().expect("it is piped"));
        saying.read_line(&mut said).expect("strace says what it does");
        assert!(said.contains(ATTACHED), "{said}");
        Self { child, trace, _folder: folder }
    }

    /// The syncs that the thread asked for after the call that failed, once it has ended.
    ///
    /// # Panics
    /// When it goes on, or no call was made to fail.
    #[must_use]
    pub fn after_failure(mut self) -> Vec<String> {
        within(WAIT_MAX, "the traced thread to end", || self.child.try_wait().ok().flatten());
        let trace = fs::read_to_string(&self.trace).expect("strace has written what it saw");
        let mut lines = trace.lines();
        lines.find(|line| line.contains(INJECTED)).expect("a sync was made to fail");
        lines.filter(|line| line.starts_with(SYNC)).map(str::to_owned).collect()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.child.kill().ok(); // It may have ended.
        self.child.wait().ok();
    }
}

fn thread_of(pid: u32, name: &str) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let named =
        |id: &u32| fs::read_to_string(format!("/proc/{pid}/task/{id}/comm")).is_ok_and(|comm| comm.trim() == name);
    threads.filter_map(|thread| thread.ok()?.file_name().to_str()?.parse().ok()).find(named)
}
