//! Shortens a text and lists its action items: part by part, then the parts' summaries together.
//!
//! Input `{"text" or "segments", "model"?}`, or the job's transcript; result `{"status": "ok", "summary", "action_items",
//! "model", "source"}`. `source` is `model`, or `quote` when the text's own sentences stand in for a summary that failed the
//! check (A2), or `none` for a text without words. In a job that makes a transcript, a missing model or
//! transcript does not fail the job: the result is `{"status": "unavailable", "reason"}`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{gives_way, invalid};
use super::index::share;
use super::models::Models;
use super::notes::{SUMMARY_PLACE, add_items, kept_items, kept_summary, quoted_summary};
use super::provider::{ChatModel, ChatRequest, Message, Role};
use super::source::{SourceText, source_text};
use crate::blob::BlobStore;
use crate::domain::budget::{NOTES_TOKENS_MAX, estimate_tokens};
use crate::domain::search::Places;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// Parts of one text; more would keep a core busy for an hour.
const PARTS_MAX: usize = 256;
/// A shorter text is its own summary.
const SUMMARY_WORDS_MIN: usize = 12;
/// Rounds of summarising summaries. Each makes the text at least four times shorter.
const ROUNDS_MAX: usize = 6;

pub(crate) struct SummarizeRunner {
    pub(crate) models: Arc<Models>,
    pub(crate) blobs: BlobStore,
}

/// What is known of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Notes {
    summary: String,
    quoted: bool,
    items: Vec<String>,
}

/// Where a later attempt goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Checkpoint {
    /// Hash of text and model: notes on another text are not used.
    of: String,
    parts: Vec<Notes>,
}

/// One attempt: the model and the line to the worker.
struct Summarizing<'a> {
    models: &'a Models,
    model: &'a dyn ChatModel,
    reporter: &'a Reporter,
}

impl SummarizeRunner {
    async fn summarize(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let source = source_text(run, &self.blobs).await?;
        let asked = run.input.get("model").map(|model| model.as_str().ok_or_else(|| invalid("model must be a string")));
        let model = self.models.chat_model(asked.transpose()?)?;
        let name = model.name().to_string();
        if source.segments.is_empty() {
            return Ok(json!({ "status": "ok", "summary": "", "action_items": [], "model": name, "source": "none" }));
        }
        let work = Summarizing { models: &self.models, model: &*model, reporter };
        let notes = work.parts(run, &source).await?;
        reporter.progress(0.9, "joining the parts");
        let (summary, quoted) = work.join(&source, &notes).await?;
        let mut items = vec![];
        for notes in notes {
            add_items(&mut items, notes.items);
        }
        let source = if quoted { "quote" } else { "model" };
        Ok(json!({ "status": "ok", "summary": summary, "action_items": items, "model": name, "source": source }))
    }
}

impl Runner for SummarizeRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Summarize]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.models.chat_model(None).is_ok() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(async { self.summarize(run, reporter).await.or_else(|error| gives_way(run, error)) })
    }
}

impl Summarizing<'_> {
    /// Notes on every part, going on where an earlier attempt stopped.
    async fn parts(&self, run: &TaskRun, source: &SourceText) -> Result<Vec<Notes>, TaskError> {
        let segments: Vec<&str> = source.segments.iter().map(|segment| &source.text[segment.bytes.clone()]).collect();
        let parts = parts(&segments, self.model.text_tokens_max());
        if parts.len() > PARTS_MAX {
            return Err(invalid(format!("the text has {} parts; the most is {PARTS_MAX}", parts.len())));
        }
        let of = format!("{}:{}", self.model.name(), blake3::hash(source.text.as_bytes()).to_hex());
        let earlier = run.checkpoint.as_ref().and_then(|state| Checkpoint::deserialize(state).ok());
        let mut done = earlier.filter(|earlier| earlier.of == of).map_or(vec![], |earlier| earlier.parts);
        done.truncate(parts.len());
        for (at, part) in parts.iter().enumerate().skip(done.len()) {
            self.reporter.progress(0.9 * share(at, parts.len()), format!("reading part {} of {}", at + 1, parts.len()));
            done.push(self.notes(part).await?);
            let state = Checkpoint { of: of.clone(), parts: done.clone() };
            self.reporter.checkpoint(json!(state)).await;
        }
        Ok(done)
    }

    async fn notes(&self, part: &[&str]) -> Result<Notes, TaskError> {
        let text = part.join("\n");
        let (summary, quoted) = self.summary(&text, &Places::of(part, SUMMARY_PLACE), part).await?;
        let items = self.ask(&ITEMS, &text).await?;
        Ok(Notes { summary, quoted, items: kept_items(&items, part, self.model.is_small()) })
    }

    /// The parts' summaries as one, checked against the whole text.
    async fn join(&self, source: &SourceText, notes: &[Notes]) -> Result<(String, bool), TaskError> {
        let segments: Vec<&str> = source.segments.iter().map(|segment| &source.text[segment.bytes.clone()]).collect();
        let whole = Places::of(&segments, SUMMARY_PLACE);
        let mut summaries: Vec<(String, bool)> =
            notes.iter().map(|notes| (notes.summary.clone(), notes.quoted)).collect();
        for _ in 0..ROUNDS_MAX {
            if summaries.len() <= 1 {
                break;
            }
            let texts: Vec<&str> = summaries.iter().map(|(summary, _)| summary.as_str()).collect();
            let mut shorter = vec![];
            for group in parts(&texts, self.model.text_tokens_max()) {
                shorter.push(self.summary(&group.join("\n"), &whole, &group).await?);
            }
            summaries = shorter;
        }
        let quoted = summaries.iter().any(|(_, quoted)| *quoted);
        let texts: Vec<String> = summaries.into_iter().map(|(summary, _)| summary).collect();
        Ok((texts.join(" "), quoted))
    }

    /// A summary that `source` backs, else the text's own main sentences; and whether it is these.
    async fn summary(&self, text: &str, source: &Places, segments: &[&str]) -> Result<(String, bool), TaskError> {
        if text.split_whitespace().count() < SUMMARY_WORDS_MIN {
            return Ok((segments.join(" "), true));
        }
        let said = self.ask(&SUMMARY, text).await?;
        Ok(match kept_summary(&said, source) {
            Some(summary) => (summary, false),
            None => (quoted_summary(segments.iter().copied()), true),
        })
    }

    async fn ask(&self, prompt: &Prompt, text: &str) -> Result<String, TaskError> {
        let ask = |text: &str| format!("{}\n\n{text}", prompt.ask);
        let mut messages = vec![Message::new(Role::System, prompt.instructions)];
        for (text, answer) in prompt.examples {
            messages.push(Message::new(Role::User, ask(text)));
            messages.push(Message::new(Role::Assistant, *answer));
        }
        messages.push(Message::new(Role::User, ask(text)));
        let request = ChatRequest { messages, max_tokens: NOTES_TOKENS_MAX, temperature: 0.0 };
        Ok(self.models.chat(self.model, &request, self.reporter, &mut |_| {}).await?.text)
    }
}

/// Instructions for one kind of note. The examples matter most to a small model.
struct Prompt {
    instructions: &'static str,
    ask: &'static str,
    examples: &'static [(&'static str, &'static str)],
}

const SUMMARY: Prompt = Prompt {
    instructions: "You write short, factual summaries of conversations. Use only what the text says.",
    ask: "Summarize this text in two sentences:",
    examples: &[],
};

const ITEMS: Prompt = Prompt {
    instructions: "You list the tasks people agreed to do. One task a line, starting with a dash. If there are none, write None.",
    ask: "List the tasks in this text:",
    examples: &[
        (
            "The pool was cold today. I'll call the plumber on Monday.\nThanks. Can you also bring towels?\nYes.",
            "- call the plumber on Monday\n- bring towels",
        ),
        ("The old house stood on a hill. It was a cold winter.", "None"),
    ],
};

/// Neighbouring texts in groups of at most `tokens_max` tokens; a longer text is a group of its own.
fn parts<'a>(texts: &[&'a str], tokens_max: usize) -> Vec<Vec<&'a str>> {
    let mut parts: Vec<Vec<&str>> = vec![];
    let mut room = 0;
    for text in texts {
        let tokens = estimate_tokens(text);
        match parts.last_mut() {
            Some(part) if tokens <= room => part.push(text),
            Some(_) | None => {
                parts.push(vec![text]);
                room = tokens_max;
            }
        }
        room = room.saturating_sub(tokens);
    }
    parts
}
