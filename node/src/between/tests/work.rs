//! Commands and leases of a worker whose account another node leads.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use steward_actors::domain::account::{Command, Rejection, ReleaseReason, TaskRef};
use steward_actors::domain::job::TaskState;
use steward_actors::domain::task::TaskKind;
use steward_actors::elsewhere::Elsewhere as _;
use steward_actors::shard::ExecuteError;
use steward_actors::task::Lease;
use steward_cluster::ids::NodeId;
use tokio::net::TcpListener;

use super::super::Others;
use super::world::{Beliefs, Node, SHARDS, Wires, asked, channel, until};
use crate::gateway::forward::Leader;

const LEADER: NodeId = NodeId(1);
const WORKER: &str = "node-2/b";

/// A worker's way to the node, and what its own node believes.
fn others(node: &Node) -> (Others, Arc<Beliefs>) {
    let beliefs = Beliefs::new(Leader::At(LEADER));
    let wires = Wires { channels: [(LEADER, node.channel())].into(), ..Wires::default() };
    (Others::new(NodeId(2), Arc::new(wires), beliefs.clone(), SHARDS), beliefs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_result_of_an_old_attempt_is_refused_across_nodes() {
    let node = Node::start().await;
    let (account, job) = node.job().await;
    let (others, _) = others(&node);
    let task = |attempt| TaskRef { job: job.clone(), task: TaskKind::Summarize.whole(), attempt };
    let start = |worker: &str| {
        asked(Command::StartTask { job: job.clone(), task: TaskKind::Summarize.whole(), worker: worker.to_owned() })
    };
    others.execute(&account, start(WORKER)).await.unwrap();
    let lost = Command::ReleaseTask { task: task(1), reason: ReleaseReason::LeaseLost };
    others.execute(&account, asked(lost)).await.unwrap();
    others.execute(&account, start("node-3/c")).await.unwrap();
    let report = |attempt| asked(Command::ReportSuccess { task: task(attempt), result: json!({"summary": attempt}) });
    let refused = others.execute(&account, report(1)).await.unwrap_err();
    let stale = Rejection::StaleAttempt { job: job.to_string(), task: "summarize".to_owned(), attempt: 1 };
    assert_eq!(refused, ExecuteError::Rejected(stale));
    others.execute(&account, report(2)).await.unwrap();
    let done = node.shards.reads().job(&account, &job).unwrap().unwrap();
    assert_eq!(done.tasks[&TaskKind::Summarize.whole()].result, Some(json!({"summary": 2})));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leads_no_more_says_who_does() {
    let node = Node::start().await;
    let (account, job) = node.job().await;
    let (others, beliefs) = others(&node);
    node.shards.clone().stop().await.unwrap();
    node.beliefs.set(Leader::At(NodeId(3)));
    let start = Command::StartTask { job, task: TaskKind::Summarize.whole(), worker: WORKER.to_owned() };
    let refused = others.execute(&account, asked(start.clone())).await;
    assert!(matches!(refused, Err(ExecuteError::NotLed { .. })), "{refused:?}");
    assert_eq!(*beliefs.corrections.lock(), [Some(NodeId(3))]);
    beliefs.set(Leader::Unknown);
    let refused = others.execute(&account, asked(start)).await;
    assert!(matches!(refused, Err(ExecuteError::NotLed { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_be_reached_leaves_the_outcome_open() {
    let node = Node::start().await;
    let (account, job) = node.job().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let wires = Wires { channels: [(LEADER, channel(closed))].into(), ..Wires::default() };
    let others = Others::new(NodeId(2), Arc::new(wires), Beliefs::new(Leader::At(LEADER)), SHARDS);
    let start = Command::StartTask { job, task: TaskKind::Summarize.whole(), worker: WORKER.to_owned() };
    let outcome = others.execute(&account, asked(start)).await;
    assert!(matches!(outcome, Err(ExecuteError::OutcomeUnknown { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_lives_while_it_is_renewed_and_is_taken_back_when_its_worker_falls_silent() {
    let node = Node::start().await;
    let (account, job) = node.job().await;
    let (others, _) = others(&node);
    let start = Command::StartTask { job: job.clone(), task: TaskKind::Summarize.whole(), worker: WORKER.to_owned() };
    others.execute(&account, asked(start)).await.unwrap();
    let lease = Lease { account: account.clone(), job: job.clone(), task: TaskKind::Summarize.whole(), attempt: 1 };
    for _ in 0..4 {
        assert_eq!(others.renew(WORKER, vec![lease.clone()]).await, []);
        node.clock.advance(Duration::from_secs(9));
    }
    assert_eq!(others.renew("node-3/c", vec![lease.clone()]).await, std::slice::from_ref(&lease), "not its lease");
    let state = || node.shards.reads().job(&account, &job).unwrap().unwrap().tasks[&TaskKind::Summarize.whole()].state;
    assert_eq!(state(), TaskState::Running);
    node.clock.advance(Duration::from_secs(2));
    until("the lease is taken back", || state() == TaskState::Ready).await;
    assert_eq!(others.renew(WORKER, vec![lease.clone()]).await, [lease], "its attempt is over");
}
