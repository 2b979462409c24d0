//! Rules of schedules: when they tick, and what a tick that was missed becomes.
//!
//! # Invariants
//! - **S1 once**: a tick is decided once: its event names the next one, and no other is taken from then on.
//! - **S2 pure**: the time comes in, and the zones are those of the release; events say when the next tick is, so that no
//!   replica reads an expression to apply one.

mod due;
mod rhythm;
mod state;

pub(crate) use due::due_ticks;
pub use rhythm::{Rhythm, RhythmError};
pub(crate) use state::SKIP_REASONS;
pub use state::{
    Missed, Overlap, Planned, Schedule, ScheduleChange, ScheduleSettings, SkipReason, Skipped, Taken, Ticked,
    smoothing_offset_ms,
};
