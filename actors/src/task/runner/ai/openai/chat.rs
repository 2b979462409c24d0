//! `POST {base}/chat/completions`, answered as a stream.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::failure::{Failure, cut_off, in_stream};
use super::sse::Events;
use super::{Provider, told};
use crate::domain::budget::{REMOTE_TEXT_TOKENS_MAX, estimate_tokens};
use crate::egress::Streaming;
use crate::task::runner::TaskError;
use crate::task::runner::ai::provider::{ChatAnswer, ChatModel, ChatRequest, Message, ModelName, OnToken};

/// The longest answer kept.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The end of a stream.
const DONE: &str = "[DONE]";

/// A chat model of a service.
pub(super) struct RemoteChat {
    pub(super) provider: Arc<Provider>,
    pub(super) name: ModelName,
}

/// Parameters that some models know under another name or not at all.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Dialect {
    limit: &'static str,
    temperature: bool,
}

/// What has been heard of an answer.
#[derive(Default)]
struct Heard {
    text: String,
    finish_reason: Option<String>,
    usage: Option<(u64, u64)>,
}

impl ChatModel for RemoteChat {
    fn name(&self) -> &ModelName {
        &self.name
    }

    fn text_tokens_max(&self) -> usize {
        REMOTE_TEXT_TOKENS_MAX
    }

    fn is_small(&self) -> bool {
        false
    }

    fn chat<'a>(
        &'a self,
        request: &'a ChatRequest,
        on_token: OnToken<'a>,
    ) -> BoxFuture<'a, Result<ChatAnswer, TaskError>> {
        Box::pin(async move {
            let answer = self.open(request).await.map_err(told)?;
            let heard = self.hear(answer, on_token).await.map_err(told)?;
            let asked = || request.messages.iter().map(|message| estimate_tokens(&message.content)).sum::<usize>();
            // A service that does not count is counted for.
            let (input_tokens, output_tokens) =
                heard.usage.unwrap_or_else(|| (count(asked()), count(estimate_tokens(&heard.text))));
            let finish_reason = heard.finish_reason.ok_or_else(|| told(cut_off(&self.provider.name)))?;
            Ok(ChatAnswer { text: heard.text.trim().to_owned(), input_tokens, output_tokens, finish_reason })
        })
    }
}

impl RemoteChat {
    /// Sends the request, again in another dialect when the service names a parameter it does not take.
    async fn open(&self, request: &ChatRequest) -> Result<Streaming, Failure> {
        let mut dialect = Dialect { limit: "max_tokens", temperature: true };
        loop {
            let failure = match self.provider.post_stream("/chat/completions", &self.body(request, dialect)).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let other = match failure.param.as_deref() {
                Some("max_tokens") => Dialect { limit: "max_completion_tokens", ..dialect },
                Some("temperature") => Dialect { temperature: false, ..dialect },
                Some(_) | None => dialect,
            };
            if other == dialect {
                return Err(failure);
            }
            dialect = other;
        }
    }

    fn body(&self, request: &ChatRequest, dialect: Dialect) -> Value {
        let message = |message: &Message| json!({ "role": message.role.as_str(), "content": message.content });
        let mut body = json!({
            "model": self.name.model,
            "messages": request.messages.iter().map(message).collect::<Vec<_>>(),
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        body[dialect.limit] = json!(request.max_tokens);
        if dialect.temperature {
            body["temperature"] = json!(request.temperature);
        }
        body
    }

    async fn hear(&self, mut answer: Streaming, on_token: OnToken<'_>) -> Result<Heard, Failure> {
        let json =
            answer.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let (mut heard, mut events, mut whole) = (Heard::default(), Events::default(), vec![]);
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(|error| self.provider.unreached(&error))?;
            if json {
                whole.extend_from_slice(&piece);
            } else {
                let found = events.push(&piece).map_err(|error| self.provider.malformed(&error.to_string()))?;
                for data in found {
                    if data == DONE {
                        return Ok(heard);
                    }
                    self.hear_chunk(&mut heard, data.as_bytes(), "delta", on_token)?;
                }
            }
            if whole.len().max(heard.text.len()) > ANSWER_BYTES_MAX {
                return Err(self.provider.malformed("sent a larger answer than is accepted"));
            }
        }
        if json {
            // A service that cannot stream answers in one piece.
            self.hear_chunk(&mut heard, &whole, "message", on_token)?;
        }
        Ok(heard)
    }

    fn hear_chunk(&self, heard: &mut Heard, chunk: &[u8], part: &str, on_token: OnToken<'_>) -> Result<(), Failure> {
        let chunk: Value =
            serde_json::from_slice(chunk).map_err(|_| self.provider.malformed("sent an answer that is not JSON"))?;
        if chunk.get("error").is_some_and(|error| !error.is_null()) {
            return Err(in_stream(&self.provider.name, &chunk["error"]));
        }
        let choice = &chunk["choices"][0];
        if let Some(text) = choice[part]["content"].as_str().filter(|text| !text.is_empty()) {
            heard.text.push_str(text);
            on_token(text);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            heard.finish_reason = Some(reason.to_owned());
        }
        let used = |name: &str| chunk["usage"][name].as_u64();
        if let Some(usage) = used("prompt_tokens").zip(used("completion_tokens")) {
            heard.usage = Some(usage);
        }
        Ok(())
    }
}

fn count(tokens: usize) -> u64 {
    u64::try_from(tokens).unwrap_or(u64::MAX)
}
