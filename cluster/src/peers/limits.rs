//! What both ends of the connections between nodes have set alike. The dialers and the listener read it.

use std::time::Duration;

/// The largest message on the internal port. A frame has one message that is this large, or several small ones.
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// What may be under way on a stream and on a connection before the other end has read it.
pub(super) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// How often a connection is asked whether it is there, and how long it may take to say so.
pub(super) const KEEPALIVE_EVERY: Duration = Duration::from_secs(2);
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls that were cancelled and are not yet forgotten.
pub(super) const RESETS_MAX: usize = 16 * 1024;
