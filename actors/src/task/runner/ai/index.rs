//! Makes a text searchable: cut into chunks, embedded, stored as one blob.
//!
//! Input `{"text" or "segments": [{"start_ms", "end_ms", "text"}], "title"?, "document"?, "model"?}`, or the job's
//! transcript; result `{"status": "ok", "document", "blob", "chunks", "title", "embedding"}`. Without an embedding model, and when the
//! task named none, the document is searchable by words alone and `embedding` is null with a `reason` (A1). In a job whose recording
//! has no transcript the result is `{"status": "unavailable", "reason"}`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::document::{self, Vectors};
use super::error::{MODEL_UNAVAILABLE, failed, gives_way, invalid};
use super::models::Models;
use super::saved::save;
use super::source::{SourceText, source_text, title};
use crate::blob::BlobStore;
use crate::domain::search::{Chunk, Rows, cut};
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// Chunks embedded in one call, between two notes of progress.
const CALL_CHUNKS: usize = 32;

pub(crate) struct IndexRunner {
    pub(crate) models: Arc<Models>,
    pub(crate) blobs: BlobStore,
}

impl IndexRunner {
    async fn index(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let source = source_text(run, &self.blobs).await?;
        let title = title(run, &source);
        let chunks = cut(&source.text, &source.segments);
        let (vectors, reason) = match self.vectors(run, reporter, &source, &chunks).await {
            Ok(vectors) => (vectors, None),
            Err(error) if error.code == MODEL_UNAVAILABLE && run.input.get("model").is_none() => {
                (None, Some(error.message))
            }
            Err(error) => return Err(error),
        };
        reporter.progress(0.95, "storing");
        let bytes = document::encode(&title, &source.text, &source.segments, &chunks, vectors.as_ref());
        let blob = save(run, &self.blobs, "document", bytes).await?;
        let mut result = json!({
            "status": "ok",
            "document": run.input.get("document").and_then(Value::as_str).unwrap_or(run.job.as_str()),
            "blob": blob.hash.as_str(),
            "chunks": chunks.len(),
            "title": title,
            "embedding": vectors.map(|vectors| vectors.model),
        });
        if let Some(reason) = reason {
            result["reason"] = json!(reason);
        }
        Ok(result)
    }

    async fn vectors(
        &self,
        run: &TaskRun,
        reporter: &Reporter,
        source: &SourceText,
        chunks: &[Chunk],
    ) -> Result<Option<Vectors>, TaskError> {
        let asked = run.input.get("model").map(|model| model.as_str().ok_or_else(|| invalid("model must be a string")));
        let model = self.models.embedder(asked.transpose()?)?;
        let texts: Vec<String> = chunks.iter().map(|chunk| source.text[chunk.bytes.clone()].to_owned()).collect();
        let calls = texts.len().div_ceil(CALL_CHUNKS);
        let mut vectors = vec![];
        for (call, texts) in texts.chunks(CALL_CHUNKS).enumerate() {
            reporter.progress(0.9 * share(call, calls), format!("embedding part {} of {calls}", call + 1));
            vectors.extend(self.models.embed(&*model, texts, reporter).await?.vectors);
        }
        if vectors.is_empty() {
            return Ok(None);
        }
        let rows = Rows::quantize(&vectors).ok_or_else(|| failed("the model gave vectors of different lengths"))?;
        Ok(Some(Vectors { model: model.name().to_string(), rows }))
    }
}

impl Runner for IndexRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Index]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.models.embedder(None).is_ok() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(async { self.index(run, reporter).await.or_else(|error| gives_way(run, error)) })
    }
}

/// `part` of `whole`, 0 to 1.
pub(crate) fn share(part: usize, whole: usize) -> f32 {
    let small = |n: usize| f32::from(u16::try_from(n).unwrap_or(u16::MAX));
    if whole == 0 { 0.0 } else { (small(part) / small(whole)).min(1.0) }
}
