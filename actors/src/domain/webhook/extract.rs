//! Which events a verified request holds: their ids, the sender's account, the event type.

use super::Verified;
use super::body::Reader;
use super::pick::Row;
use super::scheme::{Place, Scheme};

/// Reads ids, account and type at the places the scheme names.
pub(super) fn describe(scheme: &Scheme, reader: &Reader<'_>, secret_index: usize) -> Verified {
    let mut verified =
        Verified { dedup_ids: Vec::new(), tenant_id: None, event_type: None, trust: scheme.trust, secret_index };
    // A body that is no JSON still has its headers and form fields.
    let no_values = [Row::new()];
    let rows = Some(reader.rows()).filter(|rows| !rows.is_empty()).unwrap_or(&no_values);
    for (index, row) in rows.iter().enumerate() {
        verified.dedup_ids.extend(dedup_id(scheme, reader, row));
        let tenant_id = first_of(scheme.tenant, reader, row);
        let event_type = first_of(scheme.event_type, reader, row);
        if index == 0 {
            verified.tenant_id = tenant_id;
            verified.event_type = event_type;
            continue;
        }
        // A batch over several accounts belongs to none of them: never give one customer's event to another.
        verified.tenant_id = verified.tenant_id.filter(|common| tenant_id.as_ref() == Some(common));
        verified.event_type = verified.event_type.filter(|common| event_type.as_ref() == Some(common));
    }
    verified
}

pub(super) fn dedup_id(scheme: &Scheme, reader: &Reader<'_>, row: &Row) -> Option<String> {
    let parts: Option<Vec<String>> = scheme.dedup.iter().map(|place| reader.text(*place, row)).collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join(":"))
}

pub(super) fn first_of(places: &[Place], reader: &Reader<'_>, row: &Row) -> Option<String> {
    places.iter().find_map(|place| reader.text(*place, row))
}
