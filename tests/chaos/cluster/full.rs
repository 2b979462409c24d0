//! Disks that fill up: others lead, or commands are refused when all are full, before anything fails, and it is as before
//! once there is space.

use std::time::Duration;

use steward_cluster::clock::{Clock as _, SystemClock};
use steward_proto::account::v1::GetAccountRequest;
use steward_tests::harness::{Cluster, Disk, Run, Shape, WAIT_MAX, eventually, skipped};

use crate::uploads::ask;
use crate::{A_WHILE, PLAN, close};

/// Enough for a run and some room above the reserve of 32 MiB.
const DISK_MIB: u64 = 160;
/// Below the reserve: commands are refused.
const LOW_MIB: u64 = 24;
/// Below the floor of 8 MiB: nothing is written at all.
const BARE_MIB: u64 = 4;
/// Enough for uploads, which leave 256 MiB free.
const DISK_FOR_BLOBS_MIB: u64 = 512;
/// Enough for the log, and too little for copies from other nodes.
const TIGHT_MIB: u64 = 100;
/// From the moment there is space to the first command that is acknowledged.
const RESUMES_WITHIN: Duration = Duration::from_secs(10);

async fn cluster_on(shape: Shape, disk_mib: u64) -> Option<Cluster> {
    match Disk::mount_each(shape.nodes, disk_mib) {
        Ok(disks) => Some(Cluster::start_on(shape, disks).await),
        Err(reason) => {
            skipped(&reason);
            None
        }
    }
}

async fn start() -> Option<(Cluster, Run)> {
    let cluster = cluster_on(Shape::default(), DISK_MIB).await?;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    Some((cluster, run))
}

/// Waits until clients are told that there is no space.
async fn refused(run: &Run) {
    let told = async || run.measured().refusals.contains_key("disk_full").then_some(());
    eventually(WAIT_MAX, "commands to be refused", told).await;
}

/// Every account can be read through this node.
async fn reads(cluster: &Cluster, node: u64) {
    let api = cluster.node(node).api().await;
    for account in 0..PLAN.accounts {
        let request = GetAccountRequest { account_id: format!("account-{account}") };
        let read = async || api.accounts().get_account(request.clone()).await.ok();
        eventually(WAIT_MAX, "a read, which needs no space", read).await;
    }
}

/// Gives the space back and waits for the first commands.
async fn resumes(cluster: &Cluster, nodes: &[u64], run: &Run) {
    nodes.iter().for_each(|node| cluster.disk(*node).free());
    let clock = SystemClock::new();
    run.goes_on(1).await;
    let resumed_after = clock.monotonic();
    assert!(resumed_after < RESUMES_WITHIN, "{resumed_after:?}");
    run.goes_on(A_WHILE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_full_disk_lets_others_lead_reads_on_and_resumes() {
    let Some((cluster, run)) = start().await else { return };
    let leader = cluster.leader().await;
    cluster.disk(leader).fill_but(LOW_MIB);
    // Every client comes by accounts of each node: none goes on for so long while some of them are refused.
    run.goes_on(3 * A_WHILE).await;
    assert_eq!(cluster.leads(leader), 0, "others lead while its disk is nearly full");
    reads(&cluster, leader).await;
    resumes(&cluster, &[leader], &run).await;
    let leads_again = async || (cluster.leads(leader) > 0).then_some(());
    eventually(WAIT_MAX, "the node to lead again, since there is space", leads_again).await;
    // A node that can write nothing leads nothing; the others do not need it.
    cluster.disk(leader).fill_but(BARE_MIB);
    run.goes_on(2 * A_WHILE).await;
    reads(&cluster, cluster.all_but(leader)[0]).await;
    resumes(&cluster, &[leader], &run).await;
    cluster.placed().await;
    close("one disk full", cluster, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_disks_are_all_full_refuse_read_on_and_resume() {
    let Some((cluster, run)) = start().await else { return };
    let all = [1, 2, 3];
    all.iter().for_each(|node| cluster.disk(*node).fill_but(LOW_MIB));
    refused(&run).await;
    for node in all {
        reads(&cluster, node).await;
    }
    resumes(&cluster, &all, &run).await;
    close("all disks full", cluster, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_nearly_full_takes_no_copies_of_blobs() {
    let shape = Shape { shards: 1, ..Shape::default() };
    let Some(cluster) = cluster_on(shape, DISK_FOR_BLOBS_MIB).await else { return };
    let leader = cluster.leader_of(0);
    let others = cluster.all_but(leader);
    let (tight, roomy) = (others[0], others[1]);
    let api = cluster.node(leader).api().await;
    api.create_account("acme").await;
    cluster.disk(tight).fill_but(TIGHT_MIB);
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3 << 20).collect();
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let length = bytes.len().to_string();
    let begun = async || {
        let reply =
            ask(&cluster, leader, "POST", "/v1/accounts/acme/uploads", &[("upload-length", &length)], b"").await;
        reply.header("location").map(str::to_owned)
    };
    let path = eventually(WAIT_MAX, "the formats to be raised", begun).await;
    let all = [("content-type", "application/offset+octet-stream"), ("upload-offset", "0")];
    let sent = ask(&cluster, leader, "PATCH", &path, &all, &bytes).await;
    assert_eq!((sent.status, sent.header("upload-blob")), (204, Some(hash.as_str())), "{}", sent.text());

    let has = |node: u64| cluster.node(node).data_dir().join("blobs").join(&hash[..2]).join(&hash).exists();
    cluster.node(tight).logged("the refused copy", |line| line["message"] == "a blob could not be brought");
    assert_eq!((has(leader), has(tight), has(roomy)), (true, false, true));
    assert_eq!(cluster.node(tight).api().await.blob("acme", &hash).await, bytes, "by way of those that have it");
    cluster.disk(tight).free();
    cluster.placed().await;
    cluster.stop_and_compare().await;
}
