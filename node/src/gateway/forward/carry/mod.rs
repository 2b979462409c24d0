//! Short calls to another node, many at a time on one stream: webhooks, which are most of what is passed on.
//!
//! The composition root sends what [`fits`] through [`Lines`] and serves a [`CallServer`]; everything else that is passed
//! on is an HTTP/2 request of its own.
//!
//! # Invariants
//! - **K1 same call**: the other node answers the request it would have got alone, by the same code.
//! - **K2 told apart**: a call that cannot have left this node is [`Unreachable::NotSent`], any other that got no answer
//!   is [`Unreachable::Broken`].
//! - **K3 bounded**: what waits for a node, what one message holds and what is answered at a time have limits.
//!
//! # Decisions
//! - A request of its own costs four frames, up to four writes and five tasks at its two ends, more than the node that
//!   answers spends on the webhook itself. Here whatever waits when the stream is free leaves in one message, and whatever
//!   is answered comes back in one. Carrying every call this way was refused: answers that are streams would need their
//!   own flow control, which HTTP/2 has.

mod form;
mod line;
mod serve;

#[cfg(test)]
mod tests;

pub(crate) use form::fits;
pub(crate) use line::Lines;
pub(crate) use serve::CallServer;

#[cfg(doc)]
use super::Unreachable;

/// The largest call that is carried, body and headers. Larger ones are requests of their own.
const CALL_BYTES_MAX: usize = 64 << 10;
/// Calls and answers in one message.
const MESSAGE_CALLS_MAX: usize = 64;
/// The largest answer. A call whose answer is larger is as good as not answered, so only those with short ones are carried.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The largest message.
const MESSAGE_BYTES_MAX: usize = 2 * MESSAGE_CALLS_MAX * CALL_BYTES_MAX;
/// Calls that wait for one node, and answers that wait for one stream.
const WAITING_MAX: usize = 1024;
/// Calls of one stream that are answered at a time.
const AT_WORK_MAX: usize = 4096;
