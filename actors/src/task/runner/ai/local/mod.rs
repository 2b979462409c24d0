//! Models that run in this process: SmolLM2 135M for chat, MiniLM-L6 for vectors. Called by `models`.
//!
//! # Invariants
//! - **L1 lazy**: weights are read at the first call that needs them, then stay; a node that uses none holds none.
//! - **L2 one at a time**: each model works on one call at a time, on one core: a worker's slot.
//!
//! # Decisions
//! - Two models of a fixed kind, not any file found: their prompts, limits and thresholds are tuned to them.
//!
//! Without the feature `ai-local` the same names exist and answer that this build has no local models.

#[cfg(feature = "ai-local")]
mod alone;
#[cfg(feature = "ai-local")]
mod chat;
#[cfg(feature = "ai-local")]
mod embed;
#[cfg(feature = "ai-local")]
mod present;
#[cfg(feature = "ai-local")]
pub(crate) use present::LocalModels;

#[cfg(not(feature = "ai-local"))]
mod absent;
#[cfg(not(feature = "ai-local"))]
pub(crate) use absent::LocalModels;
