//! What a task will about need, by what its job says: tokens of the calls it makes, minutes of the recording it works through.
//!
//! Estimates err on the side of more. Where a text is not known yet they go by the length of the recording, and where that
//! is not known by [`RECORDING_MS_USUAL`].

use serde_json::Value;

use super::{Amounts, Tariff};
use crate::domain::job::{ClipAsked, Job, JobKind};
use crate::domain::task::{TaskId, TaskKind};

/// Tokens of an answer when the client gives no limit.
pub(crate) const ANSWER_TOKENS_DEFAULT: u32 = 256;
/// The longest answer: it travels in an event of at most 64 KiB.
pub(crate) const ANSWER_TOKENS_MAX: u32 = 8192;
/// Tokens of a summary and of a list of items.
pub(crate) const NOTES_TOKENS_MAX: u32 = 120;
/// Text in one question to a model of a service; every one on the market takes more.
pub(crate) const REMOTE_TEXT_TOKENS_MAX: usize = 8000;

/// What a recording counts for whose length nobody has said.
const RECORDING_MS_USUAL: u64 = 60 * 60 * 1_000;
/// Bytes of text that a second of speech becomes, at most.
const SPEECH_BYTES_PER_S: u64 = 20;
/// Tokens that a message has beside its text.
const MESSAGE_TOKENS: u64 = 8;
/// Text in one question to a local model.
const LOCAL_TEXT_TOKENS: u64 = 900;
/// Tokens of instructions and examples around a part that is summarised, in all its calls.
const PART_INPUT_TOKENS: u64 = 600;
/// Calls for a part: a summary, a list of items, and its share of joining them.
const PART_CALLS: u64 = 3;
/// Tokens of the chunks that an answer is made of, with instructions.
const SHOWN_TOKENS: u64 = 800;
/// Tokens of an answer from documents.
pub(crate) const SHORT_ANSWER_TOKENS: u32 = 80;
/// Texts that services take in one request.
const EMBEDDED_AT_ONCE: u64 = 32;
/// The fewest tokens of a chunk that is embedded.
const CHUNK_TOKENS_MIN: u64 = 60;

/// Calls of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// As `provider/model`.
    pub model: String,
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// What a task will about need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub calls: Vec<Call>,
    pub video_ms: u64,
}

/// About how many tokens a text has; errs on the side of more.
#[must_use]
pub fn estimate_tokens(text: &str) -> usize {
    let words = text.split_whitespace().count();
    (words * 3 / 2).max(text.len() / 4) + 1
}

impl Needs {
    /// Of a task of a job, as far as its other tasks have come.
    #[must_use]
    pub fn of_task(job: &Job, task: TaskId, tariff: &Tariff) -> Self {
        let result = |kind: TaskKind| job.tasks.get(&kind.whole()).and_then(|task| task.result.as_ref());
        let is_split = job.tasks.keys().any(|task| task.kind.is_piece());
        let (probe, transcript) = (result(TaskKind::Probe), result(TaskKind::Transcript));
        let calls = calls(task.kind, &job.input, probe, transcript, tariff);
        Self { calls, video_ms: video_ms(task, &job.input, probe, is_split) }
    }

    /// Of a job that is asked for, as far as its input alone tells.
    #[must_use]
    pub fn of_request(kind: JobKind, input: &Value, tariff: &Tariff) -> Self {
        match kind {
            JobKind::Single(task) => Self { calls: calls(task, input, None, None, tariff), video_ms: 0 },
            JobKind::Media(TaskKind::Clip) => Self { calls: vec![], video_ms: clip_ms(input).unwrap_or_default() },
            JobKind::Media(_) | JobKind::Call => Self::default(),
        }
    }

    /// In the units of budgets.
    #[must_use]
    pub fn amounts(&self, tariff: &Tariff) -> Amounts {
        let of = |call: &Call| Amounts {
            money_micros: tariff.cost(&call.model, call.input_tokens, call.output_tokens),
            tokens: call.input_tokens.saturating_add(call.output_tokens),
            video_ms: 0,
        };
        Amounts::sum(self.calls.iter().map(of)).plus(Amounts { video_ms: self.video_ms, ..Amounts::NONE })
    }
}

fn calls(
    kind: TaskKind,
    input: &Value,
    probe: Option<&Value>,
    transcript: Option<&Value>,
    tariff: &Tariff,
) -> Vec<Call> {
    let asked = |default: &str| input.get("model").and_then(Value::as_str).unwrap_or(default).to_owned();
    let call = |model, requests, input_tokens, output_tokens| Call { model, requests, input_tokens, output_tokens };
    let question = |field: &str| tokens_of(input.get(field));
    match kind {
        TaskKind::Chat => vec![call(asked(&tariff.default_chat), 1, conversation(input), answer_tokens(input))],
        TaskKind::Embed => {
            let texts = input.get("input").map_or(0, |texts| texts.as_array().map_or(1, Vec::len));
            let requests = count(texts).div_ceil(EMBEDDED_AT_ONCE);
            vec![call(asked(&tariff.default_embed), requests, tokens_of(input.get("input")), 0)]
        }
        TaskKind::Summarize => {
            let (model, text) = (asked(&tariff.default_chat), text_tokens(input, probe, transcript));
            let is_local = model.starts_with("local/");
            let part = if is_local { LOCAL_TEXT_TOKENS } else { count(REMOTE_TEXT_TOKENS_MAX) };
            // A sentence that does not fit begins a part, so parts are not full.
            let parts = (text + text / 4).div_ceil(part).max(1);
            let (input_tokens, requests) = (2 * text + PART_INPUT_TOKENS * parts, PART_CALLS * parts);
            vec![call(model, requests, input_tokens, requests * u64::from(NOTES_TOKENS_MAX))]
        }
        TaskKind::Index => {
            let text = text_tokens(input, probe, transcript);
            let requests = (text / CHUNK_TOKENS_MIN).div_ceil(EMBEDDED_AT_ONCE).max(1);
            vec![call(asked(&tariff.default_embed), requests, text, 0)]
        }
        TaskKind::Search => vec![call(tariff.default_embed.clone(), 1, question("query"), 0)],
        TaskKind::Answer => {
            let question = question("question");
            let embedded = call(tariff.default_embed.clone(), 1, question, 0);
            vec![embedded, call(asked(&tariff.default_chat), 1, question + SHOWN_TOKENS, SHORT_ANSWER_TOKENS.into())]
        }
        TaskKind::Fetch
        | TaskKind::Probe
        | TaskKind::Normalize
        | TaskKind::Thumbnail
        | TaskKind::Transcript
        | TaskKind::Encode
        | TaskKind::Sound
        | TaskKind::Hls
        | TaskKind::Audio
        | TaskKind::Storyboard
        | TaskKind::Clip => vec![],
    }
}

/// What a task counts for that works through a recording. Of one that is encoded in pieces each piece counts for itself.
fn video_ms(task: TaskId, input: &Value, probe: Option<&Value>, is_split: bool) -> u64 {
    let whole = || recording_ms(probe).unwrap_or(RECORDING_MS_USUAL);
    match task.kind {
        TaskKind::Normalize if is_split => 0,
        TaskKind::Normalize | TaskKind::Transcript | TaskKind::Hls | TaskKind::Audio | TaskKind::Storyboard => whole(),
        TaskKind::Encode => piece_ms(probe, task.part).unwrap_or_else(whole),
        TaskKind::Clip => clip_ms(input).unwrap_or_else(whole).min(recording_ms(probe).unwrap_or(u64::MAX)),
        TaskKind::Fetch
        | TaskKind::Probe
        | TaskKind::Thumbnail
        | TaskKind::Sound
        | TaskKind::Summarize
        | TaskKind::Index
        | TaskKind::Chat
        | TaskKind::Embed
        | TaskKind::Search
        | TaskKind::Answer => 0,
    }
}

fn recording_ms(probe: Option<&Value>) -> Option<u64> {
    probe?.get("duration_ms")?.as_u64()
}

/// Planned by the probe: `[start_us, frames, duration_us]`.
fn piece_ms(probe: Option<&Value>, part: u16) -> Option<u64> {
    let plan = probe?.get("split")?.get("plan")?.as_array()?;
    let piece = plan.get(usize::from(part).checked_sub(1)?)?;
    Some(piece.get(2)?.as_u64()? / 1_000)
}

fn clip_ms(input: &Value) -> Option<u64> {
    ClipAsked::of_input(input).ok().map(|clip| clip.end_ms - clip.start_ms)
}

fn conversation(input: &Value) -> u64 {
    let messages = input.get("messages").and_then(Value::as_array);
    messages.into_iter().flatten().map(|message| tokens_of(message.get("content")) + MESSAGE_TOKENS).sum()
}

fn answer_tokens(input: &Value) -> u64 {
    let asked = input.get("max_tokens").and_then(Value::as_u64).unwrap_or(ANSWER_TOKENS_DEFAULT.into());
    asked.clamp(1, ANSWER_TOKENS_MAX.into())
}

/// Of the text that a task works on: its input's, or the transcript of its job.
fn text_tokens(input: &Value, probe: Option<&Value>, transcript: Option<&Value>) -> u64 {
    let given = |of: &Value| tokens_of(of.get("text")).max(tokens_of(of.get("segments")));
    let Some(transcript) = transcript.filter(|_| input.get("text").is_none()) else { return given(input) };
    if transcript.get("text_complete").and_then(Value::as_bool) == Some(false) {
        let spoken_s =
            recording_ms(Some(transcript)).or_else(|| recording_ms(probe)).unwrap_or(RECORDING_MS_USUAL) / 1_000;
        return given(transcript).max(spoken_s * SPEECH_BYTES_PER_S / 4);
    }
    given(transcript)
}

/// Of all texts in a value.
fn tokens_of(value: Option<&Value>) -> u64 {
    match value {
        Some(Value::String(text)) => count(estimate_tokens(text)),
        Some(Value::Array(items)) => items.iter().map(|item| tokens_of(Some(item))).sum(),
        // A segment, with its words beside its text.
        Some(Value::Object(fields)) => tokens_of(fields.get("text")),
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => 0,
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use steward_cluster::clock::Timestamp;

    use super::*;
    use crate::domain::job::{Split, TaskState};

    fn tariff() -> Tariff {
        Tariff { default_chat: "local/chat".to_owned(), default_embed: "p/embed".to_owned(), ..Tariff::default() }
    }

    fn of(kind: &str, input: Value) -> Needs {
        Needs::of_request(JobKind::parse(kind).unwrap(), &input, &tariff())
    }

    #[test]
    fn calls_are_estimated_from_what_the_job_says() {
        let call = |model: &str, requests, input_tokens, output_tokens| Call {
            model: model.to_owned(),
            requests,
            input_tokens,
            output_tokens,
        };
        let text = "word ".repeat(1_000);
        let chat = json!({"messages": [{"role": "user", "content": "one two"}], "model": "p/m", "max_tokens": 99_999});
        let table = [
            ("chat", chat, vec![call("p/m", 1, 4 + 8, 8192)]),
            ("chat", json!({"messages": []}), vec![call("local/chat", 1, 0, 256)]),
            ("embed", json!({"input": ["one two", "three"]}), vec![call("p/embed", 1, 4 + 2, 0)]),
            ("summarize", json!({"text": text}), vec![call("local/chat", 9, 2 * 1_501 + 1_800, 9 * 120)]),
            ("summarize", json!({"text": text, "model": "p/m"}), vec![call("p/m", 3, 2 * 1_501 + 600, 3 * 120)]),
            (
                "index",
                json!({"segments": [{"start_ms": 0, "end_ms": 1, "text": "one two"}]}),
                vec![call("p/embed", 1, 4, 0)],
            ),
            ("search", json!({"query": "one two"}), vec![call("p/embed", 1, 4, 0)]),
            ("answer", json!({"question": "one two"}), vec![call("p/embed", 1, 4, 0), call("local/chat", 1, 804, 80)]),
            ("call", json!({"blob": "x"}), vec![]),
        ];
        for (kind, input, want) in table {
            assert_eq!(of(kind, input).calls, want, "{kind}");
        }
    }

    #[test]
    fn a_recording_counts_once_for_each_task_that_works_through_it() {
        let mut job = Job::requested(JobKind::parse("hls").unwrap(), json!({"blob": "x"}), 1, 0, Timestamp(1));
        let ms = |job: &Job, task: TaskId| Needs::of_task(job, task, &tariff()).video_ms;
        assert_eq!(ms(&job, TaskKind::Normalize.whole()), RECORDING_MS_USUAL, "nobody has looked");
        let probe = job.tasks.get_mut(&TaskKind::Probe.whole()).unwrap();
        probe.state = TaskState::Succeeded;
        probe.result = Some(
            json!({"duration_ms": 50_000, "split": {"plan": [[0, 900, 30_000_000], [30_000_000, 600, 20_000_000]]}}),
        );
        assert_eq!(ms(&job, TaskKind::Normalize.whole()), 50_000);
        job.split(Split { chunks: 2, has_sound: true });
        let pieces =
            [TaskKind::Encode.part(1), TaskKind::Encode.part(2), TaskKind::Sound.whole(), TaskKind::Normalize.whole()];
        assert_eq!(pieces.map(|task| ms(&job, task)), [30_000, 20_000, 0, 0]);
        assert_eq!(ms(&job, TaskKind::Hls.whole()), 50_000);
        assert_eq!((ms(&job, TaskKind::Fetch.whole()), ms(&job, TaskKind::Probe.whole())), (0, 0));
        assert_eq!(of("clip", json!({"start_ms": 5, "end_ms": 9_005})).video_ms, 9_000);
    }

    #[test]
    fn a_transcript_that_was_cut_counts_by_the_time_that_was_spoken() {
        let mut job = Job::requested(JobKind::Call, json!({"blob": "x"}), 1, 0, Timestamp(1));
        let mut tokens = |transcript: Value| {
            job.tasks.get_mut(&TaskKind::Transcript.whole()).unwrap().result = Some(transcript);
            Needs::of_task(&job, TaskKind::Index.whole(), &tariff()).calls[0].input_tokens
        };
        assert_eq!(tokens(json!({"text": "one two", "text_complete": true, "duration_ms": 3_600_000})), 4);
        assert_eq!(tokens(json!({"text": "one two", "text_complete": false, "duration_ms": 3_600_000})), 18_000);
    }
}
