//! ⑤ The rules, pure: `decide(state, command) -> events` and `evolve(state, event)`.
//!
//! Nothing here knows async, I/O, a clock or randomness; the tidy test enforces it.

pub mod account;
pub mod budget;
pub mod ids;
pub mod job;
pub mod pattern;
pub mod schedule;
pub mod search;
pub mod task;
pub mod webhook;
