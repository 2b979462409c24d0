//! Any node takes any call: what another node has to answer is passed on to it, unchanged: webhooks many at a time
//! (`carry/`), everything else as an HTTP/2 request.
//!
//! Both protocols make a [`Call`] of a request (`grpc/forward.rs`, `http/forward.rs`) and give it to the [`Forwarder`].
//! The composition root says who leads ([`Whereabouts`]), how nodes are reached ([`Reach`]), and serves [`routes`] to
//! other nodes. A node without a cluster has no forwarder, and none of this is on its way.
//!
//! # Invariants
//! - **F1 one hop**: what came from another node is answered here or refused, never passed on again.
//! - **F2 same code**: who may ask and what is answered is decided by the node that answers; nothing is decided twice.
//! - **F3 once**: a call is tried again only when nothing was done, or when doing it again changes nothing: reads, changes
//!   that repeat, webhooks, and changes under an idempotency key, the client's or one made here.
//! - **F4 honest**: when the patience is over after a try of unknown outcome, the answer says that, whatever came later.
//! - **F5 private**: the headers nodes tell each other are taken from other nodes only, and never shown to clients.
//! - **F6 bounded**: patience, waits, and what is kept of a request to send it again have limits.
//! - **F7 uploads**: their bodies are not kept (`streamed.rs`): they are passed on once, and once more by the leader when
//!   another node has the bytes.
//!
//! # Decisions
//! - Whole requests are passed on, rather than commands: authentication, limits and errors stay one code, and a stream
//!   is just a longer answer. The price is a second parse.
//! - A call is taken back from a node as soon as another is known to lead, when F3 allows it: a cut-off leader may take
//!   seconds to notice.

mod call;
mod carry;
mod forwarder;
mod headers;
mod inside;
mod protocol;
mod reach;
mod streamed;
mod whereabouts;

#[cfg(test)]
mod tests;

pub(crate) use call::{Asked, Call, Effect, RetryKey, Route};
pub(crate) use carry::{Lines, fits};
pub(crate) use forwarder::Forwarder;
pub(crate) use headers::{take_holder, take_private};
pub(crate) use inside::routes;
pub(crate) use protocol::Protocol;
pub(crate) use reach::{Body, Reach, Unreachable, never_left};
pub(crate) use whereabouts::{Leader, Whereabouts};
