//! A verified request as events: one for the whole of it, or one for each item of its batch.

use std::sync::Arc;

use ::http::header;
use ::http::request::Parts;
use bytes::Bytes;
use steward_actors::domain::account::{KeptRequest, Trust, WebhookAccepted};
use steward_actors::domain::webhook::{Item, Verified};

use super::source::KnownSource;

/// The longest content type kept.
const CONTENT_TYPE_LEN_MAX: usize = 128;
/// What items of a batch are, however the batch came.
const JSON: &str = "application/json";

/// What the events of one request share.
pub(super) struct Accepted<'r> {
    pub(super) source: &'r Arc<KnownSource>,
    pub(super) content_type: String,
    pub(super) body: Bytes,
    pub(super) kept: KeptRequest,
}

impl Accepted<'_> {
    /// The request as one event.
    pub(super) fn whole(&self, verified: Verified) -> WebhookAccepted {
        let mut delivery_ids = verified.dedup_ids;
        if delivery_ids.is_empty() {
            delivery_ids.push(hash(&self.body));
        }
        WebhookAccepted {
            source: self.source.source.clone(),
            provider: self.source.scheme.provider.to_owned(),
            event_type: verified.event_type.unwrap_or_default(),
            delivery_ids,
            tenant: verified.tenant_id,
            trust: verified.trust,
            content_type: self.content_type.clone(),
            body: self.body.clone(),
            kept: self.kept.clone(),
        }
    }

    /// The items of its batch as events. The request goes with the first.
    pub(super) fn items(&self, items: Vec<Item>, trust: Trust) -> Vec<WebhookAccepted> {
        let mut webhooks: Vec<_> = items.into_iter().map(|item| self.item(item, trust)).collect();
        if let Some(first) = webhooks.first_mut() {
            first.kept = self.kept.clone();
        }
        webhooks
    }

    fn item(&self, item: Item, trust: Trust) -> WebhookAccepted {
        WebhookAccepted {
            source: self.source.source.clone(),
            provider: self.source.scheme.provider.to_owned(),
            event_type: item.event_type.unwrap_or_default(),
            delivery_ids: vec![item.dedup_id.unwrap_or_else(|| hash(&item.body))],
            tenant: item.tenant_id,
            trust,
            content_type: JSON.to_owned(),
            body: item.body,
            kept: KeptRequest::Nowhere,
        }
    }
}

/// The content type of a request, unless it is longer than any is.
pub(super) fn content_type(head: &Parts) -> String {
    let text = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    text.filter(|text| text.len() <= CONTENT_TYPE_LEN_MAX).unwrap_or_default().to_owned()
}

/// What stands for a delivery id.
fn hash(body: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(body).to_hex())
}
