//! A client's file to its stored form and back.

use serde_json::{Value, json};
use steward_proto::record::v1 as wire;

use crate::domain::account::BlobUploaded;

/// A file as it is stored. What was not said of it has no bytes.
pub(super) fn encode(uploaded: &BlobUploaded) -> wire::BlobUploaded {
    let BlobUploaded { hash, bytes, content_type, name } = uploaded.clone();
    wire::BlobUploaded { hash, bytes, content_type, name }
}

/// A file from its stored form.
pub(super) fn decode(e: wire::BlobUploaded) -> BlobUploaded {
    let wire::BlobUploaded { hash, bytes, content_type, name } = e;
    BlobUploaded { hash, bytes, content_type, name }
}

/// What subscribers see of it, under the name that inputs of jobs have for blobs.
pub(super) fn shown(uploaded: &BlobUploaded) -> Value {
    let BlobUploaded { hash, bytes, content_type, name } = uploaded;
    json!({"blob": hash, "bytes": bytes, "content_type": content_type, "name": name})
}
