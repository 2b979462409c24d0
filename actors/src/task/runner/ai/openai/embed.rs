//! `POST {base}/embeddings`, answered with numbers or with base64 of them.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::{Provider, told};
use crate::domain::budget::estimate_tokens;
use crate::task::runner::TaskError;
use crate::task::runner::ai::document::floats;
use crate::task::runner::ai::provider::{Embedder, Embeddings, ModelName};

/// Texts in one request; services refuse more than 2048, some far fewer.
const REQUEST_TEXTS_MAX: usize = 64;

/// An embedding model of a service.
pub(super) struct RemoteEmbedder {
    pub(super) provider: Arc<Provider>,
    pub(super) name: ModelName,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Row>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Row {
    index: usize,
    embedding: Numbers,
}

/// Asked for base64, some services send numbers all the same.
#[derive(Deserialize)]
#[serde(untagged)]
enum Numbers {
    List(Vec<f32>),
    Base64(String),
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
}

impl Embedder for RemoteEmbedder {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Embeddings, TaskError>> {
        Box::pin(async move {
            let mut embeddings = Embeddings { vectors: vec![], input_tokens: 0 };
            for texts in texts.chunks(REQUEST_TEXTS_MAX) {
                let body = json!({ "model": self.name.model, "input": texts, "encoding_format": "base64" });
                let answer = self.provider.post("/embeddings", &body).await.map_err(told)?;
                let answer = read(&answer, texts)
                    .ok_or_else(|| told(self.provider.malformed("sent embeddings that do not fit the texts")))?;
                embeddings.vectors.extend(answer.vectors);
                embeddings.input_tokens += answer.input_tokens;
            }
            Ok(embeddings)
        })
    }
}

/// One vector of unit length for each text, in the order of the texts.
fn read(answer: &Bytes, texts: &[String]) -> Option<Embeddings> {
    let mut answer: Answer = serde_json::from_slice(answer).ok()?;
    answer.data.sort_by_key(|row| row.index);
    let complete = answer.data.iter().map(|row| row.index).eq(0..texts.len());
    if !complete {
        return None;
    }
    let vectors: Option<Vec<Vec<f32>>> = answer.data.into_iter().map(|row| unit(numbers(row.embedding)?)).collect();
    let estimated = || texts.iter().map(|text| estimate_tokens(text)).sum::<usize>();
    let counted = answer.usage.map(|usage| usage.prompt_tokens);
    let input_tokens = counted.unwrap_or_else(|| u64::try_from(estimated()).unwrap_or(u64::MAX));
    Some(Embeddings { vectors: vectors?, input_tokens })
}

fn numbers(numbers: Numbers) -> Option<Vec<f32>> {
    match numbers {
        Numbers::List(list) => Some(list),
        Numbers::Base64(text) => floats(&BASE64_STANDARD.decode(text).ok()?),
    }
}

/// The vector scaled to length one; `None` when it has no direction.
fn unit(vector: Vec<f32>) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    (length > 0.0 && length.is_finite()).then(|| vector.into_iter().map(|x| x / length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(answer: &str, vectors: Option<&[&[f32]]>) {
        let texts = ["a".to_owned(), "b".to_owned()];
        let got = read(&Bytes::from(answer.to_owned()), &texts).map(|embeddings| embeddings.vectors);
        assert_eq!(got, vectors.map(|vectors| vectors.iter().map(|vector| vector.to_vec()).collect()), "{answer}");
    }

    #[test]
    fn reads_numbers_and_base64_in_any_order() {
        let base64 = BASE64_STANDARD.encode([3.0_f32.to_le_bytes(), 4.0_f32.to_le_bytes()].concat());
        let vectors: &[&[f32]] = &[&[1.0, 0.0], &[0.6, 0.8]];
        check(
            &format!(r#"{{"data":[{{"index":1,"embedding":"{base64}"}},{{"index":0,"embedding":[2,0]}}]}}"#),
            Some(vectors),
        );
        check(r#"{"data":[{"index":0,"embedding":[1]}]}"#, None);
        check(r#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#, None);
        check(r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[0]}]}"#, None);
        check(r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":"AAA"}]}"#, None);
        check("<html>", None);
    }
}
