//! What one child may do, as handed from the parent to the helper.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How children are started.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The executable that understands [`super::SANDBOX_EXEC`]: our own.
    pub helper: PathBuf,
    /// Whether a kernel without Landlock is a reason to refuse.
    pub require: bool,
}

/// One child's program and rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The program, by absolute path: there is no search path.
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Files and folders it may read besides the system's libraries.
    pub read: Vec<PathBuf>,
    /// The one folder it may write; also where it starts. It must exist.
    pub write: Option<PathBuf>,
    pub cpu_seconds_max: u64,
    pub memory_bytes_max: u64,
    /// The largest file it may write.
    pub file_bytes_max: u64,
    /// How much its folder may grow, over all files.
    pub folder_bytes_max: u64,
}

/// A policy and what the helper must know about its parent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub policy: Policy,
    /// Whether to refuse without Landlock.
    pub require: bool,
    /// Who waits for the child; another parent means that one died before the helper could tie itself to it.
    pub parent: i32,
}
