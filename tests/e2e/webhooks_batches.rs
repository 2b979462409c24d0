//! Batches: one request, one signature, an event for each item.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use steward_tests::harness::{Api, Delivery, Headers, Node, Platform, Reply, data, headers, now_ms};

use crate::webhooks_in::{public_url, source};

/// Events in one request, at most.
const ITEMS_MAX: u64 = 1_000;
const ASANA_SECRET: &str = "b537207f20cbfa02357cf448134da559";

fn contact(number: u64) -> Value {
    json!({"portalId": 62515, "subscriptionId": 12, "eventId": number, "occurredAt": number,
            "subscriptionType": if number.is_multiple_of(2) { "contact.creation" } else { "contact.deletion" }})
}

/// Posts these items as HubSpot does.
async fn post(node: &Node, path: &str, items: &[Value]) -> Reply {
    let body = Value::from(items).to_string().into_bytes();
    let delivery = Delivery { platform: Platform::HubSpot, id: String::new(), body };
    node.post(path, &delivery.signed(now_ms(), &public_url(node, path)), &delivery.body).await
}

async fn webhooks(api: &Api) -> Vec<(String, u64, Value)> {
    let events = api.feed("acme").await.into_iter().filter(|event| event.r#type.starts_with("webhook."));
    events.map(|event| (event.r#type.clone(), event.causation_seq, data(&event))).collect()
}

#[tokio::test]
async fn each_item_of_a_batch_is_an_event_of_its_own_and_known_ones_are_left_out() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::HubSpot).await;
    let input = json!({"text": "{{/body/eventId}}"});
    api.put_playbook("acme", "webhook.hubspot.contact.*", "chat", &input).await;
    let first = post(&node, &path, &[contact(1), contact(2)]).await;
    assert_eq!((first.status, &first.json()["duplicate"]), (200, &json!(false)), "{}", first.text());
    let overlap = post(&node, &path, &[contact(1), contact(3), contact(2)]).await.json();
    assert_eq!(overlap["duplicate"], false);
    let again = post(&node, &path, &[contact(3), contact(1)]).await.json();
    assert_eq!(again, json!({"seq": overlap["seq"], "duplicate": true}));

    let webhooks = webhooks(&api).await;
    let types: Vec<&str> = webhooks.iter().map(|(name, _, _)| name.as_str()).collect();
    let (odd, even) = ("webhook.hubspot.contact.deletion", "webhook.hubspot.contact.creation");
    assert_eq!(types, [odd, even, odd]);
    for (number, (_, cause, told)) in (1..).zip(&webhooks) {
        assert_eq!((&told["body"], *cause), (&contact(number), 0));
        assert_eq!(told["delivery_ids"], json!([format!("62515:12:{number}:{number}")]));
    }
    // A playbook follows each of them, and each job knows its own.
    let feed = api.feed("acme").await;
    for job in feed.iter().filter(|event| event.r#type == "job.requested") {
        let cause = feed.iter().find(|event| event.seq == job.causation_seq).expect("it has a cause");
        assert_eq!(data(job)["input"]["text"], data(cause)["body"]["eventId"]);
    }
    assert_eq!(feed.iter().filter(|event| event.r#type == "job.requested").count(), 3);
}

#[tokio::test]
async fn a_batch_has_a_limit() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::HubSpot).await;
    let items: Vec<Value> = (0..=ITEMS_MAX).map(contact).collect();
    post(&node, &path, &items).await.problem(413, "batch_too_large");
    assert_eq!(webhooks(&api).await.len(), 0);
    assert_eq!(post(&node, &path, &items[1..]).await.status, 200);
    assert_eq!(webhooks(&api).await.len(), 1_000);
}

pub(crate) fn asana(secret: &str, body: &str) -> Headers {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key will do");
    mac.update(body.as_bytes());
    headers(&[("x-hook-signature", &hex::encode(mac.finalize().into_bytes()))])
}

#[tokio::test]
async fn a_heartbeat_is_no_event() {
    let node = Node::start();
    let api = node.api().await;
    api.create_account("acme").await;
    let path = api.create_source("acme", "in", "asana-hook", ASANA_SECRET).await;
    for empty in ["{}", r#"{"events":[]}"#] {
        let answer = node.post(&path, &asana(ASANA_SECRET, empty), empty.as_bytes()).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"seq": 0, "duplicate": false})));
    }
    assert_eq!(webhooks(&api).await.len(), 0);
    let two = r#"{"events":[{"action":"added","resource":{"gid":"1"}},{"action":"changed","resource":{"gid":"1"}}]}"#;
    assert_eq!(node.post(&path, &asana(ASANA_SECRET, two), two.as_bytes()).await.status, 200);
    let types: Vec<String> = webhooks(&api).await.into_iter().map(|(name, _, _)| name).collect();
    assert_eq!(types, ["webhook.asana.added", "webhook.asana.changed"]);
    node.post(&path, &asana("guessed", two), two.as_bytes()).await.problem(401, "bad_signature");
}
