//! Zendesk, in the form of event subscriptions. Bodies that a trigger writes have no form of their own and no shape.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::Shape;
use super::row::{NOTHING, Row, Word, read};

/// What stands before the name of every event.
const PREFIX: &str = "zen:event-type:";

static ROWS: &[Row] = &[
    Row {
        on: "user.*",
        title: &["/detail/name"],
        who_id: &["/detail/id"],
        who_name: &["/detail/name"],
        who_email: &["/detail/email"],
        ..ZENDESK
    },
    ZENDESK,
];

const ZENDESK: Row = Row {
    kind: Word::First,
    action: Word::Rest,
    id: &["/detail/id"],
    title: &["/detail/subject", "/detail/title", "/detail/name"],
    // Who wrote, then who did it, then who asked.
    who_id: &[
        "/event/comment/author/id",
        "/event/message/actor/id",
        "/event/actor/id",
        "/detail/actor_id",
        "/detail/requester_id",
    ],
    who_name: &["/event/comment/author/name", "/event/message/actor/name", "/event/actor/name"],
    who_email: &["/event/comment/author/email", "/event/actor/email"],
    when: &[("/time", StampForm::Rfc3339)],
    ..NOTHING
};

pub(super) fn shape(event_type: &str, body: &Value) -> Shape {
    // A body that names no event came from a trigger.
    let Some(name) = event_type.strip_prefix(PREFIX) else { return Shape::default() };
    read(ROWS, name, body)
}
