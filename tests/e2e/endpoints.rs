//! Endpoints over their life: what they are sent, in which order, with which signatures, and once more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_proto::account::v1::Role;
use steward_proto::event::v1::ListEventsRequest;
use steward_proto::webhook::v1 as pb;
use steward_tests::harness::{Api, Node, Outside, Seen, WAIT_MAX, data, eventually, within};

const SECRET: &str = "whsec_c3Rld2FyZC1lMmUtcmVjZWl2ZXItc2VjcmV0LTE=";
const OTHER_SECRET: &str = "whsec_c3Rld2FyZC1lMmUtcmVjZWl2ZXItc2VjcmV0LTI=";
/// The private key of 32 zero bytes, and what receivers verify with.
const PRIVATE_KEY: &str = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const PUBLIC_KEY: &str = "whpk_O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik=";

struct World {
    node: Node,
    api: Api,
}

impl World {
    async fn start() -> Self {
        let node = Node::builder().reaching_loopback().start();
        let api = node.api().await;
        api.create_account("acme").await;
        Self { node, api }
    }

    async fn create(&self, change: impl FnOnce(&mut pb::CreateEndpointRequest)) -> pb::CreateEndpointResponse {
        let mut request = pb::CreateEndpointRequest {
            account_id: "acme".to_owned(),
            endpoint_id: "crm".to_owned(),
            patterns: vec!["key.created".to_owned()],
            secret: SECRET.to_owned(),
            ..pb::CreateEndpointRequest::default()
        };
        change(&mut request);
        self.api.webhooks().create_endpoint(request).await.expect("the endpoint is created").into_inner()
    }

    /// Makes an event: a key with this label. Says its number.
    async fn event(&self) -> u64 {
        self.api.create_key("acme", Role::Reader, 0).await;
        self.api.feed_of("acme", "key.created").await.last().expect("it was just made").seq
    }

    async fn deliveries(&self) -> Vec<pb::Delivery> {
        let (account_id, endpoint_id) = ("acme".to_owned(), "crm".to_owned());
        let request = pb::ListDeliveriesRequest { account_id, endpoint_id, ..pb::ListDeliveriesRequest::default() };
        self.api.webhooks().list_deliveries(request).await.expect("attempts are listed").into_inner().deliveries
    }

    async fn delivered(&self, count: u64) {
        let done = async || (self.api.endpoint("acme", "crm").await.delivered_total >= count).then_some(());
        eventually(WAIT_MAX, "the deliveries to be recorded", done).await;
    }
}

fn seq(seen: &Seen) -> u64 {
    let body: Value = serde_json::from_slice(&seen.body).expect("what is posted is JSON");
    body["data"]["seq"].as_u64().expect("it names its event")
}

/// Whether one of the signatures of a request is by this secret.
fn is_signed_by(seen: &Seen, secret: &str) -> bool {
    let signed = |name: &str| seen.header(name).expect("it is signed");
    let (id, time) = (signed("webhook-id"), signed("webhook-timestamp"));
    let expected = steward_tests::harness::standard_signature(secret, id, time, &seen.body);
    signed("webhook-signature").split(' ').any(|signature| signature == expected)
}

#[tokio::test]
async fn headers_credentials_filter_and_order_are_as_asked_for() {
    let receiver = Outside::start(|_, _| (200, vec![], b"thanks".to_vec()));
    let world = World::start().await;
    let basic = pb::BasicCredentials { user: "u".to_owned(), password: "p".to_owned() };
    let extras = pb::EndpointExtras {
        headers: [("X-Team".to_owned(), "crm".to_owned())].into(),
        credentials: Some(pb::endpoint_extras::Credentials::Basic(basic)),
    };
    let created = world.create(|request| {
        request.url = receiver.url("/in");
        request.patterns = vec![];
        request.filter = "type == 'key.created'".to_owned();
        request.ordering_key = "/data/account_id".to_owned();
        request.extras = Some(extras);
    });
    let endpoint = created.await.endpoint.expect("it is told");
    assert!(endpoint.has_extras && endpoint.filter.starts_with("type"), "{endpoint:?}");
    let mut sent = vec![];
    for _ in 0..20 {
        sent.push(world.event().await);
    }
    world.delivered(20).await;
    let seen = receiver.seen();
    assert_eq!(seen.iter().map(seq).collect::<Vec<_>>(), sent, "one line, and nothing else came");
    for request in &seen {
        assert_eq!((request.header("x-team"), request.header("authorization")), (Some("crm"), Some("Basic dTpw")));
        assert!(is_signed_by(request, SECRET));
    }
    let deliveries = world.deliveries().await;
    assert_eq!(deliveries.iter().map(|delivery| delivery.event_seq).rev().collect::<Vec<_>>(), sent);
    assert!(deliveries.iter().all(|delivery| delivery.response == "thanks" && delivery.status == 200));
    let feed = serde_json::to_string(&world.api.feed("acme").await.iter().map(data).collect::<Vec<_>>()).unwrap();
    assert!(!feed.contains("dTpw") && !feed.contains("X-Team"), "what is sealed is on no feed");
}

#[tokio::test]
async fn a_rotated_secret_signs_beside_the_old_one_and_private_keys_sign_too() {
    let receiver = Outside::start(|_, _| (204, vec![], vec![]));
    let world = World::start().await;
    world.create(|request| request.url = receiver.url("/in")).await;
    let rotate = |secret: &str| pb::RotateEndpointSecretRequest {
        account_id: "acme".to_owned(),
        endpoint_id: "crm".to_owned(),
        secret: secret.to_owned(),
        grace_s: 60,
    };
    let rotated = world.api.webhooks().rotate_endpoint_secret(rotate(OTHER_SECRET)).await.unwrap().into_inner();
    assert!(rotated.endpoint.unwrap().old_secret_until_ms > 0);
    world.event().await;
    world.delivered(1).await;
    let seen = receiver.seen();
    assert!(is_signed_by(&seen[0], SECRET) && is_signed_by(&seen[0], OTHER_SECRET));
    let rotated = world.api.webhooks().rotate_endpoint_secret(rotate(PRIVATE_KEY)).await.unwrap().into_inner();
    assert_eq!(rotated.public_key, PUBLIC_KEY);
    world.event().await;
    world.delivered(2).await;
    let seen = receiver.seen();
    assert!(is_signed_by(&seen[1], OTHER_SECRET) && !is_signed_by(&seen[1], SECRET));
    let signed = |name: &str| seen[1].header(name).unwrap();
    let signature = signed("webhook-signature").split(' ').find_map(|one| one.strip_prefix("v1a,")).expect("it is v1a");
    let mut content = format!("{}.{}.", signed("webhook-id"), signed("webhook-timestamp")).into_bytes();
    content.extend_from_slice(&seen[1].body);
    let key = STANDARD.decode(&PUBLIC_KEY[5..]).unwrap();
    let verifying = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key);
    verifying.verify(&content, &STANDARD.decode(signature).unwrap()).expect("the public key verifies");
}

#[tokio::test]
async fn a_pause_holds_events_back_and_settings_change_while_it_lasts() {
    let (first, second) = (Outside::start(|_, _| (204, vec![], vec![])), Outside::start(|_, _| (204, vec![], vec![])));
    let world = World::start().await;
    world.create(|request| request.url = first.url("/in")).await;
    let (account_id, endpoint_id) = ("acme".to_owned(), "crm".to_owned());
    let pause = pb::PauseEndpointRequest { account_id: account_id.clone(), endpoint_id: endpoint_id.clone() };
    let paused = world.api.webhooks().pause_endpoint(pause).await.unwrap().into_inner().endpoint.unwrap();
    assert_eq!(paused.state(), pb::EndpointState::Paused);
    let held = [world.event().await, world.event().await];
    let test = pb::TestEndpointRequest { account_id: account_id.clone(), endpoint_id: endpoint_id.clone() };
    let tested = world.api.webhooks().test_endpoint(test).await.unwrap().into_inner();
    assert!(tested.succeeded && tested.status == 204, "{tested:?}");
    let update = pb::UpdateEndpointRequest {
        account_id: account_id.clone(),
        endpoint_id: endpoint_id.clone(),
        url: second.url("/in"),
        patterns: vec!["key.*".to_owned()],
        ..pb::UpdateEndpointRequest::default()
    };
    world.api.webhooks().update_endpoint(update).await.unwrap();
    let resume = pb::ResumeEndpointRequest { account_id, endpoint_id };
    world.api.webhooks().resume_endpoint(resume).await.unwrap();
    world.delivered(2).await;
    let mut seqs: Vec<u64> = second.seen().iter().map(seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, held);
    let test = first.seen();
    assert_eq!(test.len(), 1, "nothing but the test");
    let body: Value = serde_json::from_slice(&test[0].body).unwrap();
    assert_eq!(body["type"], "endpoint.test");
}

#[tokio::test]
async fn what_was_sent_is_sent_once_more_under_its_id() {
    let receiver = Outside::start(|_, _| (204, vec![], vec![]));
    let world = World::start().await;
    world.create(|request| request.url = receiver.url("/in")).await;
    let mut sent = vec![];
    for _ in 0..5 {
        sent.push(world.event().await);
    }
    world.delivered(5).await;
    let (account_id, endpoint_id) = ("acme".to_owned(), "crm".to_owned());
    let resend = pb::ResendDeliveryRequest { account_id, endpoint_id, event_seq: sent[2] };
    world.api.webhooks().resend_delivery(resend.clone()).await.unwrap();
    world.delivered(6).await;
    let recover = |dry_run| pb::RecoverDeliveriesRequest {
        account_id: "acme".to_owned(),
        endpoint_id: "crm".to_owned(),
        after_seq: sent[0],
        dry_run,
        ..pb::RecoverDeliveriesRequest::default()
    };
    let told = world.api.webhooks().recover_deliveries(recover(true)).await.unwrap().into_inner();
    assert_eq!(told.events, 4);
    let told = world.api.webhooks().recover_deliveries(recover(false)).await.unwrap().into_inner();
    assert_eq!(told.events, 4);
    world.delivered(10).await;
    let mut times: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for seen in receiver.seen() {
        times.entry(seq(&seen)).or_default().push(seen.header("webhook-id").unwrap().to_owned());
    }
    let counts: Vec<usize> = times.values().map(Vec::len).collect();
    assert_eq!((times.keys().copied().collect::<Vec<_>>(), counts), (sent.clone(), vec![1, 2, 3, 2, 2]));
    assert!(times.values().all(|ids| ids.iter().all(|id| *id == ids[0])), "{times:?}");
    let nothing = pb::ResendDeliveryRequest { event_seq: 999, ..resend.clone() };
    let refused = world.api.webhooks().resend_delivery(nothing).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound, "{refused}");
    let echo = world.api.feed_of("acme", "delivery.succeeded").await[0].seq;
    let echo = pb::ResendDeliveryRequest { event_seq: echo, ..resend };
    let refused = world.api.webhooks().resend_delivery(echo).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
}

#[tokio::test]
async fn a_receiver_that_fails_opens_the_circuit_and_nothing_is_lost() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let receiver = Outside::start(move |_, _| match is_up.load(Ordering::SeqCst) {
        true => (204, vec![], vec![]),
        false => (500, vec![], b"down".to_vec()),
    });
    let mut world = World::start().await;
    world.create(|request| request.url = receiver.url("/in")).await;
    let mut sent = vec![];
    for _ in 0..30 {
        sent.push(world.event().await);
    }
    let opened = eventually(WAIT_MAX, "the circuit to open", async || {
        let endpoint = world.api.endpoint("acme", "crm").await;
        (endpoint.state() == pb::EndpointState::CircuitOpen).then_some(endpoint)
    });
    let opened = opened.await;
    assert!(opened.failing_since_ms > 0 && opened.pending > 0, "{opened:?}");
    assert_eq!(world.api.feed_of("acme", "endpoint.circuit_opened").await.len(), 1);
    // The node dies while it waits, and comes back when the receiver is well.
    world.node.kill();
    up.store(true, Ordering::SeqCst);
    let tried = receiver.seen().len();
    world.node.restart();
    world.api = world.node.api().await;
    let resume = pb::ResumeEndpointRequest { account_id: "acme".to_owned(), endpoint_id: "crm".to_owned() };
    world.api.webhooks().resume_endpoint(resume).await.unwrap();
    let arrived = |from: usize| {
        let mut seqs: Vec<u64> = receiver.seen().iter().skip(from).map(seq).collect();
        seqs.sort_unstable();
        seqs.dedup();
        seqs
    };
    within(Duration::from_secs(60), "all events at the receiver", || (arrived(tried) == sent).then_some(()));
    world.delivered(30).await;
    let endpoint = world.api.endpoint("acme", "crm").await;
    assert_eq!((endpoint.state(), endpoint.pending), (pb::EndpointState::Active, 0));
    let failed = |delivery: &pb::Delivery| delivery.result() == pb::AttemptResult::Failed;
    let failed: Vec<_> = world.deliveries().await.into_iter().filter(failed).collect();
    assert!(!failed.is_empty() && failed.iter().all(|delivery| delivery.response == "down"), "{failed:?}");
}

#[tokio::test]
async fn a_rate_is_kept() {
    let receiver = Outside::start(|_, _| (204, vec![], vec![]));
    let world = World::start().await;
    world
        .create(|request| {
            request.url = receiver.url("/in");
            request.rate_per_s = 2;
        })
        .await;
    let clock = SystemClock::new();
    for _ in 0..6 {
        world.event().await;
    }
    world.delivered(6).await;
    // Two go at once, four more half a second apart.
    let took = clock.monotonic();
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    assert_eq!(receiver.seen().len(), 6);
}

#[tokio::test]
async fn what_retention_took_before_it_was_sent_is_told() {
    let receiver = Outside::start(|_, _| (204, vec![], vec![]));
    let node = Node::builder().reaching_loopback().set("accounts.feed_events_max=4").start();
    let api = node.api().await;
    api.create_account("acme").await;
    let mut world = World { node, api };
    world.create(|request| request.url = receiver.url("/in")).await;
    let of = || ("acme".to_owned(), "crm".to_owned());
    let (account_id, endpoint_id) = of();
    world.api.webhooks().pause_endpoint(pb::PauseEndpointRequest { account_id, endpoint_id }).await.unwrap();
    for _ in 0..10 {
        world.api.create_key("acme", Role::Reader, 0).await;
    }
    // Retention walks over all feeds when a node starts.
    world.node.kill();
    world.node.restart();
    world.api = world.node.api().await;
    let first = eventually(WAIT_MAX, "retention to take events", async || {
        let request = ListEventsRequest { account_id: "acme".to_owned(), ..ListEventsRequest::default() };
        let page = world.api.events().list_events(request).await.ok()?.into_inner();
        page.gap.and(page.events.first().map(|event| event.seq)).filter(|first| *first > 5)
    });
    let first = first.await;
    let (account_id, endpoint_id) = of();
    world.api.webhooks().resume_endpoint(pb::ResumeEndpointRequest { account_id, endpoint_id }).await.unwrap();
    world.delivered(4).await;
    assert_eq!(receiver.seen().iter().map(seq).min(), Some(first));
    let given_up: Vec<_> =
        world.deliveries().await.into_iter().filter(|one| one.result() == pb::AttemptResult::Dead).collect();
    assert_eq!((given_up.len(), given_up[0].event_seq, given_up[0].attempt), (1, first - 1, 0), "{given_up:?}");
    assert!(given_up[0].error.contains("no longer kept"));
}
