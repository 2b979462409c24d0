//! What runners ask of a model, wherever it runs. Implemented by `local` and `openai`; called through `models`.
//!
//! # Invariants
//! - **M1 cancel by dropping**: dropping the future of a call stops the work behind it within a second.
//! - **M2 whole or error**: an answer that was cut off by the network is an error, never a short answer.

use std::fmt;

use futures_util::future::BoxFuture;
use serde::Deserialize;

use crate::task::runner::TaskError;

/// A model and who runs it, written `provider/model`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelName {
    pub provider: String,
    pub model: String,
}

impl ModelName {
    /// Reads `provider/model`; the model's own name may hold further slashes.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (provider, model) = name.split_once('/')?;
        let named = !provider.is_empty() && !model.is_empty();
        named.then(|| Self { provider: provider.to_owned(), model: model.to_owned() })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// Its name on the wire and in prompts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message {
    pub role: Role,
    pub content: String,
}

impl Message {
    /// A message.
    pub(crate) fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// A conversation to continue.
#[derive(Debug, Clone)]
pub(crate) struct ChatRequest {
    pub messages: Vec<Message>,
    pub max_tokens: u32,
    /// 0 always gives the most likely word.
    pub temperature: f32,
}

/// How a model continued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChatAnswer {
    pub text: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// `stop` or `length`, or another word of the provider.
    pub finish_reason: String,
}

/// Texts as vectors of unit length.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Embeddings {
    pub vectors: Vec<Vec<f32>>,
    pub input_tokens: u64,
}

/// Hears the answer piece by piece.
pub(crate) type OnToken<'a> = &'a mut (dyn FnMut(&str) + Send);

/// A model that converses.
pub(crate) trait ChatModel: Send + Sync {
    /// Its full name.
    fn name(&self) -> &ModelName;

    /// How many tokens of text fit into one question beside instructions and answer.
    fn text_tokens_max(&self) -> usize;

    /// Whether it overlooks and copies much, so that its lists need help from plain rules.
    fn is_small(&self) -> bool;

    /// Continues the conversation.
    fn chat<'a>(
        &'a self,
        request: &'a ChatRequest,
        on_token: OnToken<'a>,
    ) -> BoxFuture<'a, Result<ChatAnswer, TaskError>>;
}

/// A model that turns texts into vectors.
pub(crate) trait Embedder: Send + Sync {
    /// Its full name.
    fn name(&self) -> &ModelName;

    /// One vector for each text, in order.
    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Embeddings, TaskError>>;
}
