//! Which models this node can use, and one place where every call of one is timed and reported. Called by the AI runners.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use steward_cluster::clock::{Clock, SystemClock};

use super::AiConfig;
use super::error::{cancelled, invalid, unavailable};
use super::local::LocalModels;
use super::openai::Provider;
use super::provider::{ChatAnswer, ChatModel, ChatRequest, Embedder, Embeddings, ModelName, OnToken};
use crate::egress::Egress;
use crate::task::runner::{AiCall, Reporter, TaskError};

/// The provider that is this process.
const LOCAL: &str = "local";

/// Every model that may be asked for.
pub(crate) struct Models {
    local: LocalModels,
    providers: HashMap<String, Arc<Provider>>,
    default_chat: String,
    default_embed: String,
    clock: SystemClock,
}

impl Models {
    /// Nothing is loaded or contacted yet.
    pub(crate) fn new(config: AiConfig, egress: &Arc<Egress>) -> Self {
        let AiConfig { models_dir, providers, default_chat, default_embed } = config;
        let providers = providers
            .into_iter()
            .map(|provider| (provider.name.clone(), Arc::new(Provider::new(provider, Arc::clone(egress)))));
        Self {
            local: LocalModels::new(&models_dir),
            providers: providers.collect(),
            default_chat,
            default_embed,
            clock: SystemClock::new(),
        }
    }

    /// The chat model of this name, or the default one.
    pub(crate) fn chat_model(&self, asked: Option<&str>) -> Result<Arc<dyn ChatModel>, TaskError> {
        let name = name(asked.unwrap_or(&self.default_chat))?;
        if name.provider == LOCAL {
            return self.local.chat_model(&name).map_err(unavailable);
        }
        Ok(Provider::chat_model(self.provider(&name)?, name))
    }

    /// The embedding model of this name, or the default one.
    pub(crate) fn embedder(&self, asked: Option<&str>) -> Result<Arc<dyn Embedder>, TaskError> {
        let name = name(asked.unwrap_or(&self.default_embed))?;
        if name.provider == LOCAL {
            return self.local.embedder(&name).map_err(unavailable);
        }
        Ok(Provider::embedder(self.provider(&name)?, name))
    }

    /// Calls a chat model; the call stops when the task is cancelled.
    pub(crate) async fn chat(
        &self,
        model: &dyn ChatModel,
        request: &ChatRequest,
        reporter: &Reporter,
        on_token: OnToken<'_>,
    ) -> Result<ChatAnswer, TaskError> {
        let started = self.clock.monotonic();
        let answer = stoppable(reporter, model.chat(request, on_token)).await?;
        let tokens = (answer.input_tokens, answer.output_tokens);
        self.report(reporter, "chat", model.name(), tokens, started).await;
        Ok(answer)
    }

    /// Calls an embedding model; the call stops when the task is cancelled.
    pub(crate) async fn embed(
        &self,
        model: &dyn Embedder,
        texts: &[String],
        reporter: &Reporter,
    ) -> Result<Embeddings, TaskError> {
        let started = self.clock.monotonic();
        let embeddings = stoppable(reporter, model.embed(texts)).await?;
        self.report(reporter, "embeddings", model.name(), (embeddings.input_tokens, 0), started).await;
        Ok(embeddings)
    }

    fn provider(&self, name: &ModelName) -> Result<&Arc<Provider>, TaskError> {
        self.providers
            .get(&name.provider)
            .ok_or_else(|| unavailable(format!("model {name}: no provider named {} is configured", name.provider)))
    }

    async fn report(
        &self,
        reporter: &Reporter,
        operation: &'static str,
        name: &ModelName,
        (input_tokens, output_tokens): (u64, u64),
        started: Duration,
    ) {
        let latency = self.clock.monotonic().saturating_sub(started);
        let (provider, model) = (name.provider.clone(), name.model.clone());
        reporter.ai(AiCall { operation, provider, model, input_tokens, output_tokens, latency }).await;
    }
}

fn name(text: &str) -> Result<ModelName, TaskError> {
    ModelName::parse(text).ok_or_else(|| invalid("a model is named provider/model, such as local/smollm2-135m"))
}

async fn stoppable<T>(reporter: &Reporter, call: impl Future<Output = Result<T, TaskError>>) -> Result<T, TaskError> {
    tokio::select! {
        biased;
        () = reporter.cancelled() => Err(cancelled()),
        result = call => result,
    }
}
