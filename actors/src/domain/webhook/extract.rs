//! Which events a verified request holds: their ids, the sender's account, the event type.

use serde_json::Value;

use super::Verified;
use super::body::Reader;
use super::scheme::{Place, Scheme};

/// Reads ids, account and type at the places the scheme names.
pub(super) fn describe(scheme: &Scheme, reader: &Reader<'_>, secret_index: usize) -> Verified {
    let mut verified =
        Verified { dedup_ids: Vec::new(), tenant_id: None, event_type: None, trust: scheme.trust, secret_index };
    let mut first = true;
    for item in items(scheme, reader) {
        verified.dedup_ids.extend(dedup_id(scheme, reader, item));
        let tenant_id = first_of(scheme.tenant, reader, item);
        let event_type = first_of(scheme.event_type, reader, item);
        if first {
            verified.tenant_id = tenant_id;
            verified.event_type = event_type;
            first = false;
            continue;
        }
        // A batch over several accounts belongs to none of them: never give one customer's event to another.
        verified.tenant_id = verified.tenant_id.filter(|common| tenant_id.as_ref() == Some(common));
        verified.event_type = verified.event_type.filter(|common| event_type.as_ref() == Some(common));
    }
    verified
}

/// The items of a batch; a body that is no array is its own only item.
fn items<'a>(scheme: &Scheme, reader: &'a Reader<'_>) -> &'a [Value] {
    // Most schemes name headers only: their bodies are never parsed.
    let places = [scheme.dedup, scheme.tenant, scheme.event_type];
    let reads_json =
        places.iter().copied().flatten().any(|place| matches!(place, Place::Json(_) | Place::JsonOrigin(_)));
    if !reads_json {
        return std::slice::from_ref(&Value::Null);
    }
    let body = reader.json();
    let batch = scheme.items.and_then(|pointer| body.pointer(pointer)).and_then(Value::as_array);
    batch.map_or(std::slice::from_ref(body), Vec::as_slice)
}

fn dedup_id(scheme: &Scheme, reader: &Reader<'_>, item: &Value) -> Option<String> {
    let parts: Option<Vec<String>> = scheme.dedup.iter().map(|place| reader.text(*place, item)).collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(":"))
}

fn first_of(places: &[Place], reader: &Reader<'_>, item: &Value) -> Option<String> {
    places.iter().find_map(|place| reader.text(*place, item))
}
