//! ⑨ Tasks: leased units of a job, run by workers, reported back as commands.

pub mod runner;
