//! Answers a question from the account's documents, and says from where.
//!
//! Input `{"question", "model"?}`; result `{"answer", "citations": [{"document", "title", "chunk", "start", "end",
//! "start_ms"?, "end_ms"?, "text"}], "model", "source"}`. `source` is `model` when the model's own words stood the
//! check (A2), `quote` when the best sentence is given instead, `none` when no document fits (then `answer` is null).

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::error::invalid;
use super::library::{Hit, Library};
use super::models::Models;
use super::provider::{ChatModel, ChatRequest, Message, Role};
use super::search::{question, question_text};
use crate::domain::budget::SHORT_ANSWER_TOKENS;
use crate::domain::search::{Places, TermSet};
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// Chunks the model is shown. More distract a small model and slow it down.
const CHUNKS: usize = 3;
/// Sentences cited.
const CITATIONS_MAX: usize = 3;
/// Share of an answer's content words that one place of the shown chunks must have, and how many sentences a place is.
const BACKED_MIN: f64 = 0.8;
const PLACE_SENTENCES: usize = 2;
/// A further sentence is cited when it is at least this good compared with the best one.
const FURTHER_MIN: f64 = 0.6;

const INSTRUCTIONS: &str = "Answer the question in one short sentence, using only words from the text.";

pub(crate) struct AnswerRunner {
    pub(crate) models: Arc<Models>,
    pub(crate) library: Arc<Library>,
}

/// A sentence of a shown chunk.
struct Sentence<'a> {
    hit: &'a Hit,
    segment: usize,
    text: &'a str,
    terms: TermSet,
}

impl AnswerRunner {
    async fn answer(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let text = question_text(run, "question")?;
        let asked = run.input.get("model").map(|model| model.as_str().ok_or_else(|| invalid("model must be a string")));
        let model = self.models.chat_model(asked.transpose()?)?;
        reporter.progress(0.1, "searching");
        let asked = question(&self.models, text.clone(), reporter).await?;
        let hits = self.library.find(&run.account, asked, CHUNKS).await?;
        let name = model.name().to_string();
        if hits.is_empty() {
            return Ok(json!({ "answer": null, "citations": [], "model": name, "source": "none" }));
        }
        reporter.progress(0.3, "answering");
        let said = self.ask(&*model, &text, &hits, reporter).await?;
        let sentences = sentences(&hits);
        let (answer, source) = match backed(&said, &text, &sentences) {
            true => (said, "model"),
            false => {
                (best(&sentences, &TermSet::of(&text)).map_or(String::new(), |best| best.text.to_owned()), "quote")
            }
        };
        let citations: Vec<Value> = cited(&sentences, &answer, &text).into_iter().map(citation).collect();
        Ok(json!({ "answer": answer, "citations": citations, "model": name, "source": source }))
    }

    async fn ask(
        &self,
        model: &dyn ChatModel,
        question: &str,
        hits: &[Hit],
        reporter: &Reporter,
    ) -> Result<String, TaskError> {
        let shown: Vec<&str> = hits.iter().map(chunk_text).collect();
        let ask = |text: &str, question: &str| format!("Text:\n{text}\n\nQuestion: {question}");
        let messages = vec![
            Message::new(Role::System, INSTRUCTIONS),
            Message::new(Role::User, ask("the shop opens at nine and ben has the keys", "Who has the keys?")),
            Message::new(Role::Assistant, "Ben has the keys."),
            Message::new(Role::User, ask(&shown.join("\n"), question)),
        ];
        let request = ChatRequest { messages, max_tokens: SHORT_ANSWER_TOKENS, temperature: 0.0 };
        let answer = self.models.chat(model, &request, reporter, &mut |_| {}).await?;
        Ok(answer.text.lines().next().unwrap_or_default().trim().to_owned())
    }
}

impl Runner for AnswerRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Answer]
    }

    fn takes(&self) -> &'static [TaskKind] {
        &[] // The account's documents are listed by its replicas only.
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.answer(run, reporter))
    }
}

fn chunk_text(hit: &Hit) -> &str {
    let content = &hit.document.content;
    &content.text[content.chunks[hit.chunk].bytes.clone()]
}

fn sentences<'a>(hits: &'a [Hit]) -> Vec<Sentence<'a>> {
    let of_hit = |hit: &'a Hit| {
        let content = &hit.document.content;
        content.chunks[hit.chunk].segments.clone().map(move |segment| {
            let text = &content.text[content.segments[segment].bytes.clone()];
            Sentence { hit, segment, text, terms: TermSet::of(text) }
        })
    };
    hits.iter().flat_map(of_hit).collect()
}

/// Whether what the model said, beyond repeating the question, is in a place it was shown that is about the question.
fn backed(said: &str, question: &str, sentences: &[Sentence<'_>]) -> bool {
    let question = TermSet::of(question);
    let new = TermSet::of(said).without(&question);
    let shown: Vec<&str> = sentences.iter().map(|sentence| sentence.text).collect();
    Places::of(&shown, PLACE_SENTENCES).about(&question).back(&new) >= BACKED_MIN
}

/// The sentence that shares most with these terms; the first of equals.
fn best<'s, 'a>(sentences: &'s [Sentence<'a>], wanted: &TermSet) -> Option<&'s Sentence<'a>> {
    let fit = |sentence: &Sentence<'_>| wanted.shared(&sentence.terms);
    sentences.iter().rev().max_by(|a, b| fit(a).total_cmp(&fit(b)))
}

/// The sentences that hold the answer: the best ones by the answer's words, the question's counting half.
fn cited<'s, 'a>(sentences: &'s [Sentence<'a>], answer: &str, question: &str) -> Vec<&'s Sentence<'a>> {
    let (answer, question) = (TermSet::of(answer), TermSet::of(question));
    let new = answer.without(&question);
    let fit = |sentence: &Sentence<'_>| {
        answer.shared(&sentence.terms) + new.shared(&sentence.terms) + 0.5 * question.shared(&sentence.terms)
    };
    let mut fits: Vec<(f64, &Sentence<'_>)> = sentences.iter().map(|sentence| (fit(sentence), sentence)).collect();
    fits.sort_by(|a, b| b.0.total_cmp(&a.0)); // Stable: equal sentences keep their order.
    let enough = fits.first().map_or(0.0, |(best, _)| best * FURTHER_MIN);
    let good = fits.into_iter().enumerate().filter(|(at, (fit, _))| *at == 0 || (*fit >= enough && *fit > 0.0));
    good.map(|(_, (_, sentence))| sentence).take(CITATIONS_MAX).collect()
}

fn citation(sentence: &Sentence<'_>) -> Value {
    let document = &sentence.hit.document;
    let segment = &document.content.segments[sentence.segment];
    let mut citation = json!({
        "document": document.reference.document,
        "title": document.reference.title,
        "chunk": sentence.hit.chunk,
        "start": segment.bytes.start,
        "end": segment.bytes.end,
        "text": sentence.text,
    });
    if let Some(time) = segment.time {
        citation["start_ms"] = json!(time.start_ms);
        citation["end_ms"] = json!(time.end_ms);
    }
    citation
}
