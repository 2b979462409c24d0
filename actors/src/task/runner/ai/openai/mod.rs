//! Models behind an OpenAI-compatible HTTP service. Called by `models`, and by the engines for speech.
//!
//! # Invariants
//! - **O1 keys stay in**: the API key goes into one header of one request; no error, log or debug output has it.
//! - **O2 their word**: a wait the service asks for is passed on; a refusal that cannot change is not tried again.
//! - **O3 cut is an error**: an answer counts only once the service has said why it ended.

mod chat;
mod embed;
mod failure;
mod sse;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use steward_cluster::clock::{Clock, SystemClock};

use super::ProviderConfig;
use super::error::unavailable;
use super::provider::{ChatModel, Embedder, ModelName};
use crate::egress::{Egress, EgressError, Streaming};
use crate::task::runner::TaskError;
use failure::Failure;

/// What requests and answers are, but for forms and streams.
const JSON: &str = "application/json";
/// How long a service may take until its answer begins; the official clients wait as long.
const ANSWER_BEGINS_MAX: Duration = Duration::from_secs(600);
/// The largest answer that is not a stream: 2048 vectors of 3072 numbers, written out.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// One configured service.
pub(crate) struct Provider {
    name: String,
    base_url: String,
    api_key: String,
    egress: Arc<Egress>,
    clock: SystemClock,
}

impl Provider {
    /// Contacts nobody yet.
    pub(in crate::task::runner) fn new(config: ProviderConfig, egress: Arc<Egress>) -> Self {
        let ProviderConfig { name, base_url, api_key } = config;
        let base_url = base_url.trim_end_matches('/').to_owned();
        Self { name, base_url, api_key, egress, clock: SystemClock::new() }
    }

    /// One of its chat models. Whether the service has it, a call tells.
    pub(crate) fn chat_model(this: &Arc<Self>, name: ModelName) -> Arc<dyn ChatModel> {
        Arc::new(chat::RemoteChat { provider: Arc::clone(this), name })
    }

    /// One of its embedding models.
    pub(crate) fn embedder(this: &Arc<Self>, name: ModelName) -> Arc<dyn Embedder> {
        Arc::new(embed::RemoteEmbedder { provider: Arc::clone(this), name })
    }

    /// Posts a request whose answer is whole; an answer that is not a success is a [`Failure`].
    async fn post(&self, path: &str, body: &Value) -> Result<Bytes, Failure> {
        self.exchange(path, JSON, bytes(body)).await
    }

    /// Posts a form of several parts, `kind` is its content type; the answer is JSON as for [`Self::post`].
    pub(in crate::task::runner) async fn post_form(
        &self,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        self.exchange(path, kind, body).await
    }

    async fn exchange(&self, path: &str, kind: &str, body: Bytes) -> Result<Bytes, Failure> {
        let (url, headers) = (format!("{}{path}", self.base_url), self.headers(kind, JSON)?);
        let answer = self.egress.post(&url, headers, body, ANSWER_BEGINS_MAX, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| self.unreached(&error))?;
        if !answer.status.is_success() {
            return Err(self.failure(answer.status, &answer.headers, &answer.body));
        }
        if answer.truncated {
            return Err(self.malformed("sent a larger answer than is accepted"));
        }
        Ok(answer.body)
    }

    /// Posts a request whose answer is a stream.
    async fn post_stream(&self, path: &str, body: &Value) -> Result<Streaming, Failure> {
        let (url, headers) = (format!("{}{path}", self.base_url), self.headers(JSON, "text/event-stream")?);
        let answer = self.egress.stream_post(&url, headers, bytes(body), ANSWER_BEGINS_MAX).await;
        let mut answer = answer.map_err(|error| self.unreached(&error))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let body = failure::read(&mut answer.body).await;
        Err(self.failure(answer.status, &answer.headers, &body))
    }

    fn headers(&self, kind: &str, accept: &'static str) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(kind).expect("content types are plain text"));
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if !self.api_key.is_empty() {
            let mut key = HeaderValue::from_str(&format!("Bearer {}", self.api_key)).map_err(|_| {
                let reason = format!("provider {}: its API key has characters no header can carry", self.name);
                Failure::from(unavailable(reason))
            })?;
            key.set_sensitive(true);
            headers.insert(AUTHORIZATION, key);
        }
        Ok(headers)
    }

    fn failure(&self, status: http::StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        failure::answered(&self.name, &self.api_key, status, headers, body, self.clock.now())
    }

    fn unreached(&self, error: &EgressError) -> Failure {
        failure::unreached(&self.name, error)
    }

    pub(in crate::task::runner) fn malformed(&self, what: &str) -> Failure {
        failure::malformed(&self.name, what)
    }
}

fn bytes(body: &Value) -> Bytes {
    Bytes::from(body.to_string())
}

/// The task's error; which parameter was refused matters only before.
fn told(failure: Failure) -> TaskError {
    failure.error
}
