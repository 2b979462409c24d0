//! The account's documents, loaded for searching. Used by `search` and `answer`.

use std::fs;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::document::{self, Document};
use super::error::{failed, storage};
use crate::blob::{BlobHash, BlobStore};
use crate::domain::ids::AccountId;
use crate::domain::search::{QuantizedQuery, Scored, bm25, rank};
use crate::task::runner::TaskError;

/// Memory the loaded documents of all accounts may take together.
const LOADED_BYTES_MAX: usize = 64 << 20;

/// An indexed document of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentRef {
    pub document: String,
    pub title: String,
    /// What the index task wrote.
    pub blob: BlobHash,
}

/// Knows which documents an account has. Implemented over the store.
pub trait DocumentSource: Send + Sync {
    /// The account's documents, in a stable order.
    fn documents(&self, account: &AccountId) -> Result<Vec<DocumentRef>, String>;
}

/// Loads documents and keeps the ones used last.
pub(crate) struct Library {
    blobs: BlobStore,
    source: Arc<dyn DocumentSource>,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    documents: LruCache<Box<str>, Arc<Document>>,
    bytes: usize,
}

/// A document with its name.
#[derive(Debug, Clone)]
pub(crate) struct Shelved {
    pub reference: DocumentRef,
    pub content: Arc<Document>,
}

/// A question as words and, where there is a model, as a vector.
pub(crate) struct Question {
    pub text: String,
    pub vector: Option<(String, Vec<f32>)>,
}

/// A chunk that fits a question.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub document: Shelved,
    pub chunk: usize,
    pub score: f64,
}

impl Library {
    pub(crate) fn new(blobs: BlobStore, source: Arc<dyn DocumentSource>) -> Self {
        Self { blobs, source, loaded: Mutex::new(Loaded { documents: LruCache::unbounded(), bytes: 0 }) }
    }

    /// The chunks of the account that fit the question best. Reads files and computes: runs on a thread that may block.
    pub(crate) async fn find(
        self: &Arc<Self>,
        account: &AccountId,
        question: Question,
        limit: usize,
    ) -> Result<Vec<Hit>, TaskError> {
        let (library, account) = (Arc::clone(self), account.clone());
        let found = tokio::task::spawn_blocking(move || {
            library.documents(&account).map(|documents| score(&documents, &question, limit))
        });
        found.await.map_err(|_| failed("searching the documents panicked"))?
    }

    fn documents(&self, account: &AccountId) -> Result<Vec<Shelved>, TaskError> {
        let references =
            self.source.documents(account).map_err(|reason| failed(format!("listing documents: {reason}")))?;
        let load = |reference: DocumentRef| {
            let content = self.load(account, &reference)?;
            Ok(Shelved { reference, content })
        };
        references.into_iter().map(load).collect()
    }

    fn load(&self, account: &AccountId, reference: &DocumentRef) -> Result<Arc<Document>, TaskError> {
        let key = reference.blob.as_str();
        if let Some(document) = self.loaded.lock().documents.get(key) {
            return Ok(Arc::clone(document));
        }
        let bring = Handle::current().block_on(self.blobs.bring(account, &reference.blob));
        let _hold = bring.map_err(|error| failed(format!("bringing document {}: {error}", reference.document)))?;
        let bytes = fs::read(self.blobs.path(&reference.blob));
        let bytes = bytes.map_err(|error| storage(&format!("reading document {}", reference.document), &error))?;
        let document =
            document::decode(&bytes).map_err(|error| failed(format!("document {}: {error}", reference.document)))?;
        let document = Arc::new(document);
        self.loaded.lock().keep(key, &document);
        Ok(document)
    }
}

impl Loaded {
    fn keep(&mut self, key: &str, document: &Arc<Document>) {
        self.bytes += document.bytes();
        if let Some(replaced) = self.documents.put(key.into(), Arc::clone(document)) {
            self.bytes -= replaced.bytes();
        }
        while self.bytes > LOADED_BYTES_MAX {
            let Some((_, oldest)) = self.documents.pop_lru() else { break };
            self.bytes -= oldest.bytes();
        }
    }
}

fn score(documents: &[Shelved], question: &Question, limit: usize) -> Vec<Hit> {
    let indexes: Vec<_> = documents.iter().map(|document| &document.content.terms).collect();
    let words = bm25(&indexes, &question.text);
    let query = question.vector.as_ref().map(|(model, vector)| (model, QuantizedQuery::new(vector)));
    let mut cosines = Vec::with_capacity(words.len());
    let mut places = Vec::with_capacity(words.len());
    for document in documents {
        let chunks = document.content.chunks.len();
        let vectors = document.content.vectors.as_ref().zip(query.as_ref());
        // Vectors of another model mean nothing to this question.
        let near = vectors.filter(|(vectors, (model, _))| vectors.model == **model);
        match near.and_then(|(vectors, (_, query))| vectors.rows.cosines(query)) {
            Some(found) => cosines.extend(found.into_iter().map(Some)),
            None => cosines.extend(std::iter::repeat_n(None, chunks)),
        }
        places.extend((0..chunks).map(|chunk| (document, chunk)));
    }
    let hit = |Scored { chunk: place, score }: Scored| {
        let (document, chunk) = places[place];
        Hit { document: document.clone(), chunk, score }
    };
    rank(&words, &cosines, limit).into_iter().map(hit).collect()
}
