//! Speech to text: one trait for engines, and what every engine needs around it.
//!
//! The transcript runner cuts sound at pauses (`cut`), lets an engine hear each piece, and drops what the engine
//! made up (`inventions`).

pub(super) mod cut;
pub(super) mod inventions;
pub(super) mod sound;
pub(super) mod subtitles;
#[cfg(feature = "asr-embedded")]
mod whisper;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

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

/// Why an engine could not transcribe.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    #[error("the speech model cannot be loaded: {0}")]
    Load(String),
    #[error("the speech engine failed: {0}")]
    Engine(String),
    #[error("stopped")]
    Stopped,
}

/// An engine that turns speech into text.
pub trait Transcriber: Send + Sync + 'static {
    /// What clients see: engine and model.
    fn engine(&self) -> &str;
    /// The language it hears, as a two-letter code.
    fn language(&self) -> &str;
    /// Loads the model, for one transcript. Blocks.
    fn open(&self) -> Result<Box<dyn Session>, SpeechError>;
}

/// A loaded engine.
pub trait Session: Send {
    /// Transcribes up to half a minute at [`SAMPLE_RATE`]. Blocks; looks at `stop` between its steps, seconds apart.
    fn transcribe(&mut self, samples: &[f32], stop: &Arc<AtomicBool>) -> Result<Vec<Heard>, SpeechError>;
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
