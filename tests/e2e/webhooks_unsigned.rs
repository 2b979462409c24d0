//! Platforms that sign nothing: a word in each notification, a number in an envelope, and what they want to read back.

use serde_json::json;
use steward_tests::harness::{Api, Node, data, headers};

const WORD: &str = "44d07b25ba44cf7392dfdb06f7548dd9b07bc37d984de62a";
const ORGANIZATION: &str = "00D3000000062jOEAQ";

/// An account with a source of this scheme.
async fn source(api: &Api, scheme: &str, secret: &str) -> String {
    api.create_account("acme").await;
    api.create_source("acme", "in", scheme, secret).await
}

async fn count(api: &Api) -> usize {
    api.feed("acme").await.into_iter().filter(|event| event.r#type.starts_with("webhook.")).count()
}

#[tokio::test]
async fn a_graph_subscription_is_made_and_brings_events() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "graph-client-state", WORD).await;
    let text = headers(&[("content-type", "text/plain; charset=utf-8")]);
    let answer = node.post(&format!("{path}?validationToken=Validation%3A%20a%2Bb+%3Cb%3E"), &text, b"").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "Validation: a+b <b>"));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!((count(&api).await, node.metric("steward_webhook_handshakes_total").await), (0, 1));

    let item = |id: u8, word: &str| {
        format!(r#"{{"id":"{id}","subscriptionId":"s","clientState":"{word}","changeType":"created","tenantId":"t"}}"#)
    };
    let json = headers(&[("content-type", "application/json")]);
    let two = format!(r#"{{"value":[{},{}]}}"#, item(1, WORD), item(2, WORD));
    assert_eq!(node.post(&path, &json, two.as_bytes()).await.status, 200);
    assert_eq!(api.feed_of("acme", "webhook.msgraph.created").await.len(), 2, "an event for each item");
    let half = format!(r#"{{"value":[{},{}]}}"#, item(3, WORD), item(4, "guessed"));
    node.post(&path, &json, half.as_bytes()).await.problem(401, "bad_signature");
    node.post(&format!("{path}?validationToken=x"), &json, b"{}").await.problem(401, "missing_header");
}

#[tokio::test]
async fn salesforce_reads_that_its_message_is_kept() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "salesforce-outbound-message", ORGANIZATION).await;
    let message = |organization: &str| {
        format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
            xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>
            <notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>{organization}</OrganizationId>
            <Notification><Id>04l30000000Kz1AAAS</Id><sObject xsi:type="sf:Opportunity"/></Notification>
            </notifications></soapenv:Body></soapenv:Envelope>"#
        )
    };
    let xml = headers(&[("content-type", "text/xml; charset=utf-8"), ("soapaction", "\"\"")]);
    for _ in 0..2 {
        let answer = node.post(&path, &xml, message(ORGANIZATION).as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/xml; charset=utf-8"));
        assert!(answer.text().contains("<Ack>true</Ack>"), "{}", answer.text());
    }
    let events = api.feed_of("acme", "webhook.salesforce.opportunity").await;
    assert_eq!(events.len(), 1, "once");
    let body = json!({"OrganizationId": ORGANIZATION, "Id": "04l30000000Kz1AAAS", "sObject": {"@type": "Opportunity"}});
    assert_eq!(data(&events[0])["body"], body);
    node.post(&path, &xml, message("00D000000000000EAA").as_bytes()).await.problem(401, "bad_signature");
    let expanding =
        message(ORGANIZATION).replace("<soapenv:Envelope", "<!DOCTYPE a [<!ENTITY b \"c\">]><soapenv:Envelope");
    node.post(&path, &xml, expanding.as_bytes()).await.problem(401, "missing_header");
}
