//! Speech to text: one trait for engines, and what every engine needs around it.
//!
//! The transcript runner cuts sound into windows (`cut`), lets the engine that was asked for (`engines`) hear each,
//! drops what the engine made up (`inventions`), and joins what windows heard twice (`join`).

pub(super) mod cut;
mod engines;
pub(super) mod flac;
pub(super) mod inventions;
pub(super) mod join;
mod service;
pub(super) mod sound;
pub(super) mod subtitles;
mod verbose;
#[cfg(feature = "asr-embedded")]
mod whisper;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use engines::{EngineConfig, EngineNames, Engines, LOCAL, Protocol};

use crate::task::runner::TaskError;

/// Samples in a second of sound as engines take it: one channel, -1 to 1.
pub const SAMPLE_RATE: u32 = 16_000;

/// A word and when it is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub start_ms: u64,
    pub end_ms: u64,
    pub text: String,
}

/// A sentence or so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub start_ms: u64,
    pub end_ms: u64,
    pub text: String,
    pub words: Vec<Word>,
    /// Which channel it was said on, when each party has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<u8>,
}

/// A segment as an engine heard it, with how sure it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub segment: Segment,
    /// The engine's own guess that nobody spoke.
    pub no_speech: f32,
    /// Mean logarithm of the probability of its words.
    pub log_probability: f32,
}

/// What an engine heard in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub heard: Vec<Heard>,
    /// The language, as the engine names it.
    pub language: Option<String>,
}

/// In which form an engine takes sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Samples,
    Flac,
}

/// Up to half a minute of sound at [`SAMPLE_RATE`].
#[derive(Debug, Clone)]
pub enum Window {
    Samples(Vec<f32>),
    Flac(Bytes),
}

/// Why an engine could not transcribe.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    #[error("the speech model cannot be loaded: {0}")]
    Load(String),
    #[error("the speech engine failed: {0}")]
    Engine(String),
    /// The engine does not have the model it was told to use.
    #[error("the engine has no such model")]
    NoModel,
    /// What a service said, and when to ask it again.
    #[error(transparent)]
    Service(#[from] TaskError),
}

/// An engine that turns speech into text. Cancel a call by dropping it: the work behind it stops within a second.
pub trait Transcriber: Send + Sync + 'static {
    /// Its name in settings, jobs and results.
    fn name(&self) -> &str;
    /// What clients see of its model.
    fn model(&self) -> &str;
    /// The form of sound its sessions take.
    fn form(&self) -> Form;
    /// Gets ready for one transcript: loads the model, or nothing.
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SpeechError>>;
}

/// An engine at work on one transcript.
pub trait Session: Send {
    /// Transcribes a window; times count from its start.
    fn transcribe(&mut self, window: Window) -> BoxFuture<'_, Result<Answer, SpeechError>>;
}

/// The engine built in, when it is compiled in and its model is installed.
#[cfg(feature = "asr-embedded")]
#[must_use]
pub fn embedded(models: &Path) -> Option<Arc<dyn Transcriber>> {
    let model = models.join(crate::model::SPEECH_MODEL);
    model.exists().then(|| -> Arc<dyn Transcriber> { Arc::new(whisper::Whisper { model }) })
}

/// The engine built in: none in this build.
#[cfg(not(feature = "asr-embedded"))]
#[must_use]
pub fn embedded(_models: &Path) -> Option<Arc<dyn Transcriber>> {
    None
}
