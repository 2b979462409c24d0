//! Outbound webhooks: each endpoint is a consumer of its account's feed, and its cursor stands in the account.
//!
//! The sender learns of new events as an [`Observer`](crate::shard::Observer), reads them from the feed, posts each with a
//! Standard Webhooks signature, and reports what became of it as a command. It holds nothing that the store does not say.
//!
//! # Invariants
//! - **D1 all**: every wanted event after the cursor is delivered, or given up with an event that says so, in order.
//! - **D2 stable id**: all attempts at one event for one endpoint carry the same `webhook-id`.
//! - **D3 no echo**: events about deliveries are never delivered.

mod board;
mod message;
mod send;

pub use board::DeliveryBoard;
pub use send::{Sender, SenderConfig};
