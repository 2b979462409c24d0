//! `ctl task`: what is open on a node, and why a task is not running.

use clap::Subcommand;
use serde_json::{Value, json};
use steward_proto::admin::v1 as pb;
use steward_proto::job::v1::ExplainTaskRequest;

use super::client::Client;
use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum TaskCommand {
    /// Lists the open tasks of the node that is asked
    List {
        /// Most rows
        #[arg(long, default_value_t = 0)]
        limit: u32,
    },
    /// Says what a task waits for, since when, and what ends the wait
    Explain { account: String, job: String, task: String },
}

pub(super) async fn run(client: &mut Client, command: TaskCommand) -> anyhow::Result<()> {
    match command {
        TaskCommand::List { limit } => list(client, limit).await,
        TaskCommand::Explain { account, job, task } => {
            let request = ExplainTaskRequest { account_id: account, job_id: job, task };
            let told = client.jobs().explain_task(request).await?.into_inner();
            let shown = json!({
                "gate": told.gate,
                "since": show::time(told.since_ms),
                "opens_at": show::time(told.opens_at_ms),
                "message": told.message,
            });
            client.out.one(client.json, &shown)
        }
    }
}

async fn list(client: &mut Client, limit: u32) -> anyhow::Result<()> {
    let answer = client.admin().list_tasks(pb::ListTasksRequest { page_size: limit }).await?.into_inner();
    let row = |task: &pb::TaskRef| {
        json!({
            "account": task.account_id,
            "job": task.job_id,
            "task": task.kind,
            "attempt": task.attempt,
            "state": if task.running { "running" } else { "waiting" },
            "since": show::time(task.waiting_since_ms),
            "waits_for": task.waiting_for,
        })
    };
    let rows: Vec<Value> = answer.tasks.iter().map(row).collect();
    client.out.rows(client.json, &rows, &["account", "job", "task", "attempt", "state", "since", "waits_for"])?;
    if answer.more > 0 && !client.json {
        client.out.line(format!("and {} more", answer.more))?;
    }
    Ok(())
}
