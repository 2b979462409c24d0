//! Rules of jobs: which tasks a kind of job has, and how events move them.

mod plan;
mod state;

pub use plan::{JobKind, Step};
pub use state::{Failure, Job, JobState, Task, TaskState};
