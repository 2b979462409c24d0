//! Rules of jobs: which tasks a kind of job has, and how events move them.

mod options;
mod plan;
mod state;

pub(crate) use options::PRIORITIES;
pub use options::{JobOptions, Priority};
pub use plan::{JobKind, Step};
pub use state::{Failure, Job, JobState, Task, TaskState};
