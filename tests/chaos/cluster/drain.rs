//! Nodes that stop in good order: their leaders move first, and clients that try again notice nothing.

use std::time::Duration;

use steward_tests::harness::{Cluster, Run, Shape};

use crate::{A_WHILE, PLAN, close};

/// A node that stops has given its shards away within this; nobody waits for them any longer.
const SLOWEST_MAX: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request_that_is_tried_again() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let run = Run::start(PLAN, cluster.known()).await;
    for node in [1, 2, 3] {
        run.goes_on(A_WHILE).await;
        cluster.hand_over(node).await;
        run.goes_on(A_WHILE).await;
        cluster.restart(node);
        cluster.placed().await;
    }
    let measured = close("rolling restart", cluster, run).await;
    assert!(measured.slowest < SLOWEST_MAX, "{measured}");
}
