//! Zoom: meetings, webinars, recordings and users. Who is the participant where there is one, else the host.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::Shape;
use super::row::{NOTHING, Row, Word, read};

static ROWS: &[Row] = &[
    Row {
        on: "user.*",
        who_id: &["/payload/object/id"],
        who_name: &["/payload/object/display_name"],
        who_name_pieces: &["/payload/object/first_name", "/payload/object/last_name"],
        who_email: &["/payload/object/email"],
        ..ZOOM
    },
    ZOOM,
];

const ZOOM: Row = Row {
    kind: Word::First,
    action: Word::Rest,
    id: &["/payload/object/id", "/payload/object/uuid"],
    title: &["/payload/object/topic"],
    who_id: &[
        // The second one is of this meeting only.
        "/payload/object/participant/id",
        "/payload/object/participant/user_id",
        "/payload/object/host_id",
        "/payload/operator_id",
    ],
    who_name: &["/payload/object/participant/user_name"],
    who_email: &["/payload/object/participant/email", "/payload/object/host_email", "/payload/operator"],
    when: &[
        ("/event_ts", StampForm::UnixMillis),
        ("/payload/object/end_time", StampForm::Rfc3339),
        ("/payload/object/start_time", StampForm::Rfc3339),
    ],
    link: &["/payload/object/share_url", "/payload/object/join_url"],
    ..NOTHING
};

pub(super) fn shape(event_type: &str, body: &Value) -> Shape {
    read(ROWS, event_type, body)
}
