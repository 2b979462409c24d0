//! A file that a client brought, and what is said of it beside its bytes.

/// A file of a client, in whole and on its replicas.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BlobUploaded {
    /// The BLAKE3 hash of its bytes, in lower-case hex.
    pub hash: String,
    pub bytes: u64,
    /// Empty: the client did not say.
    pub content_type: String,
    /// Empty: the client did not say.
    pub name: String,
}
