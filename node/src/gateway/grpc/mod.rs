//! The gRPC side: a file per service. Handlers say who asks, get a proof, translate once, and let the router do the thing.
//!
//! # Invariants
//! - **R1 strict**: ids, patterns, JSON and page sizes are checked here; a refusal names the field and the rule.
//! - **R2 bounded**: messages, streams per connection and subscriptions have limits.
//! - **R3 cut, not stuck**: a subscriber that does not read is cut with a resumable code.

mod account;
mod admin;
mod blob;
mod budget;
mod connection;
mod endpoint;
mod event;
mod forward;
mod job;
mod methods;
mod overview;
mod request;
mod schedule;
mod serve;
mod source;
mod subscribe;
mod subscribe_all;
mod view;
mod webhook;
mod wire;

pub(crate) use admin::Operations;
pub(crate) use forward::answer_node;
pub(crate) use serve::{serve, services};
pub(crate) use source::{check_secret, check_settings};
pub(crate) use view::account as account_view;
pub(crate) use webhook::{check_url, new_token};
