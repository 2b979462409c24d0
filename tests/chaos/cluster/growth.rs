//! One node that becomes three and one again, with clients at work all the time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use steward_proto::event::v1::{AckConsumerRequest, GetConsumerRequest};
use steward_tests::harness::{Api, Cluster, Outside, Run, Shape, WAIT_MAX, eventually, headers};

use crate::work::recording;
use crate::{A_WHILE, PLAN, close};

const ACCOUNT: &str = "account-0";
const CONSUMER: &str = "ledger";
/// Where the consumer stands; the account's first events are those of its setup.
const CURSOR: u64 = 2;

/// Accounts with a recording each, of half a MiB: more than there are shards, so that many have one.
const WITH_BLOBS: u64 = 12;

/// The formats of the shards a node holds, by its own word.
fn formats(cluster: &Cluster, node: u64) -> BTreeSet<u64> {
    let rows = cluster.node(node).ctl_json(&["shards"]);
    rows.as_array().expect("shards are a list").iter().filter_map(|row| row["format"].as_u64()).collect()
}

async fn cursor(api: &Api) -> u64 {
    let request = GetConsumerRequest { account_id: ACCOUNT.to_owned(), consumer: CONSUMER.to_owned() };
    api.events().get_consumer(request).await.expect("the consumer is known").into_inner().seq
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_becomes_three_and_one_again() {
    let mut cluster = Cluster::start(Shape { nodes: 1, ..Shape::default() }).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    let acked = AckConsumerRequest { account_id: ACCOUNT.to_owned(), consumer: CONSUMER.to_owned(), seq: CURSOR };
    cluster.node(1).api().await.events().ack_consumer(acked).await.expect("the cursor is kept");
    cluster.add();
    cluster.add();
    cluster.placed().await;
    let first = formats(&cluster, 1);
    assert_eq!((formats(&cluster, 2), formats(&cluster, 3)), (first.clone(), first), "a snapshot brings its format");
    run.goes_on(A_WHILE).await;
    assert_eq!(cursor(&cluster.node(3).api().await).await, CURSOR);
    for node in [1, 2] {
        cluster.drain(node).await;
        run.goes_on(A_WHILE).await;
    }
    for node in [1, 2] {
        cluster.terminate(node).await;
        cluster.forget(node);
    }
    run.goes_on(A_WHILE).await;
    assert_eq!(cursor(&cluster.node(3).api().await).await, CURSOR);
    close("growth", cluster, run).await;
}

/// A platform that serves a recording of its own to each request.
fn platform() -> Outside {
    let recording = recording();
    Outside::start(move |_, earlier| {
        // What follows the last box of a recording is skipped by whoever plays it.
        let body = [recording.as_slice(), earlier.to_string().as_bytes()].concat();
        (200, headers(&[("content-type", "video/mp4")]), body)
    })
}

/// Fetches a recording for each of some accounts; answers the names of the blobs.
async fn fetched(api: &Api, platform: &Outside) -> BTreeMap<String, String> {
    let mut jobs = vec![];
    for account in (0..WITH_BLOBS).map(|account| format!("account-{account}")) {
        let job = api.create_job(&account, "probe", &json!({"url": platform.url("/rec.mp4")})).await;
        jobs.push((account, job));
    }
    let mut blobs = BTreeMap::new();
    for (account, job) in jobs {
        let ended = async || Some(api.job(&account, &job).await).filter(|job| job.ended_at_ms > 0);
        let ended = eventually(WAIT_MAX, "the job to end", ended).await;
        let (_, result) = Api::task(&ended, "fetch");
        let blob = result["blob"].as_str().unwrap_or_else(|| panic!("a fetch makes a blob: {ended:?}"));
        blobs.insert(account, blob.to_owned());
    }
    blobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_node_has_every_blob_as_soon_as_the_others_may_go() {
    let mut cluster = Cluster::start(Shape { nodes: 1, ..Shape::default() }).await;
    let run = Run::start(PLAN, cluster.known()).await;
    let platform = platform();
    let blobs = fetched(&cluster.node(1).api().await, &platform).await;
    cluster.add();
    cluster.add();
    cluster.placed().await;
    for node in [1, 2] {
        cluster.drain(node).await;
    }
    for node in [1, 2] {
        cluster.terminate(node).await;
        cluster.forget(node);
    }
    let last = cluster.node(3).api().await;
    for (account, hash) in &blobs {
        assert!(last.blob(account, hash).await.starts_with(&recording()), "{account} lost what it fetched");
    }
    run.goes_on(A_WHILE).await;
    close("growth with blobs", cluster, run).await;
}
