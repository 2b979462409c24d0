//! `ctl source`: the places webhooks come from, and what becomes of them.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use steward_proto::webhook::v1 as pb;

use super::client::Client;
use super::request::{self, RequestsCommand};
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
        /// What the platform signs with; up to four while one is being rotated; none when the platform brings it
        #[arg(long = "secret")]
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
    /// Shows a source: its settings, when each secret verified last, and what came of its webhooks
    Show { account: String, source: String },
    /// Changes a source's settings; what is not given stays as it is
    Update(Update),
    /// Adds a live secret
    AddSecret {
        account: String,
        source: String,
        /// What the platform signs with from now on; without it, the platform's next handshake brings it
        #[arg(long, default_value = "")]
        secret: String,
    },
    /// Takes a secret out of use
    RetireSecret {
        account: String,
        source: String,
        /// Its place, from 0 up, as `show` lists it
        position: u32,
    },
    /// Answers the source's webhooks with 503 until it is resumed
    Pause { account: String, source: String },
    /// Takes the source's webhooks again
    Resume { account: String, source: String },
    /// Judges a request as if it came in, and keeps nothing
    Test {
        account: String,
        source: String,
        /// A header, `name: value`; can be given several times
        #[arg(long = "header")]
        headers: Vec<String>,
        /// The body, byte for byte
        #[arg(long, default_value = "")]
        body: String,
        /// What follows the question mark of the URL
        #[arg(long, default_value = "")]
        query: String,
    },
    #[command(flatten)]
    Requests(RequestsCommand),
    /// Deletes a source; its path answers 404 from then on
    Delete { account: String, source: String },
}

#[derive(Debug, Args)]
pub(super) struct Update {
    account: String,
    source: String,
    /// Largest age of a delivery in seconds; 0 for the scheme's own
    #[arg(long)]
    tolerance_s: Option<u32>,
    /// The URL the platform was given; empty for none
    #[arg(long)]
    public_url: Option<String>,
    /// Requests a second on each node; 0 for no limit
    #[arg(long)]
    rate_per_s: Option<u32>,
    /// An address or a network webhooks may come from; can be given several times; one empty one lets all in again
    #[arg(long)]
    allow: Option<Vec<String>>,
    /// What webhooks are answered with; 0 for the node's own answer
    #[arg(long)]
    response_status: Option<u32>,
    #[arg(long, requires = "response_status", default_value = "text/plain")]
    response_type: String,
    #[arg(long, requires = "response_status", default_value = "")]
    response_body: String,
}

pub(super) async fn run(client: &mut Client, command: SourceCommand) -> anyhow::Result<()> {
    let mut webhooks = client.webhooks();
    let changed = match command {
        SourceCommand::Requests(command) => return request::run(client, command).await,
        SourceCommand::Create { account: account_id, source: source_id, scheme, secrets, tolerance_s, public_url } => {
            let request = pb::CreateSourceRequest { account_id, source_id, scheme, secrets, tolerance_s, public_url };
            webhooks.create_source(request).await?.into_inner().source
        }
        SourceCommand::List { account } => {
            let listed = webhooks.list_sources(pb::ListSourcesRequest { account_id: account }).await?.into_inner();
            let rows: Vec<Value> = listed.sources.iter().map(show::source).collect();
            let columns = ["source", "scheme", "state", "path", "tolerance_s", "secrets", "counts", "created"];
            return client.out.rows(client.json, &rows, &columns);
        }
        SourceCommand::Show { account, source } => Some(find(client, &account, &source).await?),
        SourceCommand::Update(update) => {
            let before = find(client, &update.account, &update.source).await?;
            webhooks.update_source(update.request(before)).await?.into_inner().source
        }
        SourceCommand::AddSecret { account: account_id, source: source_id, secret } => {
            let request = pb::AddSourceSecretRequest { account_id, source_id, secret };
            webhooks.add_source_secret(request).await?.into_inner().source
        }
        SourceCommand::RetireSecret { account: account_id, source: source_id, position } => {
            let request = pb::RetireSourceSecretRequest { account_id, source_id, position };
            webhooks.retire_source_secret(request).await?.into_inner().source
        }
        SourceCommand::Pause { account: account_id, source: source_id } => {
            webhooks.pause_source(pb::PauseSourceRequest { account_id, source_id }).await?.into_inner().source
        }
        SourceCommand::Resume { account: account_id, source: source_id } => {
            webhooks.resume_source(pb::ResumeSourceRequest { account_id, source_id }).await?.into_inner().source
        }
        SourceCommand::Test { account: account_id, source: source_id, headers, body, query } => {
            let headers = headers.iter().map(|header| tested_header(header)).collect::<Result<_, _>>()?;
            let request = pb::TestSourceRequest { account_id, source_id, headers, body: body.into_bytes(), query };
            let tested = webhooks.test_source(request).await?.into_inner();
            return client.out.one(client.json, &show::tested(&tested));
        }
        SourceCommand::Delete { account, source } => {
            let request = pb::DeleteSourceRequest { account_id: account, source_id: source.clone() };
            webhooks.delete_source(request).await?;
            return client.out.one(client.json, &json!({"source": source, "state": "deleted"}));
        }
    };
    client.out.one(client.json, &show::source(&changed.unwrap_or_default()))
}

async fn find(client: &Client, account: &str, source: &str) -> anyhow::Result<pb::Source> {
    let request = pb::ListSourcesRequest { account_id: account.to_owned() };
    let listed = client.webhooks().list_sources(request).await?.into_inner();
    let found = listed.sources.into_iter().find(|one| one.source_id == source);
    found.with_context(|| format!("account {account} has no source {source}"))
}

fn tested_header(text: &str) -> anyhow::Result<pb::TestedHeader> {
    let Some((name, value)) = text.split_once(':') else { bail!("{text:?} is no header: write `name: value`") };
    Ok(pb::TestedHeader { name: name.trim().to_owned(), value: value.trim().to_owned() })
}

impl Update {
    /// The settings there were, with those that are given in their place.
    fn request(self, before: pb::Source) -> pb::UpdateSourceRequest {
        let response = match self.response_status {
            None => before.response,
            Some(0) => None,
            Some(status) => {
                let (content_type, body) = (self.response_type, self.response_body);
                Some(pb::SourceResponse { status, content_type, body })
            }
        };
        let allow = self.allow.map(|allow| allow.into_iter().filter(|network| !network.is_empty()).collect());
        pb::UpdateSourceRequest {
            account_id: self.account,
            source_id: self.source,
            tolerance_s: self.tolerance_s.unwrap_or(before.tolerance_s),
            public_url: self.public_url.unwrap_or(before.public_url),
            rate_per_s: self.rate_per_s.unwrap_or(before.rate_per_s),
            allow: allow.unwrap_or(before.allow),
            response,
        }
    }
}
