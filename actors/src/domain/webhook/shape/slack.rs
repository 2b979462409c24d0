//! Slack's Events API. Who is the user who did it; Slack tells ids only, and no links.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::Shape;
use super::row::{NOTHING, Row, Word, read};

static ROWS: &[Row] = &[
    Row {
        on: "message",
        kind: Word::Is("message"),
        action: Word::At("/event/subtype", "posted"),
        // A change holds the message it is about.
        id: &["/event/message/ts", "/event/deleted_ts", "/event/ts"],
        title: &["/event/message/text", "/event/text"],
        who_id: &["/event/message/user", "/event/user", "/event/bot_id"],
        ..SLACK
    },
    Row {
        on: "app_mention",
        kind: Word::Is("message"),
        action: Word::Is("mentioned"),
        id: &["/event/ts"],
        title: &["/event/text"],
        ..SLACK
    },
    Row { on: "reaction_added", action: Word::Is("added"), ..REACTION },
    Row { on: "reaction_removed", action: Word::Is("removed"), ..REACTION },
    Row { on: "member_joined_channel", action: Word::Is("member_joined"), ..CHANNEL },
    Row { on: "member_left_channel", action: Word::Is("member_left"), ..CHANNEL },
    Row { on: "channel_created", action: Word::Is("created"), ..CHANNEL },
    Row { on: "channel_rename", action: Word::Is("renamed"), ..CHANNEL },
    Row {
        on: "team_join",
        kind: Word::Is("user"),
        action: Word::Is("joined"),
        id: &["/event/user/id"],
        who_id: &["/event/user/id"],
        who_name: &["/event/user/profile/real_name", "/event/user/real_name", "/event/user/name"],
        who_email: &["/event/user/profile/email"],
        ..SLACK
    },
    Row {
        on: "file_shared",
        kind: Word::Is("file"),
        action: Word::Is("shared"),
        id: &["/event/file_id"],
        who_id: &["/event/user_id"],
        ..SLACK
    },
    Row { kind: Word::Whole, ..SLACK },
];

const REACTION: Row = Row { kind: Word::Is("reaction"), id: &["/event/item/ts"], title: &["/event/reaction"], ..SLACK };

const CHANNEL: Row = Row {
    kind: Word::Is("channel"),
    id: &["/event/channel/id", "/event/channel"],
    title: &["/event/channel/name"],
    who_id: &["/event/user", "/event/channel/creator"],
    ..SLACK
};

const SLACK: Row = Row {
    who_id: &["/event/user", "/event/user/id"],
    when: &[("/event_time", StampForm::UnixSeconds), ("/event/event_ts", StampForm::UnixSeconds)],
    ..NOTHING
};

pub(super) fn shape(event_type: &str, body: &Value) -> Shape {
    read(ROWS, event_type, body)
}
