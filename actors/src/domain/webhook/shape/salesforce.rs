//! Salesforce outbound messages: a record as it is now, with the fields that the rule was told to send.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::row::{NOTHING, Row, Word, read};
use super::{Shape, text};

/// The one whose bodies are XML.
pub(super) const PROVIDER: &str = "salesforce";

static ROWS: &[Row] = &[
    Row { on: "Contact", ..PERSON },
    Row { on: "Lead", ..PERSON },
    Row { on: "User", ..PERSON },
    Row {
        on: "Case",
        title: &["/sObject/Subject", "/sObject/CaseNumber"],
        who_id: &["/sObject/ContactId"],
        who_name: &["/sObject/SuppliedName"],
        who_email: &["/sObject/ContactEmail", "/sObject/SuppliedEmail"],
        ..RECORD
    },
    RECORD,
];

const PERSON: Row = Row {
    who_id: &["/sObject/Id"],
    who_name: &["/sObject/Name"],
    who_name_pieces: &["/sObject/FirstName", "/sObject/LastName"],
    who_email: &["/sObject/Email"],
    ..RECORD
};

const RECORD: Row = Row {
    kind: Word::Whole,
    // A message does not say whether the record is new.
    action: Word::Is("saved"),
    id: &["/sObject/Id"],
    title: &["/sObject/Name", "/sObject/Subject"],
    who_id: &["/sObject/OwnerId"],
    when: &[
        ("/sObject/LastModifiedDate", StampForm::Rfc3339),
        ("/sObject/SystemModstamp", StampForm::Rfc3339),
        ("/sObject/CreatedDate", StampForm::Rfc3339),
    ],
    ..NOTHING
};

pub(super) fn shape(event_type: &str, body: &Value) -> Shape {
    // A message of several notifications may mix types, and each record names its own.
    let kind = body.pointer("/sObject/@type").and_then(Value::as_str).unwrap_or(event_type);
    let mut shape = read(ROWS, kind, body);
    shape.link = shape.id.as_deref().and_then(|id| record(body, id));
    shape
}

/// The page of a record: the organisation's own host, then the id.
fn record(body: &Value, id: &str) -> Option<String> {
    let api = url::Url::parse(body.pointer("/EnterpriseUrl")?.as_str()?).ok()?;
    let is_id = id.chars().all(|c| c.is_ascii_alphanumeric());
    is_id.then(|| text::link(&Value::String(format!("{}/{id}", api.origin().ascii_serialization()))))?
}
