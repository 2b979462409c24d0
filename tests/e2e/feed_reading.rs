//! The feed as readers use it: by page, by type, from a time, by CloudEvents, and with who and why on every event.

use serde_json::Value;
use steward_proto::event::v1::SubscribeRequest;
use steward_proto::event::v1::subscribe_request::From as Start;
use steward_proto::event::v1::subscribe_response::Item;
use steward_proto::event::v1::{Gap, ListEventsRequest};
use steward_tests::harness::{Node, Platform, WAIT_MAX, eventually, headers, now_ms};

use crate::webhooks_in::source;

#[tokio::test]
async fn a_page_and_a_stream_can_be_filtered_by_type() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    for number in 0..5 {
        let delivery = Platform::GitHub.sample(number);
        assert_eq!(node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status, 200);
    }
    let types = vec!["webhook.**".to_owned()];
    let page =
        |after_seq| ListEventsRequest { account_id: "acme".into(), after_seq, types: types.clone(), page_size: 3 };
    let first = api.events().list_events(page(0)).await.unwrap().into_inner();
    assert_eq!((first.events.len(), first.at_end), (3, false));
    let rest = api.events().list_events(page(first.next_after_seq)).await.unwrap().into_inner();
    assert_eq!((rest.events.len(), rest.at_end), (2, true));

    let request =
        SubscribeRequest { account_id: "acme".into(), from: Some(Start::AfterSeq(0)), types, until_now: true };
    let mut stream = api.events().subscribe(request).await.unwrap().into_inner();
    let mut seqs = vec![];
    while let Some(answer) = stream.message().await.unwrap() {
        if let Some(Item::Event(event)) = answer.item {
            seqs.push(event.seq);
        }
    }
    let paged: Vec<u64> = first.events.iter().chain(&rest.events).map(|event| event.seq).collect();
    assert_eq!(seqs, paged, "until_now ends the stream after the newest event");
}

#[tokio::test]
async fn a_correlation_id_goes_from_the_webhook_to_its_event_and_its_job() {
    let node = Node::builder().set("log.level=debug").start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::Zoom).await;
    let input = serde_json::json!({"url": "{{/body/payload/object/recording_files/0/download_url}}"});
    api.put_playbook("acme", "webhook.zoom.recording.completed", "probe", &input).await;
    let delivery = Platform::zoom_recording("http://10.0.0.1/never.mp4", 1);
    let mut signed = delivery.signed(now_ms(), "");
    signed.push(("X-Request-Id".to_owned(), "zoom-call-17".to_owned()));
    let answer = node.post(&path, &signed, &delivery.body).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("zoom-call-17")));

    let webhook = &api.feed_of("acme", "webhook.zoom.recording.completed").await[0];
    let job = &api.feed_of("acme", "job.requested").await[0];
    assert_eq!((webhook.correlation_id.as_str(), webhook.causation_seq), ("zoom-call-17", 0));
    assert_eq!((job.correlation_id.as_str(), job.causation_seq), ("zoom-call-17", webhook.seq));
    assert_eq!((webhook.actor.as_str(), job.actor.as_str()), ("source:in", "playbook:playbook"));

    let mut forged = delivery.signed_with("guessed", now_ms(), "");
    forged.push(("x-request-id".to_owned(), "zoom-call-18".to_owned()));
    node.post(&path, &forged, &delivery.body).await.problem(401, "bad_signature");
    let line = node.logged("the refusal's log line", |line| line["correlation_id"] == "zoom-call-18");
    assert_eq!((&line["level"], &line["code"]), (&"DEBUG".into(), &"bad_signature".into()));
    assert!(!line.to_string().contains("never.mp4"), "no payload in the log: {line}");
}

#[tokio::test]
async fn curl_reads_cloud_events() {
    let node = Node::start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    let delivery = Platform::GitHub.sample(1);
    assert_eq!(node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status, 200);
    let bearer = format!("Bearer {}", node.key());
    let get = async |query: &str| {
        let path = format!("/v1/accounts/acme/events{query}");
        node.request("GET", &path, &headers(&[("authorization", &bearer)]), b"").await
    };
    let answer = get("?after=0&limit=100").await;
    assert_eq!(answer.header("content-type"), Some("application/cloudevents-batch+json"));
    let events = answer.json();
    let events = events.as_array().unwrap();
    let feed = api.feed("acme").await;
    assert_eq!(events.len(), feed.len());
    for (event, of_feed) in events.iter().zip(&feed) {
        let field = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(field("specversion"), "1.0");
        assert_eq!((field("type"), field("seq")), (of_feed.r#type.clone(), of_feed.seq.to_string()));
        assert_eq!(field("id"), format!("acme-{}", of_feed.seq));
        assert_eq!(event["data"], serde_json::from_str::<Value>(&of_feed.data_json).unwrap());
    }
    let one = get("?after=1&limit=1").await.json();
    assert_eq!(one.as_array().unwrap().len(), 1);
    assert_eq!(one[0]["seq"], "2");
}

#[tokio::test]
async fn pages_name_what_retention_took() {
    let mut node = Node::builder().set("accounts.feed_events_max=4").start();
    let api = node.api().await;
    let path = source(&api, "acme", Platform::GitHub).await;
    for number in 0..10 {
        let delivery = Platform::GitHub.sample(number);
        assert_eq!(node.post(&path, &delivery.signed(now_ms(), ""), &delivery.body).await.status, 200);
    }
    // Retention walks over all feeds when a node starts, then once a minute.
    node.kill();
    node.restart();
    let api = node.api().await;
    let list = async |after_seq| {
        let request = ListEventsRequest { account_id: "acme".to_owned(), after_seq, types: vec![], page_size: 2 };
        api.events().list_events(request).await.expect("events are listed").into_inner()
    };
    let trimmed = eventually(WAIT_MAX, "retention to take events", async || {
        Some(list(2).await).filter(|page| page.events.first().is_some_and(|first| first.seq == 9))
    });
    let page = trimmed.await;
    assert_eq!(page.gap, Some(Gap { first_lost_seq: 3, last_lost_seq: 8 }));
    let (next, from_the_gap) = (list(page.next_after_seq).await, list(8).await);
    assert_eq!((next.gap, next.events.len(), from_the_gap.gap), (None, 2, None));
    let bearer = headers(&[("authorization", &format!("Bearer {}", node.key()))]);
    let lost = async |after: u64| {
        let answer = node.request("GET", &format!("/v1/accounts/acme/events?after={after}"), &bearer, b"").await;
        answer.header("events-lost").map(str::to_owned)
    };
    assert_eq!((lost(2).await.as_deref(), lost(8).await), (Some("3-8"), None));
    let told = node.ctl(&["event", "list", "acme"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("1 to 8 are no longer kept"));
}
