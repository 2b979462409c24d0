//! Rules of tasks: kinds, leases, retries and checkpoints.

mod kind;

pub use kind::{TASK_KINDS, TaskClass, TaskKind};
