//! Tells leaders what this node's replicas come to, and has those seeded anew that differ. The composition root starts one.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::checks::Check;
use super::metrics;
use super::verdict::{Finding, Verdict};
use crate::answer::answer;
use crate::ids::{LogIndex, NodeId, ShardId, Term};
use crate::peers::{Peers, report_hashes};
use crate::raft::{DriverHandle, Role, ShardDetail};
use crate::spawn::spawn;

/// How often it looks.
const PASS_EVERY: Duration = Duration::from_secs(1);

/// Compares replicas until it is dropped.
pub struct Auditor(JoinHandle<()>);

impl Auditor {
    /// Starts on this node.
    #[must_use]
    pub fn start(driver: DriverHandle, peers: Peers) -> Self {
        let auditing = Auditing { driver, peers, settled: BTreeMap::new(), split_at: BTreeMap::new() };
        Self(spawn("auditor", auditing.run()))
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Auditing {
    driver: DriverHandle,
    peers: Peers,
    /// Which leader agreed with which check. A new one is told again: it may have nobody else to compare with.
    settled: BTreeMap<ShardId, (NodeId, Term, Check)>,
    /// The last check of each shard led here that nobody could decide.
    split_at: BTreeMap<ShardId, LogIndex>,
}

impl Auditing {
    async fn run(mut self) {
        loop {
            sleep(PASS_EVERY).await;
            self.pass().await;
        }
    }

    async fn pass(&mut self) {
        let Some(details) = answer(|told| self.driver.inspect(told)).await else { return };
        let mut to_tell: BTreeMap<NodeId, Vec<(Check, Term)>> = BTreeMap::new();
        for detail in details.iter().filter(|detail| !detail.status.is_parked) {
            let Some(own) = self.driver.checks().own(detail.shard) else { continue };
            let term = detail.status.term;
            match detail.status.role {
                Role::Leader { ready: true, .. } => self.compare(detail, own).await,
                Role::Follower { leader: Some(leader) } => {
                    if self.settled.get(&detail.shard) != Some(&(leader, term, own)) {
                        to_tell.entry(leader).or_default().push((own, term));
                    }
                }
                Role::Leader { ready: false, .. } | Role::Follower { leader: None } => {}
            }
        }
        let (peers, node) = (&self.peers, self.driver.checks().node());
        let told = to_tell.into_iter().map(async |(leader, told)| {
            let checks: Vec<Check> = told.iter().map(|(check, _)| *check).collect();
            (leader, told, report_hashes(peers, node, leader, &checks).await)
        });
        for (leader, told, answered) in join_all(told).await {
            match answered {
                Ok(verdicts) => self.heed(leader, &told, &verdicts).await,
                Err(error) => {
                    let cause: &dyn Error = &error;
                    tracing::debug!(error = cause, "what replicas come to was not told");
                }
            }
        }
    }

    async fn heed(&mut self, leader: NodeId, told: &[(Check, Term)], verdicts: &[Verdict]) {
        for ((check, term), verdict) in told.iter().zip(verdicts) {
            match verdict {
                Verdict::Agrees => {
                    self.settled.insert(check.shard, (leader, *term, *check));
                }
                Verdict::Differs => self.reseed(*check).await,
                Verdict::Undecided => {}
            }
        }
    }

    /// What others told of a shard led here, and what that means for this node's own replica.
    async fn compare(&mut self, detail: &ShardDetail, own: Check) {
        let checks = self.driver.checks();
        match checks.finding(&detail.members, own) {
            Finding::Right(hash) if hash != own.hash => {
                if let Some(heir) = checks.voter_with(&detail.members, own, hash) {
                    // Refused or lost, the replica still gives the leadership away, to whoever is next.
                    answer(|told| self.driver.transfer(own.shard, heir, told)).await;
                }
                self.reseed(own).await;
            }
            Finding::Split if self.split_at.insert(own.shard, own.index) != Some(own.index) => {
                metrics::undecided();
                tracing::error!(
                    shard = own.shard.0,
                    index = own.index.0,
                    "replicas of a shard differ, nobody can tell which is right"
                );
            }
            Finding::Right(_) | Finding::Split | Finding::Open => {}
        }
    }

    /// Has this node's replica seeded anew. When the driver has no time for it, the next pass comes here again.
    async fn reseed(&mut self, check: Check) {
        if answer(|told| self.driver.reseed(check.shard, told)).await == Some(true) {
            metrics::reseeded();
            let (shard, index, hash) = (check.shard.0, check.index.0, check.hash);
            tracing::error!(
                shard,
                index,
                hash,
                "this replica differs from most others; it waits for the snapshot of one"
            );
        }
    }
}
