//! Nodes far from each other: every packet takes its time, and some are lost.

use std::time::Duration;

use steward_tests::harness::{Cluster, Distance, Load, Network, Plan, Run, Shape, skipped};

use crate::{A_WHILE, PLAN, close};

/// To each node, whoever sends.
const DISTANCE: Distance = Distance { mean: Duration::from_millis(100), spread: Duration::from_millis(50) };
const LOST_PERCENT: u8 = 5;
/// The same load as elsewhere by more clients, since each waits longer for its answers.
const CLIENTS: u64 = 60;
const EACH: Duration = Duration::from_millis(400);
const MEASURED: Duration = Duration::from_secs(10);
/// A quarter of the rate is left.
const RATE_PARTS: u64 = 4;
/// A client connects anew for each attempt. When the first packet of that or its answer is lost, the system waits a second,
/// and two more when that happens again: to one attempt in a hundred. The next wait would end after seven.
const P99_MAX: Duration = Duration::from_secs(5);

/// What came of it.
struct Far {
    /// Acknowledged while the nodes were near, and while they were far from each other.
    acknowledged: [u64; 2],
    p99: Duration,
    /// Shards with a new leader, or the old one again.
    elected: usize,
}

/// None where packets cannot be held.
async fn far(test: &str, settings: &'static [&'static str]) -> Option<Far> {
    let network = Network::enter(test)?;
    let cluster = Cluster::start_in(Shape { settings, ..Shape::default() }, network).await;
    let plan = Plan { clients: CLIENTS, load: Load::Every(EACH), receiver: Network::outside(), ..PLAN };
    let run = Run::start(plan, cluster.known()).await;
    run.goes_on(A_WHILE).await;
    let before = run.acknowledged();
    run.goes_on_for(MEASURED).await;
    let near = run.acknowledged() - before;
    if let Err(reason) = cluster.network().stretch(DISTANCE) {
        skipped(&reason);
        return None;
    }
    cluster.network().lose(LOST_PERCENT);
    // What was on its way when the nodes were moved apart.
    run.goes_on(A_WHILE).await;
    let (before, terms) = (run.acknowledged(), cluster.terms());
    run.goes_on_for(MEASURED).await;
    let (far, p99) = (run.acknowledged() - before, run.p99(before));
    let elected = cluster.terms().iter().filter(|(shard, term)| terms.get(*shard) != Some(*term)).count();
    cluster.network().heal();
    eprintln!("{test}: {far} acknowledged instead of {near}, p99 {p99:.1?}, {elected} shards elected anew");
    run.goes_on(A_WHILE).await;
    close(test, cluster, run).await;
    Some(Far { acknowledged: [near, far], p99, elected })
}

/// Elections cost time here, and nothing else.
#[cfg(feature = "chaos")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_far_apart_go_on() {
    let Some(Far { acknowledged: [near, far], .. }) = far("far::nodes_far_apart_go_on", &[]).await else { return };
    assert!(far * RATE_PARTS >= near, "{far} acknowledged instead of {near}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_know_that_they_are_far_apart_keep_their_leaders() {
    let test = "far::nodes_that_know_that_they_are_far_apart_keep_their_leaders";
    let Some(Far { acknowledged: [near, far], p99, elected }) = far(test, &["cluster.election_ms=2500"]).await else {
        return;
    };
    assert!(far * RATE_PARTS >= near, "{far} acknowledged instead of {near}");
    assert!(p99 <= P99_MAX, "p99 {p99:?}");
    assert_eq!(elected, 0, "shards elected anew");
}
