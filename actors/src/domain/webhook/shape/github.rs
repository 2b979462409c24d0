//! GitHub: who is the sender, and issues and the like are known by their number in the repository.

use serde_json::Value;

use super::super::scheme::StampForm;
use super::Shape;
use super::row::{NOTHING, Row, Word, read};

static ROWS: &[Row] = &[
    Row {
        on: "push",
        kind: Word::Is("push"),
        action: Word::Is("pushed"),
        id: &["/after"],
        title: &["/head_commit/message", "/ref"],
        who_email: &["/pusher/email"],
        when: &[("/head_commit/timestamp", StampForm::Rfc3339), ("/repository/pushed_at", StampForm::UnixSeconds)],
        link: &["/compare"],
        ..GITHUB
    },
    Row {
        on: "issues",
        kind: Word::Is("issue"),
        id: &["/issue/number"],
        title: &["/issue/title"],
        when: &[("/issue/updated_at", StampForm::Rfc3339), ("/issue/created_at", StampForm::Rfc3339)],
        link: &["/issue/html_url"],
        ..GITHUB
    },
    Row { on: "pull_request", ..PULL_REQUEST },
    Row {
        on: "pull_request_review",
        id: &["/review/id"],
        when: &[("/review/submitted_at", StampForm::Rfc3339)],
        link: &["/review/html_url"],
        ..PULL_REQUEST
    },
    Row {
        on: "issue_comment",
        id: &["/comment/id"],
        title: &["/issue/title"],
        when: &[("/comment/updated_at", StampForm::Rfc3339)],
        link: &["/comment/html_url"],
        ..GITHUB
    },
    Row {
        on: "release",
        id: &["/release/id"],
        title: &["/release/name", "/release/tag_name"],
        when: &[("/release/published_at", StampForm::Rfc3339), ("/release/created_at", StampForm::Rfc3339)],
        link: &["/release/html_url"],
        ..GITHUB
    },
    Row {
        on: "workflow_run",
        id: &["/workflow_run/id"],
        title: &["/workflow_run/display_title", "/workflow_run/name"],
        when: &[("/workflow_run/updated_at", StampForm::Rfc3339)],
        link: &["/workflow_run/html_url"],
        ..GITHUB
    },
    Row { title: &["/repository/full_name"], link: &["/repository/html_url"], ..GITHUB },
];

const PULL_REQUEST: Row = Row {
    id: &["/pull_request/number", "/number"],
    title: &["/pull_request/title"],
    when: &[("/pull_request/updated_at", StampForm::Rfc3339), ("/pull_request/created_at", StampForm::Rfc3339)],
    link: &["/pull_request/html_url"],
    ..GITHUB
};

const GITHUB: Row = Row {
    kind: Word::Whole,
    action: Word::At("/action", ""),
    who_id: &["/sender/id"],
    who_name: &["/sender/login", "/pusher/name"],
    ..NOTHING
};

pub(super) fn shape(event_type: &str, body: &Value) -> Shape {
    let mut shape = read(ROWS, event_type, body);
    // GitHub closes what it merges.
    let is_merged = body.pointer("/pull_request/merged").and_then(Value::as_bool) == Some(true);
    if event_type == "pull_request" && is_merged && shape.action.as_deref() == Some("closed") {
        shape.action = Some("merged".to_owned());
    }
    shape
}
