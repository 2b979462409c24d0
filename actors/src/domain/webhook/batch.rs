//! Takes a batch apart: several events that came in one request, under one signature.
//!
//! Called by the gateway with a request that [`super::verify()`] accepted. Schemes that send one event per request are
//! told apart by their row alone: their bodies are not parsed here.

use std::fmt;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::body::Reader;
use super::extract::{dedup_id, first_of};
use super::pick::Named;
use super::scheme::{Items, Scheme};
use super::{Incoming, soap};
use crate::domain::account::limits::BATCH_ITEMS_MAX;

/// One event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The sender's id for it; none when the scheme offers none.
    pub dedup_id: Option<String>,
    /// The sender-side account.
    pub tenant_id: Option<String>,
    /// The sender's name for what happened.
    pub event_type: Option<String>,
    /// The event as JSON, byte for byte as it came; what came as XML is JSON here too.
    pub body: Bytes,
}

/// A batch of more events than one request may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the batch has {count} events, the limit is {BATCH_ITEMS_MAX}")]
pub struct TooMany {
    /// How many it has.
    pub count: usize,
}

/// The events of a batch, in their order. None when the request is one event as a whole, because the scheme sends no
/// batches or this body is none.
///
/// # Errors
/// The batch has more events than are taken from one request.
pub fn split(scheme: &Scheme, incoming: &Incoming<'_>, body: &Bytes) -> Result<Option<Vec<Item>>, TooMany> {
    let bodies = match scheme.items {
        Items::One => return Ok(None),
        Items::Array => serde_json::from_slice::<Vec<&RawValue>>(body).ok().map(|items| raw(body, &items)),
        Items::Under(key) => under(body, key).map(|items| raw(body, &items)),
        Items::Soap => soap::items(body),
    };
    let Some(bodies) = bodies else { return Ok(None) };
    if bodies.len() > BATCH_ITEMS_MAX {
        return Err(TooMany { count: bodies.len() });
    }
    let reader = Reader::new(*incoming, scheme.places(), scheme.items);
    let rows = reader.rows();
    if rows.len() != bodies.len() {
        return Ok(None); // What was verified item by item is not what stands here.
    }
    let item = |(row, body)| Item {
        dedup_id: dedup_id(scheme, &reader, row),
        tenant_id: first_of(scheme.tenant, &reader, row),
        event_type: first_of(scheme.event_type, &reader, row),
        body,
    };
    Ok(Some(rows.iter().zip(bodies).map(item).collect()))
}

/// The items where they lie in the body.
fn raw(body: &Bytes, items: &[&RawValue]) -> Vec<Bytes> {
    items.iter().map(|item| body.slice_ref(item.get().as_bytes())).collect()
}

/// The items under a key of a JSON object. An object with nothing in it is a batch of nothing.
fn under<'b>(body: &'b [u8], key: &'static str) -> Option<Vec<&'b RawValue>> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let items = json.deserialize_map(Under(key)).ok()?;
    json.end().ok()?;
    items
}

struct Under(&'static str);

impl<'de> Visitor<'de> for Under {
    type Value = Option<Vec<&'de RawValue>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut items, mut is_empty) = (None, true);
        while let Some(is_it) = map.next_key_seed(Named(self.0))? {
            is_empty = false;
            if is_it {
                // As often as it stands there: all of them were verified.
                items.get_or_insert_with(Vec::new).extend(map.next_value::<Vec<&'de RawValue>>()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(items.or_else(|| is_empty.then(Vec::new)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::webhook::find;

    fn of(scheme: &str, body: &str) -> Result<Option<Vec<Item>>, TooMany> {
        let headers: Vec<(&str, &str)> = vec![];
        let body = Bytes::copy_from_slice(body.as_bytes());
        split(
            find(scheme).unwrap(),
            &Incoming { method: "POST", url: "", headers: &headers, body: &body, raw: None },
            &body,
        )
    }

    fn bodies(scheme: &str, body: &str) -> Option<Vec<String>> {
        let items = of(scheme, body).unwrap()?;
        Some(items.into_iter().map(|item| String::from_utf8(item.body.to_vec()).unwrap()).collect())
    }

    #[test]
    fn every_item_keeps_its_own_id_type_account_and_bytes() {
        let one = r#"{"portalId": 7, "subscriptionId":1,"eventId":2,"occurredAt":3,"subscriptionType":"a.b","n":1.0}"#;
        let two = r#"{"portalId":8,"subscriptionId":1,"eventId":4,"occurredAt":3,"subscriptionType":"c"}"#;
        let items = of("hubspot-v3", &format!("[ {one} ,{two}]")).unwrap().unwrap();
        let text = |text: &str| Some(text.to_owned());
        let body = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let (tenant_id, event_type) = (text("7"), text("a.b"));
        assert_eq!(items[0], Item { dedup_id: text("7:1:2:3"), tenant_id, event_type, body: body(one) });
        let (tenant_id, event_type) = (text("8"), text("c"));
        assert_eq!(items[1], Item { dedup_id: text("8:1:4:3"), tenant_id, event_type, body: body(two) });
        assert_eq!(items.len(), 2);
        // No id where one of its parts is missing.
        assert_eq!(of("hubspot-v1", r#"[{"portalId":7}]"#).unwrap().unwrap()[0].dedup_id, None);
    }

    #[test]
    fn batches_stand_where_their_platform_puts_them() {
        let two = Some(vec![r#"{"a":1}"#.to_owned(), "2".to_owned()]);
        assert_eq!(bodies("sendgrid-ecdsa", "[{\"a\":1},2]\r\n"), two);
        assert_eq!(bodies("graph-client-state", r#"{"validationTokens":["t"],"value":[{"a":1},2]}"#), two);
        assert_eq!(bodies("graph-client-state", r#"{"value":[{"a":1}],"value":[2]}"#), two);
        assert_eq!(bodies("asana-hook", r#"{"events":[{"a":1},2]}"#), two);
        let asana = of("asana-hook", r#"{"events":[{"action":"changed"}]}"#).unwrap().unwrap();
        assert_eq!((asana[0].event_type.as_deref(), &asana[0].dedup_id), (Some("changed"), &None));
    }

    #[test]
    fn empty_batches_hold_nothing_and_other_bodies_are_one_event() {
        for (scheme, empty) in [("asana-hook", "{}"), ("asana-hook", r#"{"events":[]}"#), ("sendgrid-ecdsa", " [] ")] {
            assert_eq!(bodies(scheme, empty), Some(vec![]), "{scheme} {empty}");
        }
        let whole = [
            ("asana-hook", r#"{"other":1}"#),
            ("asana-hook", r#"{"events":1}"#),
            ("asana-hook", r#"{"events":[1]} x"#),
            ("hubspot-v1", r#"{"portalId":7}"#),
            ("hubspot-v1", "[1"),
            ("salesforce-outbound-message", "{}"),
            ("github-hub256", "[1,2]"),
        ];
        for (scheme, body) in whole {
            assert_eq!(bodies(scheme, body), None, "{scheme} {body}");
        }
    }

    #[test]
    fn a_batch_has_a_limit() {
        let of_length = |length: usize| of("sendgrid-ecdsa", &format!("[{}]", vec!["{}"; length].join(",")));
        assert_eq!(of_length(BATCH_ITEMS_MAX).unwrap().unwrap().len(), BATCH_ITEMS_MAX);
        assert_eq!(of_length(BATCH_ITEMS_MAX + 1), Err(TooMany { count: BATCH_ITEMS_MAX + 1 }));
    }
}
