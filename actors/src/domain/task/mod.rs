//! Rules of tasks: kinds, leases, retries and checkpoints.

mod kind;
mod limits;

pub(crate) use kind::TASK_CLASSES;
pub use kind::{TASK_KINDS, TaskClass, TaskKind};
pub use limits::{RUNNING_MAX_MAX, Reached, TaskLimits, WEIGHT_MAX};
