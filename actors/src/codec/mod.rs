//! Domain to `record.proto` and back, and the view of an event that clients get.
//!
//! The account actor encodes, the applier and the reads decode; the gateway and the delivery sender use the view.
//!
//! # Invariants
//! - **C1 round trip**: what is encoded decodes to an equal value.
//! - **C2 for ever**: bytes once written decode the same in every later version; `tests/golden` holds them.
//! - **C3 closed**: the view shows no secret, hash, token or wrapped key.

mod budget;
mod decode;
mod encode;
mod endpoint;
mod entry;
mod job;
mod request;
mod runs;
mod schedule;
mod source;
mod upload;
mod view;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub(crate) use entry::{
    Barrier, Decision, ShardAcked, decode_entry, decode_feed_row, encode_check, encode_feed_row, index_of_feed_row,
    time_of_feed_row,
};
pub use request::RawRequest;
pub(crate) use runs::{Run, Runs};
pub use view::{data_json, event_type, public_event};
