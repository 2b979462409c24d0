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

/// The node wants traffic, no part of it stands still, and every shard held here has a leader that has applied what it had when it took over. Whether
/// etcd is there is told and does not matter: without it traffic goes on.
pub(super) fn ready(state: &HttpState) -> Result<Reply, Refused> {
    if !state.gateway.readiness.get() {
        return Err(Refused::new(Code::NotReady, "the node is starting or stopping"));
    }
    if let Some(standing) = state.gateway.standstills.told() {
        return Err(Refused::new(Code::NotReady, standing));
    }
    let shards = state.gateway.router.shards();
    let waiting = shards.iter().filter(|shard| shard.leader.is_none()).count();
    if waiting > 0 {
        let message = format!("{waiting} of {} shards are not led yet", shards.len());
        return Err(Refused::new(Code::NotReady, message));
    }
    let Some(company) = &state.gateway.company else { return Ok(whole(StatusCode::OK, TEXT, "ready\n")) };
    let text = match company.etcd_away() {
        None => "ready\n".to_owned(),
        Some(since) => format!("ready\netcd is away for {} s: shards do not move\n", since.as_secs()),
    };
    Ok(whole(StatusCode::OK, TEXT, text))
}

pub(super) fn metrics(state: &HttpState) -> Reply {
    whole(StatusCode::OK, METRICS, telemetry::render(&state.metrics))
}
