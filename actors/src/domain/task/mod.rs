//! Rules of tasks: kinds, leases, retries and checkpoints.

mod id;
mod kind;
mod limits;

pub use id::TaskId;
pub(crate) use kind::TASK_CLASSES;
pub use kind::{TASK_KINDS, TaskClass, TaskKind};
pub use limits::{OPEN_JOBS_MAX, OPEN_JOBS_MAX_MAX, RUNNING_MAX_MAX, Reached, TaskLimits, WEIGHT_MAX};
