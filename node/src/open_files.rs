//! Room for as many connections as the settings allow: each takes a descriptor. Called once, before ports are opened.

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors beside those of connections: logs, states, blobs, other nodes.
const RESERVE: u64 = 1_024;

/// Raises the limit of this process as far as it may, and says when that is not far enough.
pub(crate) fn raise(config: &Config) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let connections = config.http.connections_max + config.grpc.connections_max;
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(RESERVE);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < wanted {
        tracing::warn!(allowed, wanted, "fewer files may be open than connections are allowed");
    }
}
