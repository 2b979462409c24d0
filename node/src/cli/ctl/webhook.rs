//! `ctl source` and `ctl endpoint`.

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

#[derive(Debug, Subcommand)]
pub(super) enum EndpointCommand {
    /// Makes an endpoint and prints its signing secret, once
    Create {
        account: String,
        endpoint: String,
        #[arg(long)]
        url: String,
        /// Event type pattern; can be given several times; none means every type but delivery.**
        #[arg(long = "on")]
        patterns: Vec<String>,
        /// whsec_ and base64; made by the node when it is not given
        #[arg(long, default_value = "")]
        secret: String,
    },
    /// Lists endpoints
    List { account: String },
    /// Deletes an endpoint
    Delete { account: String, endpoint: String },
}

pub(super) async fn source(client: &mut Client, command: SourceCommand) -> anyhow::Result<()> {
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

pub(super) async fn endpoint(client: &mut Client, command: EndpointCommand) -> anyhow::Result<()> {
    let mut webhooks = client.webhooks();
    match command {
        EndpointCommand::Create { account, endpoint, url, patterns, secret } => {
            let request =
                pb::CreateEndpointRequest { account_id: account, endpoint_id: endpoint, url, patterns, secret };
            let created = webhooks.create_endpoint(request).await?.into_inner();
            let mut shown = show::endpoint(&created.endpoint.unwrap_or_default());
            shown["secret"] = json!(created.secret);
            client.out.one(client.json, &shown)
        }
        EndpointCommand::List { account } => {
            let listed = webhooks.list_endpoints(pb::ListEndpointsRequest { account_id: account }).await?.into_inner();
            let rows: Vec<Value> = listed.endpoints.iter().map(show::endpoint).collect();
            client.out.rows(client.json, &rows, &["endpoint", "url", "patterns", "state", "cursor", "failed", "next"])
        }
        EndpointCommand::Delete { account, endpoint } => {
            let request = pb::DeleteEndpointRequest { account_id: account, endpoint_id: endpoint.clone() };
            webhooks.delete_endpoint(request).await?;
            client.out.one(client.json, &json!({"endpoint": endpoint, "state": "deleted"}))
        }
    }
}
