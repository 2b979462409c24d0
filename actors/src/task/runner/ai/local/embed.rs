//! MiniLM-L6: turns sentences into vectors of 384 numbers.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use futures_util::future::BoxFuture;
use tokenizers::{Encoding, Tokenizer, TruncationParams};
use tokio_util::sync::CancellationToken;

use super::super::error::{cancelled, failed};
use super::super::provider::{Embedder, Embeddings, ModelName};
use super::alone::alone;
use super::present::Lazy;
use crate::task::runner::TaskError;

/// The model was trained on texts up to this long; the rest of a longer one is not seen.
const TEXT_TOKENS_MAX: usize = 256;
/// Texts computed together, between two looks at the stop flag.
const BATCH_TEXTS: usize = 8;

/// The embedding model as runners see it.
pub(super) struct LocalEmbedder {
    pub(super) name: ModelName,
    pub(super) lazy: Arc<Lazy<MiniLm>>,
}

impl Embedder for LocalEmbedder {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Embeddings, TaskError>> {
        let texts = texts.to_vec();
        Box::pin(self.lazy.call(move |model, stop| model.embed(&texts, stop)))
    }
}

/// The loaded weights.
pub(super) struct MiniLm {
    weights: BertModel,
    tokenizer: Tokenizer,
}

impl MiniLm {
    /// Reads the folder.
    pub(super) fn load(folder: &Path) -> Result<Self, String> {
        let read = |name: &str| fs::read(folder.join(name)).map_err(|error| format!("{name}: {}", error.kind()));
        let config: Config = serde_json::from_slice(&read("config.json")?).map_err(|error| error.to_string())?;
        let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?).map_err(|error| error.to_string())?;
        let truncation = TruncationParams { max_length: TEXT_TOKENS_MAX, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| error.to_string())?.with_padding(None);
        let tensors = VarBuilder::from_buffered_safetensors(read("model.safetensors")?, DType::F32, &Device::Cpu);
        let weights =
            tensors.and_then(|tensors| BertModel::load(tensors, &config)).map_err(|error| error.to_string())?;
        Ok(Self { weights, tokenizer })
    }

    /// Texts of like length are computed together, so that little is padding; their order stays.
    fn embed(&self, texts: &[String], stop: &CancellationToken) -> Result<Embeddings, TaskError> {
        let all: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = self.tokenizer.encode_batch(all, true).map_err(|_| failed("a text could not be tokenised"))?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|at| encodings[*at].len());
        let mut vectors = vec![vec![]; texts.len()];
        for batch in order.chunks(BATCH_TEXTS) {
            if stop.is_cancelled() {
                return Err(cancelled());
            }
            let encodings: Vec<&Encoding> = batch.iter().map(|at| &encodings[*at]).collect();
            let made = self.vectors(&encodings).map_err(|error| failed(format!("the model failed: {error}")))?;
            for (at, vector) in batch.iter().zip(made) {
                vectors[*at] = vector;
            }
        }
        let tokens: usize = encodings.iter().map(Encoding::len).sum();
        Ok(Embeddings { vectors, input_tokens: u64::try_from(tokens).unwrap_or(u64::MAX) })
    }

    /// Pads to the longest text of the batch, averages over the real tokens, scales to length one.
    fn vectors(&self, encodings: &[&Encoding]) -> candle_core::Result<Vec<Vec<f32>>> {
        let longest = encodings.iter().map(|encoding| encoding.len()).max().unwrap_or(0);
        let padded = |values: &[u32]| {
            let mut row = values.to_vec();
            row.resize(longest, 0);
            row
        };
        let table = |pick: fn(&Encoding) -> &[u32]| {
            let values: Vec<u32> = encodings.iter().flat_map(|encoding| padded(pick(encoding))).collect();
            Tensor::from_vec(values, (encodings.len(), longest), &Device::Cpu)
        };
        let (ids, mask) = (table(Encoding::get_ids)?, table(Encoding::get_attention_mask)?);
        let types = ids.zeros_like()?;
        let hidden = alone(|| self.weights.forward(&ids, &types, Some(&mask)))?;
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let sums = hidden.broadcast_mul(&mask)?.sum(1)?;
        let means = sums.broadcast_div(&mask.sum(1)?)?;
        means.broadcast_div(&means.sqr()?.sum_keepdim(1)?.sqrt()?)?.to_vec2()
    }
}
