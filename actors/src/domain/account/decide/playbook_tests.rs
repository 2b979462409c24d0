//! Tables of playbooks: which jobs follow from webhooks, and what is told when none does.

use serde_json::{Value, json};

use super::tests::{NOW, accept, account, asked, check, created, job, requested, source, webhook};
use super::*;
use crate::domain::account::Playbook;
use crate::domain::account::event::WebhookAccepted;
use crate::domain::ids::PlaybookId;
use crate::domain::job::{JobKind, JobOptions};
use crate::domain::pattern::Pattern;
use crate::domain::task::{OPEN_JOBS_MAX, TaskLimits};

fn playbook(input: Value) -> Event {
    let rule = Playbook { on: Pattern::parse("webhook.zoom.**").unwrap(), job: JobKind::Call, input };
    Event::PlaybookPut { playbook: PlaybookId::parse("calls").unwrap(), rule }
}

#[test]
fn playbooks_of_today_follow_a_webhook_of_before() {
    let given = [created(), source(), playbook(json!({"url": "{{/body/url}}"}))];
    let again = |body: &str| Command::FollowAgain(webhook(body));
    let (playbook, kind, input) = (PlaybookId::parse("calls").unwrap(), JobKind::Call, json!({"url": "https://a/b"}));
    let wanted = Event::JobRequested {
        job: job("call-4"),
        kind,
        input,
        playbook: Some(playbook.clone()),
        options: JobOptions::default(),
    };
    check(&given, again(r#"{"url": "https://a/b"}"#), &Ok(vec![wanted]));
    let reason = "the event has no /body/url".to_owned();
    check(&given, again("{}"), &Ok(vec![Event::PlaybookFailed { playbook, reason }]));
    check(&given[..2], again("{}"), &Ok(vec![]));
}

#[test]
fn playbooks_follow_each_event_of_a_batch_and_tell_a_failure_once() {
    let given = [created(), source(), playbook(json!({"url": "{{/body/url}}"}))];
    let of = |id: &str, body: &str| WebhookAccepted { delivery_ids: vec![id.to_owned()], ..webhook(body) };
    let (one, two) = (of("d1", r#"{"url": "https://a/b"}"#), of("d4", r#"{"url": "https://a/c"}"#));
    let (bad, worse) = (of("d2", "{}"), of("d3", "{}"));
    let webhooks = vec![one.clone(), bad.clone(), worse.clone(), two.clone()];
    let playbook = || PlaybookId::parse("calls").unwrap();
    let wanted = |id: &str, url: &str| Event::JobRequested {
        job: job(id),
        kind: JobKind::Call,
        input: json!({"url": url}),
        playbook: Some(playbook()),
        options: JobOptions::default(),
    };
    let failed = Event::PlaybookFailed { playbook: playbook(), reason: "the event has no /body/url".to_owned() };
    let accepted = Event::WebhookAccepted;
    let events = vec![
        accepted(one),
        wanted("call-5", "https://a/b"),
        accepted(bad),
        failed,
        accepted(worse),
        accepted(two),
        wanted("call-10", "https://a/c"),
    ];
    check(&given, Command::AcceptWebhooks(webhooks), &Ok(events));
}

#[test]
fn a_playbook_asks_for_its_job_in_the_same_decision() {
    let given = [created(), source(), playbook(json!({"url": "{{/body/url}}"}))];
    let command = accept(webhook(r#"{"url": "https://a/b"}"#));
    let wanted = Event::JobRequested {
        job: job("call-5"),
        kind: JobKind::Call,
        input: json!({"url": "https://a/b"}),
        playbook: Some(PlaybookId::parse("calls").unwrap()),
        options: JobOptions::default(),
    };
    check(&given, command, &Ok(vec![Event::WebhookAccepted(webhook(r#"{"url": "https://a/b"}"#)), wanted]));

    let reason = "the event has no /body/url".to_owned();
    let failed = Event::PlaybookFailed { playbook: PlaybookId::parse("calls").unwrap(), reason };
    check(&given, accept(webhook("{}")), &Ok(vec![Event::WebhookAccepted(webhook("{}")), failed]));
}

#[test]
fn a_playbook_cannot_follow_its_own_jobs() {
    let rule = Playbook { on: Pattern::parse("job.*").unwrap(), job: JobKind::Call, input: json!({}) };
    let put = Command::PutPlaybook { playbook: PlaybookId::parse("loop").unwrap(), rule };
    let rejection = decide(&account(&[created()]), &Facts::default(), &asked(put), NOW);
    assert!(matches!(rejection, Err(Rejection::Invalid { field: "playbook.on", .. })));
}

#[test]
fn a_playbook_makes_no_more_jobs_than_the_account_has_room_for() {
    let mut given = account(&[created(), source(), playbook(json!({"url": "{{/body/url}}"}))]);
    for n in 0..OPEN_JOBS_MAX {
        given.evolve(given.last_seq + 1, NOW, 0, &requested(&format!("summarize-{n}"), "summarize"));
    }
    let mut after = |event: Option<Event>| {
        event.iter().for_each(|event| given.evolve(given.last_seq + 1, NOW, 0, event));
        let command = accept(webhook(r#"{"url": "https://a/b"}"#));
        decide(&given, &Facts::default(), &asked(command), NOW).unwrap().events.swap_remove(1)
    };
    let reason = "the account has 1000 open jobs, which is the limit".to_owned();
    assert_eq!(after(None), Event::PlaybookFailed { playbook: PlaybookId::parse("calls").unwrap(), reason });
    let limits = TaskLimits { open_jobs_max: Some(OPEN_JOBS_MAX + 1), ..TaskLimits::default() };
    assert!(matches!(after(Some(Event::TaskLimitsSet { limits })), Event::JobRequested { .. }));
}
