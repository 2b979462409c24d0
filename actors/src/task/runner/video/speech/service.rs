//! Engines behind HTTP: OpenAI's way of transcribing, and the server of whisper.cpp. Both take one form of several
//! parts and answer with `verbose_json`; they differ in the path and in where the words stand (`verbose`).
//!
//! # Invariants
//! - **S1 keys stay in**: see O1 of [`openai`](crate::task::runner::ai).
//! - **S2 their word**: a wait the service asks for is passed on; a refusal that cannot change is not tried again.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::engines::{EngineConfig, Protocol};
use super::verbose::read;
use super::{Answer, Form, Session, SpeechError, Transcriber, Window};
use crate::egress::Egress;
use crate::task::runner::ai::openai::Provider;

/// What a service says when it does not have the model.
const NO_MODEL: &str = "model_not_found";

/// One configured service.
#[derive(Clone)]
pub(super) struct Service {
    provider: Arc<Provider>,
    name: String,
    model: String,
    protocol: Protocol,
}

impl Service {
    /// Contacts nobody yet.
    pub(super) fn new(config: EngineConfig, egress: Arc<Egress>) -> Self {
        let EngineConfig { provider, protocol, model } = config;
        let name = provider.name.clone();
        Self { provider: Arc::new(Provider::new(provider, egress)), name, model, protocol }
    }

    async fn ask(&self, sound: &[u8]) -> Result<Answer, SpeechError> {
        let path = match self.protocol {
            Protocol::OpenAi => "/audio/transcriptions",
            Protocol::WhisperCpp => "/inference",
        };
        let fields = [
            ("model", self.model.as_str()),
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("timestamp_granularities[]", "segment"),
            ("temperature", "0"),
        ];
        let (kind, body) = form(&fields, sound);
        let answered = self.provider.post_form(path, &kind, body).await;
        let body = answered.map_err(|failure| match failure.reason.as_deref() {
            Some(NO_MODEL) => SpeechError::NoModel,
            Some(_) | None => failure.error.into(),
        })?;
        read(&body).ok_or_else(|| self.provider.malformed("sent no transcript with times").error.into())
    }
}

impl Transcriber for Service {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn form(&self) -> Form {
        Form::Flac
    }

    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Session>, SpeechError>> {
        let session: Box<dyn Session> = Box::new(self.clone());
        Box::pin(std::future::ready(Ok(session)))
    }
}

impl Session for Service {
    fn transcribe(&mut self, window: Window) -> BoxFuture<'_, Result<Answer, SpeechError>> {
        Box::pin(async move {
            match window {
                Window::Flac(sound) => self.ask(&sound).await,
                Window::Samples(_) => Err(SpeechError::Engine("a service takes FLAC".to_owned())),
            }
        })
    }
}

/// A `multipart/form-data` body and its content type. The same sound makes the same body.
fn form(fields: &[(&str, &str)], sound: &[u8]) -> (String, Bytes) {
    // No sound holds its own hash.
    let boundary = blake3::hash(sound).to_hex();
    let mut body = vec![];
    for (name, value) in fields {
        let part = format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(part.into_bytes());
    }
    let head = "content-disposition: form-data; name=\"file\"; filename=\"sound.flac\"\r\ncontent-type: audio/flac";
    body.extend(format!("--{boundary}\r\n{head}\r\n\r\n").into_bytes());
    body.extend(sound);
    body.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body.into())
}
