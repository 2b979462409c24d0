//! Finds the chunks of the account's documents that fit a question best.
//!
//! Input `{"query", "limit"?}`; result `{"results": [{"document", "title", "chunk", "score", "start", "end",
//! "start_ms"?, "end_ms"?, "text"}], "embedding"}`: `start` and `end` are bytes of the document's text. Without an
//! embedding model, words alone decide and `embedding` is null.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::error::{MODEL_UNAVAILABLE, failed, invalid};
use super::library::{Hit, Library, Question};
use super::models::Models;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// Results when the client gives no limit, and the most it can ask for: their texts fit into one event.
const RESULTS: (u64, u64) = (10, 50);
/// The longest question. Longer ones are texts.
const QUESTION_BYTES_MAX: usize = 4096;

pub(crate) struct SearchRunner {
    pub(crate) models: Arc<Models>,
    pub(crate) library: Arc<Library>,
}

impl SearchRunner {
    async fn search(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let text = question_text(run, "query")?;
        let limit = run.input.get("limit").map_or(Some(RESULTS.0), Value::as_u64);
        let limit = limit.filter(|limit| (1..=RESULTS.1).contains(limit));
        let limit = limit.ok_or_else(|| invalid(format!("limit must be 1 to {}", RESULTS.1)))?;
        let question = question(&self.models, text, reporter).await?;
        let embedding = question.vector.as_ref().map(|(model, _)| model.clone());
        let hits = self.library.find(&run.account, question, usize::try_from(limit).unwrap_or(usize::MAX)).await?;
        Ok(json!({ "results": hits.iter().map(result).collect::<Vec<_>>(), "embedding": embedding }))
    }
}

impl Runner for SearchRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Search]
    }

    fn takes(&self) -> &'static [TaskKind] {
        &[] // The account's documents are listed by its replicas only.
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.search(run, reporter))
    }
}

/// The question in a task's input.
pub(crate) fn question_text(run: &TaskRun, field: &str) -> Result<String, TaskError> {
    let text = run.input.get(field).and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if text.is_empty() || text.len() > QUESTION_BYTES_MAX {
        return Err(invalid(format!("{field} must be a text of 1 to {QUESTION_BYTES_MAX} bytes")));
    }
    Ok(text.to_owned())
}

/// The question with its vector, when there is a model for it.
pub(crate) async fn question(models: &Models, text: String, reporter: &Reporter) -> Result<Question, TaskError> {
    let vector = match models.embedder(None) {
        Ok(model) => {
            let texts = [text.clone()];
            let mut embeddings = models.embed(&*model, &texts, reporter).await?;
            let vector = embeddings.vectors.pop().ok_or_else(|| failed("the model gave no vector"))?;
            Some((model.name().to_string(), vector))
        }
        Err(error) if error.code == MODEL_UNAVAILABLE => None,
        Err(error) => return Err(error),
    };
    Ok(Question { text, vector })
}

fn result(hit: &Hit) -> Value {
    let (reference, content) = (&hit.document.reference, &hit.document.content);
    let chunk = &content.chunks[hit.chunk];
    let mut result = json!({
        "document": reference.document,
        "title": reference.title,
        "chunk": hit.chunk,
        "score": hit.score,
        "start": chunk.bytes.start,
        "end": chunk.bytes.end,
        "text": &content.text[chunk.bytes.clone()],
    });
    if let Some(time) = chunk.time {
        result["start_ms"] = json!(time.start_ms);
        result["end_ms"] = json!(time.end_ms);
    }
    result
}
