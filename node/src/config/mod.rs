//! Settings of a node: defaults < file < environment < flags, parsed once into typed, checked structs.
//!
//! The CLI loads them, the composition root reads them; nothing else of the program looks at files or the environment
//! for settings.
//!
//! # Invariants
//! - **C1 known**: a key nobody reads is refused, by its full name and with the nearest one that exists.
//! - **C2 typed**: units stand in the names; a value of the wrong type or outside its limits names the key and the rule.
//! - **C3 closed by default**: listening beyond this machine without authentication is refused.
//! - **C4 secret**: values of secret keys are never printed.

mod blobs;
mod check;
mod error;
mod layers;
mod nearest;
mod secret;
mod sections;
mod show;
mod sources;
mod speech;
#[cfg(test)]
mod tests;

pub(crate) use blobs::Blobs;
pub(crate) use error::{ConfigError, ConfigErrors};
pub(crate) use layers::Layers;
pub(crate) use secret::Secret;
pub(crate) use sections::{Config, Egress, Log, LogFormat, Price, Provider};
pub(crate) use show::show;
pub(crate) use sources::DeclaredSource;
pub(crate) use speech::SpeechEngine;
