//! Finds the local models by name and loads each once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::super::error::failed;
use super::super::provider::{ChatModel, Embedder, ModelName};
use super::chat::{LocalChat, SmolLm};
use super::embed::{LocalEmbedder, MiniLm};
use crate::task::runner::TaskError;

/// The chat model's name and file.
const CHAT: (&str, &str) = ("smollm2-135m", "smollm2.gguf");
/// The embedding model's name and files.
const EMBED: (&str, [&str; 3]) =
    ("minilm-l6", ["minilm/model.safetensors", "minilm/tokenizer.json", "minilm/config.json"]);
/// Calls of one model that work at the same time.
const CALLS_AT_ONCE_MAX: usize = 1;

/// The models of one folder.
pub(crate) struct LocalModels {
    folder: PathBuf,
    chat: Arc<Lazy<SmolLm>>,
    embed: Arc<Lazy<MiniLm>>,
}

impl LocalModels {
    /// Looks at nothing yet.
    pub(crate) fn new(models_dir: &Path) -> Self {
        let chat = models_dir.join(CHAT.1);
        let embed = models_dir.join("minilm");
        Self {
            folder: models_dir.to_owned(),
            chat: Arc::new(Lazy::new(move || SmolLm::load(&chat))),
            embed: Arc::new(Lazy::new(move || MiniLm::load(&embed))),
        }
    }

    /// The chat model, or what is missing.
    pub(crate) fn chat_model(&self, name: &ModelName) -> Result<Arc<dyn ChatModel>, String> {
        self.find(name, CHAT.0, &[CHAT.1])?;
        Ok(Arc::new(LocalChat { name: name.clone(), lazy: Arc::clone(&self.chat) }))
    }

    /// The embedding model, or what is missing.
    pub(crate) fn embedder(&self, name: &ModelName) -> Result<Arc<dyn Embedder>, String> {
        self.find(name, EMBED.0, &EMBED.1)?;
        Ok(Arc::new(LocalEmbedder { name: name.clone(), lazy: Arc::clone(&self.embed) }))
    }

    fn find(&self, name: &ModelName, known: &str, files: &[&str]) -> Result<(), String> {
        if name.model != known {
            return Err(format!("model {name}: the local model for this is local/{known}"));
        }
        match files.iter().find(|file| !self.folder.join(file).is_file()) {
            Some(file) => Err(format!("model {name}: its file {file} is not in the models folder")),
            None => Ok(()),
        }
    }
}

type Load<M> = Box<dyn Fn() -> Result<M, String> + Send + Sync>;

/// A model that is loaded at its first call, and whose calls wait for each other.
pub(super) struct Lazy<M> {
    load: Arc<Load<M>>,
    loaded: OnceCell<Arc<M>>,
    turns: Arc<Semaphore>,
}

impl<M: Send + Sync + 'static> Lazy<M> {
    fn new(load: impl Fn() -> Result<M, String> + Send + Sync + 'static) -> Self {
        Self {
            load: Arc::new(Box::new(load)),
            loaded: OnceCell::new(),
            turns: Arc::new(Semaphore::new(CALLS_AT_ONCE_MAX)),
        }
    }

    /// Runs `work` on a thread that may block, when it is its turn. Dropping the future sets the flag `work` is given.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&M, &CancellationToken) -> Result<T, TaskError> + Send + 'static,
    ) -> Result<T, TaskError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.expect("the semaphore is never closed");
        let model = Arc::clone(self.loaded.get_or_try_init(|| self.load()).await?);
        let stop = CancellationToken::new();
        let _stop_when_dropped = stop.clone().drop_guard();
        blocking(turn, move || work(&model, &stop)).await?
    }

    async fn load(&self) -> Result<Arc<M>, TaskError> {
        let load = Arc::clone(&self.load);
        let loaded = tokio::task::spawn_blocking(move || load()).await;
        let model = loaded.map_err(|_| failed("loading the model panicked"))?;
        model.map(Arc::new).map_err(|reason| failed(format!("the model could not be loaded: {reason}")))
    }
}

/// The turn is given back when the thread is done, not when the caller stops waiting.
async fn blocking<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, TaskError> {
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    done.await.map_err(|_| failed("the model panicked"))
}
