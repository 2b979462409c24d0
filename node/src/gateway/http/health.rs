//! Probes and metrics. They need no key: they tell nothing about any account.

use hyper::StatusCode;
use serde_json::json;

use super::reply::{JSON, Reply, whole};
use super::serve::HttpState;
use crate::gateway::error::{Code, Refused};
use crate::telemetry;

const TEXT: &str = "text/plain; charset=utf-8";
/// The format Prometheus reads.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn root() -> Reply {
    whole(StatusCode::OK, JSON, json!({"name": "steward", "version": env!("CARGO_PKG_VERSION")}).to_string())
}

/// The process answers.
pub(super) fn live() -> Reply {
    whole(StatusCode::OK, TEXT, "live\n")
}

/// The node wants traffic, and every shard has a leader that has applied what it had when it took over.
pub(super) fn ready(state: &HttpState) -> Result<Reply, Refused> {
    if !state.gateway.readiness.get() {
        return Err(Refused::new(Code::NotReady, "the node is starting or stopping"));
    }
    let shards = state.gateway.router.shards();
    let waiting = shards.iter().filter(|shard| shard.role != "leader").count();
    if waiting > 0 {
        let message = format!("{waiting} of {} shards are not led yet", shards.len());
        return Err(Refused::new(Code::NotReady, message));
    }
    Ok(whole(StatusCode::OK, TEXT, "ready\n"))
}

pub(super) fn metrics(state: &HttpState) -> Reply {
    whole(StatusCode::OK, METRICS, telemetry::render(&state.metrics))
}
