//! Rules of tasks: kinds, leases, retries and checkpoints.

mod kind;

pub(crate) use kind::TASK_CLASSES;
pub use kind::{TASK_KINDS, TaskClass, TaskKind};
