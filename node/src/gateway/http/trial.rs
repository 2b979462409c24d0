//! A webhook on trial: judged as if it came in, and nothing is kept of it. For owners who set up a source.

use std::sync::Arc;

use ::http::request::Parts;
use bytes::Bytes;
use steward_actors::domain::account::WebhookAccepted;
use steward_cluster::clock::Clock;

use super::accepted::{self, Accepted};
use super::source::KnownSource;
use super::webhook::{Outcome, judge};
use crate::gateway::error::{Code, Refused};

/// What a webhook would become.
pub(crate) struct Trial {
    /// The place of the secret that verified it; none for what comes unsigned.
    pub(crate) secret: Option<usize>,
    /// None for challenges and empty batches.
    pub(crate) events: Vec<WebhookAccepted>,
}

/// Judges a request by its credential. From where it comes, and how often, says nothing about it.
pub(crate) fn try_out(
    source: &Arc<KnownSource>,
    head: &Parts,
    raw: Bytes,
    clock: &dyn Clock,
    body_bytes_max: usize,
) -> Result<Trial, Refused> {
    if source.admission.is_paused {
        return Err(Refused::new(Code::SourcePaused, "the source is paused"));
    }
    let (outcome, body) = judge(source, head, raw, clock, body_bytes_max)?;
    let request = Accepted { source, content_type: accepted::content_type(head), body };
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
            let events = items.into_iter().map(|item| request.item(item, verified.trust)).collect();
            Trial { secret: Some(verified.secret_index), events }
        }
    })
}
