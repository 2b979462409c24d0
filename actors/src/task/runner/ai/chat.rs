//! Continues a conversation.
//!
//! Input `{"model"?, "messages": [{"role", "content"}], "max_tokens"?, "temperature"?}`; result
//! `{"text", "model", "finish_reason", "usage": {"input_tokens", "output_tokens"}}`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::invalid;
use super::models::Models;
use super::provider::{ChatRequest, Message};
use crate::domain::budget::{ANSWER_TOKENS_DEFAULT, ANSWER_TOKENS_MAX};
use crate::domain::task::TaskKind;
use crate::task::runner::{Reporter, Runner, TaskError, TaskRun};

/// The longest conversation.
const MESSAGES_MAX: usize = 1024;
/// Pieces of the answer between two notes of progress.
const PIECES_PER_NOTE: u32 = 8;

#[derive(Deserialize)]
struct Input {
    model: Option<String>,
    messages: Vec<Message>,
    max_tokens: Option<u32>,
    temperature: Option<f32>,
}

pub(crate) struct ChatRunner {
    pub(crate) models: Arc<Models>,
}

impl ChatRunner {
    async fn chat(&self, run: &TaskRun, reporter: &Reporter) -> Result<Value, TaskError> {
        let input = Input::deserialize(&run.input).map_err(|error| invalid(format!("chat: {error}")))?;
        if input.messages.is_empty() || input.messages.len() > MESSAGES_MAX {
            return Err(invalid(format!("a chat has 1 to {MESSAGES_MAX} messages")));
        }
        let model = self.models.chat_model(input.model.as_deref())?;
        let max_tokens = input.max_tokens.unwrap_or(ANSWER_TOKENS_DEFAULT).clamp(1, ANSWER_TOKENS_MAX);
        let temperature = input.temperature.filter(|t| t.is_finite()).unwrap_or(0.0).clamp(0.0, 2.0);
        let request = ChatRequest { messages: input.messages, max_tokens, temperature };
        let mut pieces = 0_u32;
        let mut hear = |_: &str| {
            pieces += 1;
            if pieces.is_multiple_of(PIECES_PER_NOTE) {
                reporter.progress(fraction(pieces, max_tokens), "answering");
            }
        };
        reporter.progress(0.0, "reading the conversation");
        let answer = self.models.chat(&*model, &request, reporter, &mut hear).await?;
        Ok(json!({
            "text": answer.text,
            "model": model.name().to_string(),
            "finish_reason": answer.finish_reason,
            "usage": { "input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens },
        }))
    }
}

impl Runner for ChatRunner {
    fn kinds(&self) -> &'static [TaskKind] {
        &[TaskKind::Chat]
    }

    fn takes(&self) -> &'static [TaskKind] {
        if self.models.chat_model(None).is_ok() { self.kinds() } else { &[] }
    }

    fn run<'a>(&'a self, run: &'a TaskRun, reporter: &'a Reporter) -> BoxFuture<'a, Result<Value, TaskError>> {
        Box::pin(self.chat(run, reporter))
    }
}

/// How much of the longest possible answer was heard.
fn fraction(pieces: u32, max_tokens: u32) -> f32 {
    let small = |n: u32| f32::from(u16::try_from(n).unwrap_or(u16::MAX));
    (small(pieces) / small(max_tokens)).min(1.0)
}
