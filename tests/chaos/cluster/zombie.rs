//! A leader that stands still and goes on as if nothing had happened.

use std::time::Duration;

use steward_tests::harness::{Cluster, Run, Shape};

use crate::{A_WHILE, PLAN, close};

/// Three times the silence after which followers elect, and longer than the lease of its registration.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(15)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_stopped_is_no_leader_when_it_goes_on() {
    let mut cluster = Cluster::start(Shape::default()).await;
    let run = Run::start(PLAN, cluster.known()).await;
    for pause in PAUSES {
        run.goes_on(A_WHILE).await;
        let leader = cluster.leader().await;
        cluster.pause(leader);
        run.goes_on_for(pause).await;
        let before = run.acknowledged();
        run.goes_on(A_WHILE).await;
        assert!(before > A_WHILE, "the others go on");
        cluster.go_on(leader);
        run.goes_on(A_WHILE).await;
        cluster.placed().await;
    }
    close("zombie leader", cluster, run).await;
}
