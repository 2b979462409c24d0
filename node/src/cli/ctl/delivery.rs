//! `ctl endpoint`, as far as it is about what was delivered.

use clap::Subcommand;
use serde_json::{Value, json};
use steward_proto::webhook::v1 as pb;

use super::client::Client;
use super::endpoint::Of;
use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Lists attempts, newest first
    Deliveries {
        #[command(flatten)]
        of: Of,
        /// succeeded, failed or dead
        #[arg(long, default_value = "", value_parser = ["", "succeeded", "failed", "dead"])]
        result: String,
        /// Only attempts at this event
        #[arg(long, default_value_t = 0)]
        event: u64,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Sends one event once more
    Resend {
        #[command(flatten)]
        of: Of,
        event: u64,
    },
    /// Sends every wanted event of a window once more
    Recover {
        #[command(flatten)]
        of: Of,
        /// Events after this number
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Events up to this number; 0 for all that were sent
        #[arg(long, default_value_t = 0)]
        through: u64,
        /// Counts, and sends nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Sends what was given up once more
    Redrive {
        #[command(flatten)]
        of: Of,
        #[arg(long, default_value_t = 0)]
        after: u64,
        #[arg(long, default_value_t = 0)]
        through: u64,
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(client: &mut Client, command: LogCommand) -> anyhow::Result<()> {
    let mut webhooks = client.webhooks();
    let shown = match command {
        LogCommand::Deliveries { of: Of { account, endpoint }, result, event, limit } => {
            let result = match result.as_str() {
                "succeeded" => pb::AttemptResult::Succeeded,
                "failed" => pb::AttemptResult::Failed,
                "dead" => pb::AttemptResult::Dead,
                _ => pb::AttemptResult::Unspecified,
            };
            let request = pb::ListDeliveriesRequest {
                account_id: account,
                endpoint_id: endpoint,
                result: result.into(),
                event_seq: event,
                page_size: limit,
                ..pb::ListDeliveriesRequest::default()
            };
            let listed = webhooks.list_deliveries(request).await?.into_inner();
            let rows: Vec<Value> = listed.deliveries.iter().map(show::delivery).collect();
            let columns = ["seq", "event", "attempt", "result", "status", "latency_ms", "at", "retry_at", "error"];
            return client.out.rows(client.json, &rows, &columns);
        }
        LogCommand::Resend { of: Of { account: account_id, endpoint: endpoint_id }, event } => {
            let shown = json!({"endpoint": endpoint_id, "event": event, "state": "sent once more"});
            webhooks.resend_delivery(pb::ResendDeliveryRequest { account_id, endpoint_id, event_seq: event }).await?;
            shown
        }
        LogCommand::Recover { of: Of { account, endpoint }, after, through, dry_run } => {
            let request = pb::RecoverDeliveriesRequest {
                account_id: account,
                endpoint_id: endpoint,
                after_seq: after,
                through_seq: through,
                dry_run,
                ..pb::RecoverDeliveriesRequest::default()
            };
            let told = webhooks.recover_deliveries(request).await?.into_inner();
            json!({"after": told.after_seq, "through": told.through_seq, "events": told.events, "dry_run": dry_run})
        }
        LogCommand::Redrive { of: Of { account, endpoint }, after, through, dry_run } => {
            let request = pb::RedriveDeliveriesRequest {
                account_id: account,
                endpoint_id: endpoint,
                after_seq: after,
                through_seq: through,
                dry_run,
            };
            let told = webhooks.redrive_deliveries(request).await?.into_inner();
            json!({"events": told.events, "dry_run": dry_run})
        }
    };
    client.out.one(client.json, &shown)
}
