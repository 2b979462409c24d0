//! `ctl endpoint`: where events are delivered to.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use steward_proto::webhook::v1 as pb;

use super::client::Client;
use super::delivery::LogCommand;
use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum EndpointCommand {
    /// Makes an endpoint and prints its signing secret, once
    Create {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        settings: Settings,
        /// whsec_ and base64, or whsk_ and an Ed25519 key; made by the node when it is not given
        #[arg(long, default_value = "")]
        secret: String,
    },
    /// Lists endpoints
    List { account: String },
    /// Shows one endpoint and what it has delivered
    Show(Of),
    /// Replaces an endpoint's settings
    Update {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        settings: Settings,
    },
    /// Deletes an endpoint
    Delete(Of),
    /// Signs with a new secret, and prints it, once
    Rotate {
        #[command(flatten)]
        of: Of,
        #[arg(long, default_value = "")]
        secret: String,
        /// How long the old secret signs, too; 0 for a day
        #[arg(long, default_value_t = 0)]
        grace_s: u32,
    },
    /// Sends nothing until it is resumed
    Pause(Of),
    /// Sends again, whatever had stopped it
    Resume(Of),
    /// Posts a signed test now and prints what came of it
    Test(Of),
    #[command(flatten)]
    Log(LogCommand),
}

#[derive(Debug, Args)]
pub(super) struct Of {
    pub(super) account: String,
    pub(super) endpoint: String,
}

#[derive(Debug, Args)]
pub(super) struct Settings {
    #[arg(long)]
    url: String,
    /// Event type pattern; can be given several times; none means every type but those about deliveries
    #[arg(long = "on")]
    patterns: Vec<String>,
    /// JMESPath over what is posted; only events for which it is true are sent
    #[arg(long, default_value = "")]
    filter: String,
    /// JSON pointer into what is posted: events with the same value there are sent in order
    #[arg(long, default_value = "")]
    ordering_key: String,
    /// Posts a second; 0 for no limit
    #[arg(long, default_value_t = 0)]
    rate_per_s: u32,
    /// NAME=VALUE, sent along with every post
    #[arg(long = "header", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// USER:PASSWORD
    #[arg(long, conflicts_with = "bearer", value_parser = login)]
    basic: Option<(String, String)>,
    #[arg(long)]
    bearer: Option<String>,
}

impl Settings {
    /// None when nothing is said about them: then they stay as they are.
    fn extras(&mut self) -> Option<pb::EndpointExtras> {
        use pb::endpoint_extras::Credentials;
        let basic = self.basic.take().map(|(user, password)| pb::BasicCredentials { user, password });
        let bearer = self.bearer.take().map(Credentials::BearerToken);
        let credentials = basic.map(Credentials::Basic).or(bearer);
        let headers = std::mem::take(&mut self.headers);
        let is_silent = headers.is_empty() && credentials.is_none();
        (!is_silent).then(|| pb::EndpointExtras { headers: headers.into_iter().collect(), credentials })
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or("must be NAME=VALUE")
}

fn login(text: &str) -> Result<(String, String), &'static str> {
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned())).ok_or("must be USER:PASSWORD")
}

pub(super) async fn run(client: &mut Client, command: EndpointCommand) -> anyhow::Result<()> {
    let mut webhooks = client.webhooks();
    let endpoint = match command {
        EndpointCommand::Log(command) => return super::delivery::run(client, command).await,
        EndpointCommand::Create { of, settings, secret } => return create(client, of, settings, secret).await,
        EndpointCommand::Rotate { of: Of { account: account_id, endpoint: endpoint_id }, secret, grace_s } => {
            let request = pb::RotateEndpointSecretRequest { account_id, endpoint_id, secret, grace_s };
            let rotated = webhooks.rotate_endpoint_secret(request).await?.into_inner();
            return with_secret(client, rotated.endpoint, &rotated.secret, &rotated.public_key);
        }
        EndpointCommand::List { account } => {
            let listed = webhooks.list_endpoints(pb::ListEndpointsRequest { account_id: account }).await?.into_inner();
            let rows: Vec<Value> = listed.endpoints.iter().map(show::endpoint).collect();
            let columns = ["endpoint", "url", "patterns", "state", "cursor", "pending", "failed", "next", "dead"];
            return client.out.rows(client.json, &rows, &columns);
        }
        EndpointCommand::Delete(Of { account: account_id, endpoint: endpoint_id }) => {
            let shown = json!({"endpoint": endpoint_id, "state": "deleted"});
            webhooks.delete_endpoint(pb::DeleteEndpointRequest { account_id, endpoint_id }).await?;
            return client.out.one(client.json, &shown);
        }
        EndpointCommand::Test(Of { account: account_id, endpoint: endpoint_id }) => {
            let request = pb::TestEndpointRequest { account_id, endpoint_id };
            let told = webhooks.test_endpoint(request).await?.into_inner();
            return client.out.one(client.json, &show::test(&told));
        }
        EndpointCommand::Update { of, settings } => update(client, of, settings).await?,
        EndpointCommand::Show(Of { account: account_id, endpoint: endpoint_id }) => {
            webhooks.get_endpoint(pb::GetEndpointRequest { account_id, endpoint_id }).await?.into_inner().endpoint
        }
        EndpointCommand::Pause(Of { account: account_id, endpoint: endpoint_id }) => {
            webhooks.pause_endpoint(pb::PauseEndpointRequest { account_id, endpoint_id }).await?.into_inner().endpoint
        }
        EndpointCommand::Resume(Of { account: account_id, endpoint: endpoint_id }) => {
            webhooks.resume_endpoint(pb::ResumeEndpointRequest { account_id, endpoint_id }).await?.into_inner().endpoint
        }
    };
    client.out.one(client.json, &show::endpoint(&endpoint.unwrap_or_default()))
}

async fn create(client: &mut Client, of: Of, mut settings: Settings, secret: String) -> anyhow::Result<()> {
    let extras = settings.extras();
    let request = pb::CreateEndpointRequest {
        account_id: of.account,
        endpoint_id: of.endpoint,
        url: settings.url,
        patterns: settings.patterns,
        secret,
        filter: settings.filter,
        ordering_key: settings.ordering_key,
        rate_per_s: settings.rate_per_s,
        extras,
    };
    let created = client.webhooks().create_endpoint(request).await?.into_inner();
    with_secret(client, created.endpoint, &created.secret, &created.public_key)
}

async fn update(client: &mut Client, of: Of, mut settings: Settings) -> anyhow::Result<Option<pb::Endpoint>> {
    let extras = settings.extras();
    let request = pb::UpdateEndpointRequest {
        account_id: of.account,
        endpoint_id: of.endpoint,
        url: settings.url,
        patterns: settings.patterns,
        filter: settings.filter,
        ordering_key: settings.ordering_key,
        rate_per_s: settings.rate_per_s,
        extras,
    };
    Ok(client.webhooks().update_endpoint(request).await?.into_inner().endpoint)
}

/// Shows an endpoint with the secret that is told only now.
fn with_secret(
    client: &mut Client,
    endpoint: Option<pb::Endpoint>,
    secret: &str,
    public_key: &str,
) -> anyhow::Result<()> {
    let mut shown = show::endpoint(&endpoint.unwrap_or_default());
    shown["secret"] = json!(secret);
    if !public_key.is_empty() {
        shown["public_key"] = json!(public_key);
    }
    client.out.one(client.json, &shown)
}
