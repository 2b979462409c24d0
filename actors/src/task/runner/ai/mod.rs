//! AI runners: chat, summarize, index, embed, search and answer. The worker calls them through [`Runner`].
//!
//! # Invariants
//! - **A1 no silent loss**: a model that cannot be used is named in the result or the error, with what is missing.
//! - **A2 grounded**: a summary, an action item or an answer that the text does not back is dropped, not delivered.
//! - **A3 quoted**: a citation's text is the exact text of the bytes it names.
//! - **A4 same again**: without a temperature, equal inputs and models give equal results, on every attempt.

mod answer;
mod chat;
mod document;
mod embed;
mod error;
mod index;
mod library;
mod local;
mod models;
mod notes;
pub(super) mod openai;
mod provider;
mod saved;
mod search;
mod source;
mod summarize;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use library::{DocumentRef, DocumentSource};

use crate::blob::BlobStore;
use crate::egress::Egress;
use crate::task::runner::Runner;

/// Which models there are.
#[derive(Debug, Clone)]
pub struct AiConfig {
    /// Holds `smollm2.gguf` and `minilm/`. May be empty or absent; weights that arrive later are found.
    pub models_dir: PathBuf,
    pub providers: Vec<ProviderConfig>,
    /// Used when a task names no chat model, such as `local/smollm2-135m`.
    pub default_chat: String,
    /// Used when a task names no embedding model, such as `local/minilm-l6`.
    pub default_embed: String,
}

/// An OpenAI-compatible service.
#[derive(Clone)]
pub struct ProviderConfig {
    /// What comes before the slash in the names of its models.
    pub name: String,
    /// The address before `/chat/completions`, such as `https://api.openai.com/v1`.
    pub base_url: String,
    pub api_key: String,
}

/// Without the key, so that no log can hold it.
impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("name", &self.name)
            .field("base_url", &self.base_url)
            .finish_non_exhaustive()
    }
}

/// The runners of every kind of AI task. They share models and loaded documents.
#[must_use]
pub fn runners(
    config: AiConfig,
    blobs: BlobStore,
    egress: Arc<Egress>,
    documents: Arc<dyn DocumentSource>,
) -> Vec<Arc<dyn Runner>> {
    let models = Arc::new(models::Models::new(config, &egress));
    let library = Arc::new(library::Library::new(blobs.clone(), documents));
    vec![
        Arc::new(chat::ChatRunner { models: Arc::clone(&models) }),
        Arc::new(embed::EmbedRunner { models: Arc::clone(&models), blobs: blobs.clone() }),
        Arc::new(summarize::SummarizeRunner { models: Arc::clone(&models), blobs: blobs.clone() }),
        Arc::new(index::IndexRunner { models: Arc::clone(&models), blobs }),
        Arc::new(search::SearchRunner { models: Arc::clone(&models), library: Arc::clone(&library) }),
        Arc::new(answer::AnswerRunner { models, library }),
    ]
}
