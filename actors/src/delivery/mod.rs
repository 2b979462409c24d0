//! Outbound webhooks: each endpoint is a consumer of its account's feed, and its cursor stands in the account.
//!
//! The board learns of new events as an [`Observer`](crate::shard::Observer) and wakes a task for each endpoint that may
//! want them. The task reads the feed, posts each event with a Standard Webhooks signature, and reports what became of
//! many attempts in one command. It holds nothing that the store does not say: events up to the cursor are delivered,
//! given up, or in a row of their own as pending.
//!
//! # Invariants
//! - **D1 all**: every wanted event after the cursor is delivered, or given up with an event that says so.
//! - **D2 stable id**: all attempts at one event for one endpoint carry the same `webhook-id`.
//! - **D3 no echo**: events about deliveries and endpoints are never delivered.
//! - **D4 in line**: of events with the same ordering key none is tried before the one ahead of it is done.

mod board;
mod engine;
mod extras;
mod in_order;
mod message;
mod post;
mod queue;
mod send;
mod sieve;
mod slots;
mod width;

#[cfg(test)]
mod queue_tests;

pub use board::DeliveryBoard;
pub use extras::{Credentials, Extras};
pub use message::is_deliverable;
pub use send::{Sender, SenderConfig, Tester};
pub use sieve::{check as check_sieve, wanted_between};
