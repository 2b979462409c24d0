//! One replica with a slow disk: the others are enough for an acknowledgement, so nobody waits for it.

use std::time::Duration;

use steward_cluster::clock::{Clock as _, SystemClock};
use steward_tests::harness::{Cluster, Disk, Http, Platform, Run, Shape, Throttle, now_ms, skipped};

use crate::{A_WHILE, PLAN, close};

const DISK_MIB: u64 = 256;
/// Fewer than the node needs to keep up with one sync for each command.
const WRITES_PER_SECOND: u32 = 20;
/// Commands measured before and while the disk is slow.
const COMMANDS: u64 = 200;
/// One in a hundred may take longer.
const SLOWER_THAN_P99: usize = 2;
/// What a measurement on a shared machine is off by.
const NOISE: Duration = Duration::from_millis(20);
const ACCOUNTS: usize = 12;

/// Sources of accounts whose shards other nodes lead, and where those nodes are.
async fn led_by_others(cluster: &Cluster, slow: u64) -> Vec<(String, String)> {
    let api = cluster.node(slow).api().await;
    let mut found = vec![];
    for account in (0..ACCOUNTS).map(|account| format!("measured-{account}")) {
        api.create_account(&account).await;
        let path = api.create_source(&account, "code", Platform::GitHub.scheme(), Platform::GitHub.secret()).await;
        let leader = cluster.leader_of(api.feed(&account).await[0].shard);
        if leader != slow {
            found.push((cluster.node(leader).http().to_owned(), path));
        }
    }
    found
}

/// How long the slowest of a hundred commands takes, one after the other.
async fn p99(sources: &[(String, String)], first: u64) -> Duration {
    let clock = SystemClock::new();
    let mut took = vec![];
    for (number, (address, path)) in (first..first + COMMANDS).zip(sources.iter().cycle()) {
        let delivery = Platform::GitHub.sample(number);
        let since = clock.monotonic();
        let mut http = Http::connect(address).await.expect("the node accepts connections");
        let answer = http.send("POST", path, &delivery.signed(now_ms(), ""), &delivery.body).await;
        assert_eq!(answer.expect("the node answers").status, 200);
        took.push(clock.monotonic() - since);
    }
    took.sort();
    took[took.len() - SLOWER_THAN_P99]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_a_slow_disk_slows_nobody_down() {
    let shape = Shape::default();
    let disks = match Disk::mount_each(shape.nodes, DISK_MIB) {
        Ok(disks) => disks,
        Err(reason) => return skipped(&reason),
    };
    let cluster = Cluster::start_on(shape, disks).await;
    let slow = cluster.leader().await;
    let sources = led_by_others(&cluster, slow).await;
    let before = p99(&sources, 0).await;
    let throttle = match Throttle::writes(cluster.node(slow).pid(), cluster.disk(slow), WRITES_PER_SECOND) {
        Ok(throttle) => throttle,
        Err(reason) => return skipped(&reason),
    };
    let meanwhile = p99(&sources, COMMANDS).await;
    let run = Run::start(PLAN, cluster.known()).await;
    run.goes_on(2 * A_WHILE).await;
    eprintln!("slow disk: p99 {before:?}, with one slow disk {meanwhile:?}");
    assert!(meanwhile <= 2 * before + NOISE, "p99 {before:?}, with one slow disk {meanwhile:?}");
    drop(throttle);
    run.goes_on(A_WHILE).await;
    close("slow disk", cluster, run).await;
}
