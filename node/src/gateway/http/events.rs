//! `GET /v1/accounts/{id}/events?after=&limit=`: one page of events as CloudEvents 1.0, for people with curl.
//!
//! When events behind `after` are no longer kept, the header `events-lost` names the first and the last of them: `1-41`.

use ::http::request::Parts;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use steward_actors::codec::{data_json, event_type};
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::FeedEntry;

use super::reply::{Reply, nosniff, whole};
use super::serve::HttpState;
use crate::gateway::error::Refused;
use crate::gateway::page::{PAGE_DEFAULT, PAGE_MAX};
use crate::gateway::time::rfc3339;

/// Which events before the page retention took.
const EVENTS_LOST: HeaderName = HeaderName::from_static("events-lost");
/// A list of CloudEvents.
const CLOUD_EVENTS: &str = "application/cloudevents-batch+json";

pub(super) fn list(state: &HttpState, head: &Parts, account: &str) -> Result<Reply, Refused> {
    let gateway = &state.gateway;
    let caller = gateway.auth.authenticate(&head.headers)?;
    let reader = caller.account_reader(&gateway.auth, account)?;
    let query = head.uri.query().unwrap_or_default();
    let after = number(query, "after")?.unwrap_or(0);
    let limit = number(query, "limit")?.map_or(Ok(PAGE_DEFAULT), usize::try_from).unwrap_or(usize::MAX);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Refused::field("limit", format!("must be 1 to {PAGE_MAX}")));
    }
    let entries = gateway.router.reads().events(reader.account(), after, limit)?;
    let events: Vec<Value> = entries.iter().map(|entry| cloud_event(reader.account(), entry)).collect();
    let mut reply = nosniff(whole(StatusCode::OK, CLOUD_EVENTS, Value::Array(events).to_string()));
    if let Some(first) = entries.first().filter(|first| first.seq > after + 1) {
        let lost = format!("{}-{}", after + 1, first.seq - 1);
        reply.headers_mut().insert(EVENTS_LOST, HeaderValue::from_str(&lost).expect("digits and a hyphen"));
    }
    Ok(reply)
}

fn number(query: &str, name: &str) -> Result<Option<u64>, Refused> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, text)) = pairs.into_iter().find(|(key, _)| *key == name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Refused::field(name, "must be a number"))
}

fn cloud_event(account: &AccountId, entry: &FeedEntry) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": format!("{account}-{}", entry.seq),
        "source": format!("/v1/accounts/{account}"),
        "type": event_type(&entry.event),
        "time": rfc3339(entry.at),
        "datacontenttype": "application/json",
        "data": data_json(&entry.event),
        "seq": entry.seq.to_string(),
        "actor": entry.actor,
        "correlationid": entry.correlation_id,
    });
    if entry.causation_seq > 0 {
        event["causationid"] = json!(format!("{account}-{}", entry.causation_seq));
    }
    event
}
