//! The embedded engine: whisper.cpp with the small English model, on one thread.
//!
//! # Decisions
//! - The model is loaded for each transcript and dropped after it: 0.3 s against 250 MB held while nobody speaks.
//! - One thread: a task takes one core's slot, and two threads on a busy machine are ten times slower.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperSegment, WhisperState,
    install_logging_hooks,
};

use super::{Answer, Form, Heard, LOCAL, SAMPLE_RATE, Segment, Session, SpeechError, Transcriber, Window, Word};

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

/// A loaded model; none after a call that was dropped, which took it along.
struct AtWork(Option<Loaded>);

/// Tells a thread to stop when whoever waits for it is gone.
struct StopWhenDropped(Arc<AtomicBool>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Transcriber for Whisper {
    fn name(&self) -> &'static str {
        LOCAL
    }

    fn model(&self) -> &'static str {
        "whisper-tiny.en"
    }

    fn form(&self) -> Form {
        Form::Samples
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SpeechError>> {
        let model = self.model.clone();
        Box::pin(async move {
            let loaded = tokio::task::spawn_blocking(move || Loaded::load(&model)).await;
            let loaded = loaded.map_err(|_| SpeechError::Load("it panicked".to_owned()))??;
            let session: Box<dyn Session> = Box::new(AtWork(Some(loaded)));
            Ok(session)
        })
    }
}

impl Session for AtWork {
    fn transcribe(&mut self, window: Window) -> BoxFuture<'_, Result<Answer, SpeechError>> {
        Box::pin(async move {
            let failed = |what: &str| SpeechError::Engine(what.to_owned());
            let Window::Samples(samples) = window else { return Err(failed("it takes samples")) };
            let mut loaded = self.0.take().ok_or_else(|| failed("its last call was dropped"))?;
            let stop = StopWhenDropped(Arc::new(AtomicBool::new(false)));
            let asked = stop.0.clone();
            let work = tokio::task::spawn_blocking(move || {
                let heard = loaded.listen(samples, asked);
                (loaded, heard)
            });
            let (loaded, heard) = work.await.map_err(|_| failed("it panicked"))?;
            self.0 = Some(loaded);
            Ok(Answer { heard: heard?, language: Some("en".to_owned()) })
        })
    }
}

impl Loaded {
    /// Blocks.
    fn load(model: &Path) -> Result<Self, SpeechError> {
        // Otherwise the engine writes its own lines to our stderr.
        install_logging_hooks();
        let load = |error: whisper_rs::WhisperError| SpeechError::Load(error.to_string());
        let context = WhisperContext::new_with_params(model, WhisperContextParameters::default()).map_err(load)?;
        let first_mark = context.token_eot();
        Ok(Self { state: context.create_state().map_err(load)?, first_mark })
    }

    /// Blocks; looks at `stop` between its steps, seconds apart.
    fn listen(&mut self, mut samples: Vec<f32>, stop: Arc<AtomicBool>) -> Result<Vec<Heard>, SpeechError> {
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
        // The binding calls back through the type given here, so it must be the boxed one that it stores.
        let abort: Box<dyn FnMut() -> bool> = Box::new(move || stop.load(Ordering::Relaxed));
        params.set_abort_callback_safe::<_, Box<dyn FnMut() -> bool>>(abort);
        let end_ms = u64::try_from(samples.len()).expect("a length fits in 64 bits") * 1000 / u64::from(SAMPLE_RATE);
        samples.resize(samples.len().max(SAMPLES_MIN), 0.0);
        self.state.full(params, &samples).map_err(|error| SpeechError::Engine(error.to_string()))?;
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
