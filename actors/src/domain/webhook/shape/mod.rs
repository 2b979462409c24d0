//! One shape for what eight platforms tell: who, what, when, and where to look.
//!
//! Computed when an event is read ([`WebhookAccepted::data`](crate::domain::account::WebhookAccepted::data)); nothing of
//! it is stored, so a better row speaks about old events too.
//!
//! # Invariants
//! - **S1 total**: no body makes this module panic, and equal bodies have equal shapes.
//! - **S2 bounded**: a shape has at most 12 KiB as JSON, whatever the body.
//! - **S3 as told**: only what the body says; what it leaves out, the shape leaves out. An id, an address or a link that is
//!   too long is left out, because part of one would be another one; names and titles are cut.
//! - **S4 harmless**: a link is `https` and has no user in it.
//! - **S5 absence**: a shape says nothing about trust; that stands beside it.

mod github;
mod hubspot;
mod intercom;
mod row;
mod salesforce;
mod slack;
mod stripe;
mod text;
mod zendesk;
mod zoom;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

/// A body as it is at hand where events are read.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// Parsed already.
    Json(&'a Value),
    /// Not JSON.
    Raw(&'a [u8]),
}

/// What a webhook says; every part may be missing.
#[derive(Debug, Default)]
struct Shape {
    who_id: Option<String>,
    who_name: Option<String>,
    who_email: Option<String>,
    kind: Option<String>,
    action: Option<String>,
    id: Option<String>,
    title: Option<String>,
    when: Option<String>,
    link: Option<String>,
}

/// Reads an event of one platform, by the platform's name for it.
type Mapper = fn(event_type: &str, body: &Value) -> Shape;

static MAPPERS: &[(&str, Mapper)] = &[
    ("github", github::shape),
    ("hubspot", hubspot::shape),
    ("intercom", intercom::shape),
    (salesforce::PROVIDER, salesforce::shape),
    ("slack", slack::shape),
    ("stripe", stripe::shape),
    ("zendesk", zendesk::shape),
    ("zoom", zoom::shape),
];

/// The shape of an event, as JSON; nothing when nothing can be said. A batch speaks through its first item.
#[must_use]
pub fn common(provider: &str, event_type: &str, body: Body<'_>) -> Option<Value> {
    let (_, mapper) = MAPPERS.iter().find(|(name, _)| *name == provider)?;
    let shape = match body {
        Body::Json(Value::Array(items)) => mapper(event_type, items.first()?),
        Body::Json(body) => mapper(event_type, body),
        Body::Raw(bytes) if provider == salesforce::PROVIDER => mapper(event_type, &super::soap::first(bytes)?),
        Body::Raw(_) => return None,
    };
    shape.into_json()
}

impl Shape {
    fn into_json(self) -> Option<Value> {
        let who = group([("id", self.who_id), ("name", self.who_name), ("email", self.who_email)]);
        let what = group([("kind", self.kind), ("action", self.action), ("id", self.id), ("title", self.title)]);
        // A name for what happened is the event's type once more.
        let is_empty = who.is_none() && self.when.is_none() && self.link.is_none();
        if is_empty && what.as_ref().is_none_or(|what| what.get("id").is_none() && what.get("title").is_none()) {
            return None;
        }
        let (when, link) = (self.when.map(Value::String), self.link.map(Value::String));
        let parts = [("who", who), ("what", what), ("when", when), ("link", link)];
        Some(parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?))).collect())
    }
}

/// The parts that are there, unless there is none.
fn group<const N: usize>(parts: [(&str, Option<String>); N]) -> Option<Value> {
    let parts: Map<String, Value> =
        parts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::String(text?)))).collect();
    (!parts.is_empty()).then_some(Value::Object(parts))
}
