//! Rules of jobs: which tasks a kind of job has, and how events move them.

mod asked;
mod encoder;
mod options;
mod plan;
mod state;

pub use asked::{ClipAsked, SoundAsked};
pub use encoder::EncoderArgs;
pub(crate) use options::PRIORITIES;
pub use options::{JobOptions, Priority};
pub use plan::{CHUNKS_MAX, JobKind, Split, Step};
pub use state::{Failure, Job, JobState, Task, TaskState};
