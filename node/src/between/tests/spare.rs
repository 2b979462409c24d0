//! Tasks that a busy node gives to idle ones.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use steward_actors::domain::account::{Command, Rejection, TaskRef};
use steward_actors::domain::job::TaskState;
use steward_actors::domain::task::TaskKind;
use steward_actors::elsewhere::Elsewhere as _;
use steward_actors::shard::ExecuteError;
use steward_actors::task::{Granted, Lease};
use steward_cluster::ids::NodeId;

use super::super::Others;
use super::world::{Beliefs, Node, SHARDS, Wires, asked, until};
use crate::gateway::forward::Leader;

const LEADER: NodeId = NodeId(1);
const IDLE: NodeId = NodeId(2);
const WORKER: &str = "node-2/b";

/// The way of an idle node to the one that leads.
fn others(node: &Node, draining: &[NodeId]) -> Others {
    let channels = [(LEADER, node.channel())].into();
    let wires = Wires { channels, draining: draining.to_vec(), ..Wires::default() };
    Others::new(IDLE, Arc::new(wires), Beliefs::new(Leader::At(LEADER)), SHARDS)
}

async fn take(others: &Others, kinds: &[TaskKind]) -> Option<Granted> {
    others.take(LEADER, WORKER, kinds.to_vec()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_without_a_replica_does_what_a_busy_one_has_no_slot_for() {
    let (busy, _idle) = Node::start_beside_an_idle_one().await;
    let jobs = [busy.job_of("acme").await, busy.job_of("beta").await, busy.job_of("gamma").await];
    for (account, job) in &jobs {
        until("the job is done", || busy.task(account, job).state == TaskState::Succeeded).await;
        let task = busy.task(account, job);
        assert_eq!((task.attempt, task.result), (1, Some(json!({"of": {"text": "t"}}))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_leased_to_the_one_that_asks_and_only_what_it_can_do() {
    let node = Node::start().await;
    let (account, job) = node.job().await;
    let idle = others(&node, &[]);
    assert_eq!(take(&idle, &[TaskKind::Fetch, TaskKind::Normalize]).await, None);
    assert_eq!(node.task(&account, &job).state, TaskState::Ready);
    let granted = take(&idle, &[TaskKind::Normalize, TaskKind::Summarize]).await.unwrap();
    let lease = Lease { account: account.clone(), job: job.clone(), task: TaskKind::Summarize.whole(), attempt: 1 };
    assert_eq!(granted.lease, lease);
    let task = node.task(&account, &job);
    assert_eq!((task.state, task.attempt, task.worker.as_deref()), (TaskState::Running, 1, Some(WORKER)));
    assert_eq!(take(&idle, &[TaskKind::Summarize]).await, None, "it is given once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_its_way_out_takes_nothing_and_is_told_nothing() {
    let node = Node::start().await;
    let (account, job) = node.job().await;
    assert_eq!(take(&others(&node, &[IDLE]), &[TaskKind::Summarize]).await, None);
    assert_eq!(node.task(&account, &job).state, TaskState::Ready);
    let channels = [(IDLE, node.channel()), (NodeId(3), node.channel())].into();
    let wires = Arc::new(Wires { channels, draining: vec![IDLE], ..Wires::default() });
    let busy = Others::new(LEADER, wires.clone(), Beliefs::new(Leader::Here), SHARDS);
    busy.announce(vec![TaskKind::Summarize]).await;
    assert_eq!(*wires.reached.lock(), [NodeId(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_whose_answer_got_lost_ends_and_its_late_result_is_refused() {
    let node = Node::start().await;
    let (account, job) = node.job().await;
    let idle = others(&node, &[]);
    drop(take(&idle, &[TaskKind::Summarize]).await.unwrap());
    node.clock.advance(Duration::from_secs(9));
    assert_eq!(take(&idle, &[TaskKind::Summarize]).await, None, "its holder may be at work");
    // It counts from when the board heard of it, which may be a moment after the answer.
    until("the lease is taken back", || {
        node.clock.advance(Duration::from_secs(1));
        node.task(&account, &job).state == TaskState::Ready
    })
    .await;
    let granted = loop {
        // The board looks at the job a moment after the lease went.
        if let Some(granted) = take(&idle, &[TaskKind::Summarize]).await {
            break granted;
        }
    };
    assert_eq!(granted.lease.attempt, 2);
    let report = |attempt| {
        let task = TaskRef { job: job.clone(), task: TaskKind::Summarize.whole(), attempt };
        asked(Command::ReportSuccess { task, result: json!({"summary": attempt}) })
    };
    let late = idle.execute(&account, report(1)).await.unwrap_err();
    let stale = Rejection::StaleAttempt { job: job.to_string(), task: "summarize".to_owned(), attempt: 1 };
    assert_eq!(late, ExecuteError::Rejected(stale));
    idle.execute(&account, report(2)).await.unwrap();
    assert_eq!(node.task(&account, &job).result, Some(json!({"summary": 2})));
}
