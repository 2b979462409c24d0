//! `ctl source`: where webhooks come from.

use clap::Subcommand;
use serde_json::{Value, json};
use steward_proto::webhook::v1 as pb;

use super::client::Client;
use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum SourceCommand {
    /// Makes a source and prints the path the platform posts to
    Create {
        account: String,
        source: String,
        /// Signature scheme; `steward webhook schemes` lists them
        #[arg(long)]
        scheme: String,
        /// What the platform signs with; up to four while one is being rotated
        #[arg(long = "secret", required = true)]
        secrets: Vec<String>,
        /// Largest age of a delivery in seconds; 0 for the scheme's own
        #[arg(long, default_value_t = 0)]
        tolerance_s: u32,
        /// The URL the platform was given, for schemes that sign it
        #[arg(long, default_value = "")]
        public_url: String,
    },
    /// Lists sources
    List { account: String },
    /// Deletes a source; its path answers 404 from then on
    Delete { account: String, source: String },
}

pub(super) async fn run(client: &mut Client, command: SourceCommand) -> anyhow::Result<()> {
    let mut webhooks = client.webhooks();
    match command {
        SourceCommand::Create { account, source, scheme, secrets, tolerance_s, public_url } => {
            let request = pb::CreateSourceRequest {
                account_id: account,
                source_id: source,
                scheme,
                secrets,
                tolerance_s,
                public_url,
            };
            let created = webhooks.create_source(request).await?.into_inner().source.unwrap_or_default();
            client.out.one(client.json, &show::source(&created))
        }
        SourceCommand::List { account } => {
            let listed = webhooks.list_sources(pb::ListSourcesRequest { account_id: account }).await?.into_inner();
            let rows: Vec<Value> = listed.sources.iter().map(show::source).collect();
            client.out.rows(client.json, &rows, &["source", "scheme", "path", "tolerance_s", "created"])
        }
        SourceCommand::Delete { account, source } => {
            let request = pb::DeleteSourceRequest { account_id: account, source_id: source.clone() };
            webhooks.delete_source(request).await?;
            client.out.one(client.json, &json!({"source": source, "state": "deleted"}))
        }
    }
}
