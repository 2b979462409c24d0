//! Turns texts into vectors.
//!
//! Input `{"input": text or [texts], "model"?}`; result `{"embeddings": [[...]], "model", "dimensions",
//! "usage": {"input_tokens"}}`. When that is too large for an event, `embeddings` is in the JSON file `blob` instead.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::invalid;
use super::models::Models;
use super::saved::save;
use crate::blob::BlobStore;
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// Texts of one task.
const TEXTS_MAX: usize = 256;
/// Results travel in events of at most 64 KiB; larger ones become a blob.
const RESULT_BYTES_MAX: usize = 48 << 10;
/// Digits kept of a coordinate: as many as the models agree on between machines.
const DIGITS: f64 = 1e6;

#[derive(Deserialize)]
struct Input {
    input: Texts,
    model: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

pub(crate) struct EmbedRunner {
    pub(crate) models: Arc<Models>,
    pub(crate) blobs: BlobStore,
}

impl EmbedRunner {
    async fn embed(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let input =
            Input::deserialize(&run.input).map_err(|_| invalid("embed: input must be a text or a list of texts"))?;
        let texts = match input.input {
            Texts::One(text) => vec![text],
            Texts::Many(texts) => texts,
        };
        if texts.is_empty() || texts.len() > TEXTS_MAX {
            return Err(invalid(format!("embed takes 1 to {TEXTS_MAX} texts, not {}", texts.len())));
        }
        let model = self.models.embedder(input.model.as_deref())?;
        reporter.progress(0.0, "embedding");
        let embeddings = self.models.embed(&*model, &texts, reporter).await?;
        let rows: Vec<Vec<f64>> = embeddings.vectors.iter().map(|vector| rounded(vector)).collect();
        let mut result = json!({
            "dimensions": rows.first().map_or(0, Vec::len),
            "model": model.name().to_string(),
            "usage": { "input_tokens": embeddings.input_tokens },
        });
        let rows = json!(rows);
        let bytes = rows.to_string().into_bytes();
        if bytes.len() > RESULT_BYTES_MAX {
            let blob = save(run, &self.blobs, "embeddings", bytes).await?;
            result["blob"] = json!(blob.hash.as_str());
        } else {
            result["embeddings"] = rows;
        }
        Ok(result)
    }
}

fn rounded(vector: &[f32]) -> Vec<f64> {
    vector.iter().map(|x| (f64::from(*x) * DIGITS).round() / DIGITS).collect()
}

impl Runner for EmbedRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Embed]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.models.embedder(None).is_ok() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.embed(run, reporter))
    }
}
