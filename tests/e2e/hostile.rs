//! Receivers that hang, never end, cut off or point inside: they cost the others nothing, and the node no memory.

use steward_proto::account::v1::Role;
use steward_proto::webhook::v1::AttemptResult;
use steward_proto::webhook::v1::ListDeliveriesRequest;
use steward_tests::harness::{Api, Behaviour, Hostile, Node, Outside, WAIT_MAX, data, eventually, within};

const SECRET: &str = "whsec_c3Rld2FyZC1lMmUtcmVjZWl2ZXItc2VjcmV0LTE=";
const EVENTS: usize = 40;
/// What a node may grow by while receivers send it all they can.
const GROWTH_MAX_MB: u64 = 64;

fn resident_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the node runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

async fn failures(api: &Api, endpoint: &str) -> usize {
    let request = ListDeliveriesRequest {
        account_id: "acme".to_owned(),
        endpoint_id: endpoint.to_owned(),
        result: AttemptResult::Failed.into(),
        ..ListDeliveriesRequest::default()
    };
    api.webhooks().list_deliveries(request).await.expect("attempts are listed").into_inner().deliveries.len()
}

#[tokio::test]
async fn hostile_receivers_cost_the_others_nothing() {
    let hostile: Vec<Hostile> = Behaviour::ALL.into_iter().map(Hostile::start).collect();
    let bait = Outside::start(|_, _| (204, vec![], vec![]));
    let inside = bait.url("/secret");
    let pointing = Outside::start(move |_, _| (307, vec![("location".to_owned(), inside.clone())], vec![]));
    let healthy = Outside::start(|_, _| (204, vec![], vec![]));
    let node =
        Node::builder().reaching_loopback().set("deliveries.timeout_s=1").set("deliveries.in_flight_max=32").start();
    let api = node.api().await;
    api.create_account("acme").await;
    let pattern = "key.created";
    for one in &hostile {
        api.create_endpoint("acme", one.behaviour().name(), &one.url(), pattern, SECRET).await;
    }
    api.create_endpoint("acme", "points", &pointing.url("/in"), pattern, SECRET).await;
    api.create_endpoint("acme", "well", &healthy.url("/in"), pattern, SECRET).await;
    let before = resident_mb(node.pid());
    for _ in 0..EVENTS {
        api.create_key("acme", Role::Reader, 0).await;
    }
    within(WAIT_MAX, "all events at the one that answers", || (healthy.seen().len() >= EVENTS).then_some(()));
    let told = Behaviour::ALL.into_iter().filter(|one| *one != Behaviour::NeverEnds).map(Behaviour::name);
    for name in told.chain(["points"]) {
        let failed = async || (failures(&api, name).await > 0).then_some(());
        eventually(WAIT_MAX, "a failure to be told", failed).await;
    }
    let grown = resident_mb(node.pid()).saturating_sub(before);
    assert!(grown < GROWTH_MAX_MB, "the node grew by {grown} MB");
    assert_eq!(bait.connections(), 0, "a redirect was followed");
    for one in &hostile {
        assert!(one.written() < 1 << 30, "{} could write {} bytes", one.behaviour().name(), one.written());
    }
    let told = api.feed_of("acme", "delivery.failed").await;
    let longest = told.iter().map(|event| data(event)["response"].as_str().map_or(0, str::len)).max();
    assert!(longest.is_some_and(|length| length == 4096), "the beginning of an answer is kept: {longest:?}");
    assert_eq!(api.endpoint("acme", "well").await.failed_attempts_total, 0);
}
