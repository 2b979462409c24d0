//! Stands in for the local models in builds without them.

use std::path::Path;
use std::sync::Arc;

use super::super::provider::{ChatModel, Embedder, ModelName};

/// No local models.
pub(crate) struct LocalModels;

impl LocalModels {
    /// Nothing to look for.
    pub(crate) fn new(_models_dir: &Path) -> Self {
        Self
    }

    /// Says that there is none.
    pub(crate) fn chat_model(&self, name: &ModelName) -> Result<Arc<dyn ChatModel>, String> {
        Err(missing(name))
    }

    /// Says that there is none.
    pub(crate) fn embedder(&self, name: &ModelName) -> Result<Arc<dyn Embedder>, String> {
        Err(missing(name))
    }
}

fn missing(name: &ModelName) -> String {
    format!("model {name}: this build has no local models (feature ai-local)")
}
