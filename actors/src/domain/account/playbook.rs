//! Playbooks: an event of the right type becomes a job, in the same decision and so exactly once.

use serde_json::{Value, json};

use super::event::{Event, WebhookAccepted};
use super::limits::{JSON_BYTES_MAX, OPEN_JOBS_MAX};
use super::state::{Account, Playbook};
use crate::domain::webhook::shape::{self, Body};

/// What the account's playbooks make of a webhook: a job each, or the reason why not.
pub(super) fn follow(account: &Account, webhook: &WebhookAccepted) -> Vec<Event> {
    let wanted = |playbook: &&Playbook| playbook.on.matches(&webhook.type_on_feed());
    if !account.playbooks.values().any(|playbook| wanted(&playbook)) {
        return vec![]; // Most webhooks: do not parse their body.
    }
    let data = webhook.data();
    let mut events = vec![];
    for (id, playbook) in account.playbooks.iter().filter(|(_, playbook)| wanted(playbook)) {
        // The webhook itself takes the next number, then one event per playbook.
        let seq = account.last_seq + 2 + u64::try_from(events.len()).expect("playbooks are few");
        let outcome = if account.jobs.len() + events.len() < OPEN_JOBS_MAX {
            render(&playbook.input, &data)
        } else {
            Err(format!("the account has {OPEN_JOBS_MAX} open jobs, which is the limit"))
        };
        events.push(match outcome {
            Ok(input) => {
                let job = super::decide::job_id(playbook.job, seq);
                Event::JobRequested { job, kind: playbook.job, input, playbook: Some(id.clone()) }
            }
            Err(reason) => Event::PlaybookFailed { playbook: id.clone(), reason },
        });
    }
    events
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
