//! An account: what it owns, what can be asked of it, and what happened to it.
//!
//! The account actor calls [`decide()`] and [`Account::evolve`]; the applier folds the same events into the store.
//!
//! # Invariants
//! - **A1 equal**: equal state, facts, command and time give equal events, on every node and every replay.
//! - **A2 total**: `evolve` cannot fail: an event is a fact.
//! - **A3 bounded**: an account in memory holds what it owns, all counted by [`limits`], never its history.

mod call;
mod command;
pub mod decide;
mod event;
mod evolve;
pub mod limits;
mod playbook;
mod state;
mod upload;

pub use call::AiCalled;
pub use command::{
    Asked, Command, DeliveryOutcome, Facts, Idempotency, Moved, Reported, RetryAsked, SourceAsked, TaskRef,
};
pub use decide::{Answer, Decided, Rejection, decide};
pub(crate) use decide::{blobs_of, check_upload};
pub use event::{
    ApiKeyCreated, EndpointChange, EndpointCreated, Event, JobChange, KeptRequest, Mark, RefusedFor, RefusedRequest,
    ReleaseReason, SourceChange, SourceCreated, WebhookAccepted,
};
pub use playbook::render;
pub use state::{
    Account, ApiKey, Circuit, DeliveryCounts, Endpoint, EndpointSettings, Health, OldSecret, Pending, Playbook,
    Recovery, Role, Source, SourceResponse, SourceSettings, Trust,
};
pub use upload::BlobUploaded;
