//! Clusters of real nodes over a real etcd, a steady load, and faults. Every scenario ends with the check of what clients,
//! readers, subscribers and receivers saw, and with a look at what each replica has on its disk.
//!
//! `make test` runs these one after the other; `make chaos` runs those that take longer as well.

mod clocks;
mod cuts;
mod declared;
mod disk;
mod drain;
#[cfg(feature = "chaos")]
mod etcd;
mod everyone;
#[cfg(feature = "chaos")]
mod failpoints;
mod far;
mod full;
mod growth;
mod kills;
#[cfg(feature = "chaos")]
mod loss;
mod power;
#[cfg(feature = "chaos")]
mod slow;
mod spare;
mod sync;
#[cfg(feature = "chaos")]
mod upgrade;
mod uploads;
mod work;
mod zombie;

use std::time::Duration;

use steward_tests::harness::{Cluster, Load, Measured, Outcome, Plan, Run};

/// About 150 commands a second.
const PLAN: Plan = Plan {
    seed: 11,
    accounts: 24,
    clients: 15,
    load: Load::Every(Duration::from_millis(100)),
    subscribers: 6,
    readers: 2,
    receiver: "127.0.0.1",
};
/// About a second of load.
const A_WHILE: u64 = 130;

/// Ends the load, checks everything, and says how it went.
async fn close(what: &str, cluster: Cluster, run: Run) -> Measured {
    let measured = run.measured();
    eprintln!("{what}: {measured}");
    let history = run.finish().await;
    history.check().unwrap_or_else(|violation| panic!("{what}, seed {}: {violation}", PLAN.seed));
    let dead_ends = measured.dead_ends();
    assert!(dead_ends.is_empty(), "{what}: clients were told not to try again: {dead_ends:?}");
    let unknown = history.commands.iter().filter(|command| command.outcome == Outcome::Unknown).count();
    assert_eq!(unknown, 0, "{what}: commands that no node answered for");
    assert!(history.reads.len() > 10, "{what}: {} reads", history.reads.len());
    cluster.stop_and_compare().await;
    measured
}
