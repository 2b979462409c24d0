//! A webhook on trial: judged as if it came in, and nothing is kept of it. For owners who set up a source.

use std::sync::Arc;

use ::http::request::Parts;
use bytes::Bytes;
use steward_actors::codec::RawRequest;
use steward_actors::domain::account::{KeptRequest, WebhookAccepted};
use steward_actors::seal::Sealer;
use steward_cluster::clock::Timestamp;

use super::accepted::{self, Accepted};
use super::kept;
use super::source::KnownSource;
use super::webhook::{Judged, Outcome, judge};
use crate::gateway::error::{Code, Refused};

/// What a webhook would become.
pub(crate) struct Trial {
    /// The place of the secret that verified it; none for what comes unsigned.
    pub(crate) secret: Option<usize>,
    /// None for challenges and empty batches.
    pub(crate) events: Vec<WebhookAccepted>,
}

impl KnownSource {
    /// Whether its owner has paused it.
    pub(crate) fn is_paused(&self) -> bool {
        self.admission.is_paused
    }

    /// Judges a request that was kept. `body` is that of its event, which stands for its own.
    pub(crate) fn judge_again(
        self: &Arc<Self>,
        sealer: &Sealer,
        sealed: &[u8],
        body: Option<&Bytes>,
        body_bytes_max: usize,
    ) -> Result<Trial, Refused> {
        let request = kept::open(sealer, self, sealed)?;
        let head = kept::head(self, &request)?;
        let raw = request.body.or_else(|| body.cloned()).unwrap_or_default();
        try_out(self, &head, raw, request.received_at, body_bytes_max)
    }

    /// A request that was kept, as far as it may be shown.
    pub(crate) fn read_kept(&self, sealer: &Sealer, sealed: &[u8]) -> Result<RawRequest, Refused> {
        kept::open(sealer, self, sealed)
    }
}

/// Judges a request by its credential. From where it comes, and how often, says nothing about it.
pub(crate) fn try_out(
    source: &Arc<KnownSource>,
    head: &Parts,
    raw: Bytes,
    received_at: Timestamp,
    body_bytes_max: usize,
) -> Result<Trial, Refused> {
    let Judged { outcome, body, .. } = judge(source, head, raw, received_at, body_bytes_max)?;
    let request = Accepted { source, content_type: accepted::content_type(head), body, kept: KeptRequest::Nowhere };
    Ok(match outcome {
        Outcome::Challenge(_) => Trial { secret: None, events: vec![] },
        Outcome::Secret(_) if !source.takes_secret => {
            return Err(Refused::new(Code::AlreadyExists, "the source has its secret; rotate it for another"));
        }
        Outcome::Secret(_) => Trial { secret: None, events: vec![] },
        Outcome::Webhook(verified, None) => {
            Trial { secret: Some(verified.secret_index), events: vec![request.whole(verified)] }
        }
        Outcome::Webhook(verified, Some(items)) => {
            Trial { secret: Some(verified.secret_index), events: request.items(items, verified.trust) }
        }
    })
}
