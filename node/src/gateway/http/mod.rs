//! The HTTP side: webhooks from platforms, health, metrics, blobs and a page of events for curl.
//!
//! Served straight by hyper: the webhook path has no layer that it does not need.
//!
//! # Invariants
//! - **H1 raw**: a signature is checked over the body bytes as they came; the same bytes go into the event.
//! - **H2 durable**: a webhook is answered with 200 when its event is durable, or was before.
//! - **H3 no drop**: a webhook that cannot be taken now is answered with 429 or 503 and `Retry-After`.
//! - **H4 slow peers**: heads, bodies and idle connections have time limits; connections a cap, and at the cap those lose
//!   their places that are waited for longest.

mod accepted;
mod admission;
mod arriving;
mod blob;
mod body;
mod decode;
mod events;
mod forward;
mod health;
mod kept;
mod range;
mod reply;
mod route;
mod serve;
mod source;
mod tally;
mod trial;
mod upload;
mod webhook;

pub(crate) use forward::{answer_node, enter, refusal};
pub(crate) use kept::code_of;
pub(crate) use serve::{HttpState, answer, serve};
pub(crate) use source::{KnownSource, KnownSources, RefusingSource, VerifiedSource};
pub(crate) use trial::{Trial, try_out};
pub(crate) use upload::{
    UPLOAD_BLOB, UPLOAD_EXPIRES_MS, UPLOAD_LENGTH, UPLOAD_OFFSET, answer as answer_upload, refused_of,
};
pub(crate) use webhook::{HookMetrics, PATH as HOOKS_PATH};
