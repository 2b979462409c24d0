//! Playbooks: an event of the right type becomes a job, in the same decision and so exactly once.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::event::{Event, WebhookAccepted};
use super::limits::{JSON_BYTES_MAX, PLAYBOOKS_MAX};
use super::state::{Account, Playbook};
use crate::domain::ids::PlaybookId;
use crate::domain::job::JobOptions;
use crate::domain::webhook::shape::{self, Body};

/// Bytes of input of the jobs that follow from one request: what all playbooks together may ask for after one event.
const INPUTS_BYTES_MAX: usize = PLAYBOOKS_MAX * JSON_BYTES_MAX;

/// The webhooks of one decision, and what the account's playbooks make of each: a job, or the reason why not.
pub(super) struct Following<'a> {
    account: &'a Account,
    pub(super) events: Vec<Event>,
    /// Jobs that are open after these events.
    jobs: usize,
    input_bytes: usize,
    /// Failures are told once for a whole batch, or they would outgrow it.
    told: BTreeSet<(&'a PlaybookId, String)>,
}

impl<'a> Following<'a> {
    pub(super) fn new(account: &'a Account) -> Self {
        Self { account, events: vec![], jobs: account.jobs.len(), input_bytes: 0, told: BTreeSet::new() }
    }

    /// The number of the event that is added next.
    pub(super) fn next_seq(&self) -> u64 {
        self.account.last_seq + 1 + u64::try_from(self.events.len()).expect("events of a decision are few")
    }

    /// Adds a webhook and what follows from it.
    pub(super) fn accept(&mut self, webhook: WebhookAccepted) {
        let (wanted, data) = self.wanted(&webhook);
        self.events.push(Event::WebhookAccepted(webhook));
        wanted.into_iter().for_each(|(id, playbook)| self.follow(id, playbook, &data));
    }

    /// Adds what follows from a webhook that was accepted before.
    pub(super) fn follow_all(&mut self, webhook: &WebhookAccepted) {
        let (wanted, data) = self.wanted(webhook);
        wanted.into_iter().for_each(|(id, playbook)| self.follow(id, playbook, &data));
    }

    /// The playbooks that follow a webhook, and what they see of it.
    fn wanted(&self, webhook: &WebhookAccepted) -> (Vec<(&'a PlaybookId, &'a Playbook)>, Value) {
        let playbooks = &self.account.playbooks;
        if playbooks.is_empty() {
            return (vec![], Value::Null);
        }
        let type_on_feed = webhook.type_on_feed();
        let wanted: Vec<_> = playbooks.iter().filter(|(_, playbook)| playbook.on.matches(&type_on_feed)).collect();
        // Most webhooks are followed by nothing: their body is not parsed.
        let data = if wanted.is_empty() { Value::Null } else { webhook.data() };
        (wanted, data)
    }

    fn follow(&mut self, id: &'a PlaybookId, playbook: &Playbook, data: &Value) {
        let seq = self.next_seq();
        match self.input(playbook, data) {
            Ok(input) => {
                let job = super::decide::job_id(playbook.job, seq);
                self.jobs += 1;
                let (playbook, kind, options) = (Some(id.clone()), playbook.job, JobOptions::default());
                self.events.push(Event::JobRequested { job, kind, input, playbook, options });
            }
            Err(reason) => {
                if self.told.insert((id, reason.clone())) {
                    self.events.push(Event::PlaybookFailed { playbook: id.clone(), reason });
                }
            }
        }
    }

    fn input(&mut self, playbook: &Playbook, data: &Value) -> Result<Value, String> {
        let open_jobs_max = self.account.task_limits.open_jobs();
        if self.jobs >= open_jobs_max {
            return Err(format!("the account has {open_jobs_max} open jobs, which is the limit"));
        }
        let input = render(&playbook.input, data)?;
        self.input_bytes += input.to_string().len();
        if self.input_bytes > INPUTS_BYTES_MAX {
            return Err(format!("the jobs of one batch have more than {INPUTS_BYTES_MAX} bytes of input"));
        }
        Ok(input)
    }
}

/// Fills a template: each string `{{/pointer}}` becomes what stands at that JSON pointer of the data.
pub fn render(template: &Value, data: &Value) -> Result<Value, String> {
    let filled = fill(template, data)?;
    let bytes = filled.to_string().len();
    if bytes > JSON_BYTES_MAX {
        return Err(format!("the job's input has {bytes} bytes, the limit is {JSON_BYTES_MAX}"));
    }
    Ok(filled)
}

fn fill(template: &Value, data: &Value) -> Result<Value, String> {
    Ok(match template {
        Value::String(text) => match text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
            Some(pointer) => data.pointer(pointer).cloned().ok_or_else(|| format!("the event has no {pointer}"))?,
            None => template.clone(),
        },
        Value::Array(items) => items.iter().map(|item| fill(item, data)).collect::<Result<_, _>>()?,
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| Ok((name.clone(), fill(value, data)?));
            Value::Object(fields.iter().map(field).collect::<Result<_, String>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    })
}

impl WebhookAccepted {
    /// The event's type: `webhook.<provider>.<the platform's name for it>`.
    #[must_use]
    pub fn type_on_feed(&self) -> String {
        let clean = |c: char| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '_' || c == '-' => c,
            _ => '_',
        };
        let name: String = self.event_type.chars().map(clean).collect();
        let name = name.trim_matches('.');
        format!("webhook.{}.{}", self.provider, if name.is_empty() { "received" } else { name })
    }

    /// The event's data as clients and playbooks see it. A body that is not JSON is given as text or base64.
    #[must_use]
    pub fn data(&self) -> Value {
        let mut data = json!({
            "source": self.source,
            "provider": self.provider,
            "delivery_ids": self.delivery_ids,
            "trust": self.trust,
            "content_type": self.content_type,
        });
        if let Some(tenant) = &self.tenant {
            data["tenant"] = json!(tenant);
        }
        let parsed = serde_json::from_slice::<Value>(&self.body);
        let body = parsed.as_ref().map_or(Body::Raw(&self.body), Body::Json);
        if let Some(common) = shape::common(&self.provider, &self.event_type, body) {
            data["common"] = common;
        }
        match parsed {
            Ok(body) => data["body"] = body,
            Err(_) => match std::str::from_utf8(&self.body) {
                Ok(text) => data["body_text"] = json!(text),
                Err(_) => {
                    use base64::Engine as _;
                    data["body_base64"] = json!(base64::engine::general_purpose::STANDARD.encode(&self.body));
                }
            },
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_pointers_and_names_what_is_missing() {
        let data = json!({"body": {"files": [{"url": "https://a/b.mp4", "n": 3}]}});
        let template = json!({"url": "{{/body/files/0/url}}", "deep": [{"n": "{{/body/files/0/n}}"}], "keep": "x"});
        let filled = render(&template, &data).unwrap();
        assert_eq!(filled, json!({"url": "https://a/b.mp4", "deep": [{"n": 3}], "keep": "x"}));
        let missing = render(&json!("{{/body/files/1/url}}"), &data);
        assert_eq!(missing, Err("the event has no /body/files/1/url".to_owned()));
    }

    #[test]
    fn one_template_reads_two_platforms() {
        let told = |provider: &str, event_type: &str, body: Value| {
            let webhook = WebhookAccepted {
                source: crate::domain::ids::SourceId::parse("in").unwrap(),
                provider: provider.to_owned(),
                event_type: event_type.to_owned(),
                delivery_ids: vec![],
                tenant: None,
                trust: crate::domain::account::Trust::Full,
                content_type: String::new(),
                body: body.to_string().into(),
                kept: crate::domain::account::KeptRequest::Nowhere,
            };
            render(&json!({"to": "{{/common/who/email}}"}), &webhook.data())
        };
        let stripe = json!({"data": {"object": {"object": "invoice", "customer_email": "a@b.example"}}});
        assert_eq!(told("stripe", "invoice.paid", stripe), Ok(json!({"to": "a@b.example"})));
        let zoom = json!({"payload": {"object": {"host_email": "c@d.example"}}});
        assert_eq!(told("zoom", "meeting.ended", zoom), Ok(json!({"to": "c@d.example"})));
        let missing = Err("the event has no /common/who/email".to_owned());
        assert_eq!(told("zoom", "meeting.ended", json!({})), missing);
    }
}
