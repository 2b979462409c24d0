//! A real `steward` process, spoken to over its ports. Every test has its own node, folder and ports.
#![expect(clippy::disallowed_methods, reason = "a test waits for a real process, in real time")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod everything;
mod feed;
mod harness;
mod lifecycle;
mod limits;
mod webhooks;
