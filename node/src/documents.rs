//! Tells the AI runners which documents an account has, from the store.

use steward_actors::blob::BlobHash;
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::{Document, Reads};
use steward_actors::task::runner::ai::{DocumentRef, DocumentSource};

/// The documents that were indexed.
pub(crate) struct StoredDocuments(pub(crate) Reads);

impl DocumentSource for StoredDocuments {
    fn documents(&self, account: &AccountId) -> Result<Vec<DocumentRef>, String> {
        let stored = self.0.documents(account).map_err(|error| error.to_string())?;
        stored.into_iter().map(reference).collect()
    }
}

fn reference(stored: Document) -> Result<DocumentRef, String> {
    let Document { document, title, blob, .. } = stored;
    match BlobHash::parse(&blob) {
        Some(blob) => Ok(DocumentRef { document, title, blob }),
        None => Err(format!("document {document} names no blob")),
    }
}
