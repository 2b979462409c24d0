//! Intercom: conversations, contacts, companies and tickets. Who wrote first is who a conversation is about.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::Shape;
use super::row::{NOTHING, Row, Word, read};

static ROWS: &[Row] =
    &[Row { on: "contact.*", ..PERSON }, Row { on: "user.*", ..PERSON }, Row { on: "visitor.*", ..PERSON }, INTERCOM];

const PERSON: Row = Row {
    // Tags come with the contact they were put on.
    id: &["/data/item/contact/id", "/data/item/id"],
    title: &["/data/item/tag/name"],
    who_id: &["/data/item/contact/id", "/data/item/id"],
    who_name: &["/data/item/contact/name", "/data/item/name"],
    who_email: &["/data/item/contact/email", "/data/item/email"],
    ..INTERCOM
};

const INTERCOM: Row = Row {
    kind: Word::First,
    action: Word::Rest,
    id: &["/data/item/id"],
    title: &[
        "/data/item/title",
        "/data/item/source/subject",
        "/data/item/ticket_attributes/_default_title_",
        "/data/item/name",
    ],
    who_id: &[
        "/data/item/source/author/id",
        "/data/item/user/id",
        "/data/item/contacts/contacts/0/id",
        "/data/item/contact/id",
    ],
    who_name: &["/data/item/source/author/name", "/data/item/user/name", "/data/item/contact/name"],
    who_email: &["/data/item/source/author/email", "/data/item/user/email", "/data/item/contact/email"],
    when: &[("/created_at", StampForm::UnixSeconds)],
    link: &["/data/item/links/conversation_web_url", "/data/item/source/url"],
    ..NOTHING
};

pub(super) fn shape(event_type: &str, body: &Value) -> Shape {
    read(ROWS, event_type, body)
}
