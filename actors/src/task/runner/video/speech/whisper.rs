//! The embedded engine: whisper.cpp with the small English model, on one thread.
//!
//! # Decisions
//! - The model is loaded for each transcript and dropped after it: 0.3 s against 250 MB held while nobody speaks.
//! - One thread: a task takes one core's slot, and two threads on a busy machine are ten times slower.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperSegment, WhisperState,
    install_logging_hooks,
};

use super::{Heard, SAMPLE_RATE, Segment, Session, SpeechError, Transcriber, Word};

/// Shorter sound is refused by the engine; silence is added.
const SAMPLES_MIN: usize = 2 * 16_000;

pub(super) struct Whisper {
    pub model: PathBuf,
}

struct Loaded {
    state: WhisperState,
    /// Tokens from here on are marks, not text.
    first_mark: i32,
}

impl Transcriber for Whisper {
    fn engine(&self) -> &'static str {
        "whisper-tiny.en"
    }

    fn language(&self) -> &'static str {
        "en"
    }

    fn open(&self) -> Result<Box<dyn Session>, SpeechError> {
        // Otherwise the engine writes its own lines to our stderr.
        install_logging_hooks();
        let load = |error: whisper_rs::WhisperError| SpeechError::Load(error.to_string());
        let context =
            WhisperContext::new_with_params(&self.model, WhisperContextParameters::default()).map_err(load)?;
        let first_mark = context.token_eot();
        Ok(Box::new(Loaded { state: context.create_state().map_err(load)?, first_mark }))
    }
}

impl Session for Loaded {
    fn transcribe(&mut self, samples: &[f32], stop: &Arc<AtomicBool>) -> Result<Vec<Heard>, SpeechError> {
        let mut params = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
        params.set_n_threads(1);
        params.set_language(Some("en"));
        params.set_no_context(true);
        params.set_token_timestamps(true);
        params.set_suppress_nst(true);
        params.set_print_progress(false);
        params.set_print_realtime(false);
        params.set_print_timestamps(false);
        params.set_print_special(false);
        let asked = stop.clone();
        // The binding calls back through the type given here, so it must be the boxed one that it stores.
        let abort: Box<dyn FnMut() -> bool> = Box::new(move || asked.load(Ordering::Relaxed));
        params.set_abort_callback_safe::<_, Box<dyn FnMut() -> bool>>(abort);
        let mut padded = samples.to_vec();
        padded.resize(samples.len().max(SAMPLES_MIN), 0.0);
        let done = self.state.full(params, &padded);
        if stop.load(Ordering::Relaxed) {
            return Err(SpeechError::Stopped);
        }
        done.map_err(|error| SpeechError::Engine(error.to_string()))?;
        let end_ms = u64::try_from(samples.len()).expect("a length fits in 64 bits") * 1000 / u64::from(SAMPLE_RATE);
        Ok(self.state.as_iter().map(|segment| heard(&segment, self.first_mark, end_ms)).collect())
    }
}

fn heard(segment: &WhisperSegment<'_>, first_mark: i32, end_ms: u64) -> Heard {
    let ms = |centiseconds: i64| (u64::try_from(centiseconds).unwrap_or_default() * 10).min(end_ms);
    let (mut words, mut log_sum, mut count) = (Vec::<(u64, u64, Vec<u8>)>::new(), 0.0, 0_u16);
    for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
        let data = token.token_data();
        let Ok(bytes) = token.to_bytes() else { continue };
        if data.id >= first_mark {
            continue;
        }
        log_sum += data.plog;
        count = count.saturating_add(1);
        match words.last_mut().filter(|_| !bytes.starts_with(b" ")) {
            Some((_, end, text)) => {
                text.extend(bytes);
                *end = ms(data.t1);
            }
            None => words.push((ms(data.t0), ms(data.t1), bytes.to_vec())),
        }
    }
    let word = |(start_ms, end_ms, text): (u64, u64, Vec<u8>)| Word {
        start_ms,
        end_ms: end_ms.max(start_ms),
        text: String::from_utf8_lossy(&text).trim().to_owned(),
    };
    let words: Vec<Word> = words.into_iter().map(word).filter(|word| !word.text.is_empty()).collect();
    let start_ms = ms(segment.start_timestamp());
    let segment_end_ms = ms(segment.end_timestamp()).max(start_ms);
    let text = words.iter().map(|word| &*word.text).collect::<Vec<_>>().join(" ");
    Heard {
        segment: Segment { start_ms, end_ms: segment_end_ms, text, words, channel: None },
        no_speech: segment.no_speech_probability(),
        log_probability: log_sum / f32::from(count.max(1)),
    }
}
