//! HubSpot: one change of one object. A change names the property, so a name or an address is known when it changed.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::row::{NOTHING, Row, Word, read};
use super::{Shape, text};

static ROWS: &[Row] = &[
    Row { kind: Word::Is("contact"), who_id: &["/objectId"], ..of("contact.*") },
    Row { kind: Word::First, ..of("*") },
];

/// The objects that subscriptions to `object.*` name by number.
const OBJECTS: [(&str, &str); 4] = [("0-1", "contact"), ("0-2", "company"), ("0-3", "deal"), ("0-5", "ticket")];
/// Past tense for HubSpot's nouns.
const ACTIONS: [(&str, &str); 7] = [
    ("creation", "created"),
    ("deletion", "deleted"),
    ("privacyDeletion", "deleted_for_privacy"),
    ("merge", "merged"),
    ("restore", "restored"),
    ("propertyChange", "property_changed"),
    ("associationChange", "association_changed"),
];
/// Properties that are the name of an object.
const NAMES: [&str; 4] = ["dealname", "name", "subject", "hs_object_name"];

const fn of(on: &'static str) -> Row {
    Row { on, id: &["/objectId", "/fromObjectId"], when: &[("/occurredAt", StampForm::UnixMillis)], ..NOTHING }
}

pub(super) fn shape(event_type: &str, item: &Value) -> Shape {
    let told = |place: &str| item.pointer(place).and_then(Value::as_str);
    // A batch of several types has none as a whole, but its items have.
    let event_type = told("/subscriptionType").unwrap_or(event_type);
    let (object, change) = event_type.split_once('.').unwrap_or((event_type, ""));
    let by_number = told("/objectTypeId").and_then(|number| pair(&OBJECTS, number));
    let object = if object == "object" { by_number.unwrap_or(object) } else { object };
    let mut shape = read(ROWS, &format!("{object}.{change}"), item);
    shape.action = pair(&ACTIONS, change).map(str::to_owned).or_else(|| text::word(change));
    if let (Some(property), Some(value)) = (told("/propertyName"), item.pointer("/propertyValue")) {
        if property == "email" && shape.kind.as_deref() == Some("contact") {
            shape.who_email = text::email(value);
        }
        if NAMES.contains(&property) {
            shape.title = text::cut(value);
        }
    }
    shape
}

fn pair(pairs: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}
