//! Many events of one account at once: webhooks in batches of a thousand, as HubSpot sends them.

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};
use steward_proto::account::v1::CreateAccountRequest;
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::webhook::v1::CreateSourceRequest;
use steward_proto::webhook::v1::webhook_service_client::WebhookServiceClient;

use crate::http::Connection;
use crate::inbox::{BODY_BYTES, secret};
use crate::node::Node;

/// The hash of the secret and the body; an array is a batch.
const SCHEME: &str = "hubspot-v1";
/// Events of a request, the most that is taken.
pub(crate) const BATCH: usize = 1_000;

/// An account that takes batches.
pub(crate) struct Backlog {
    pub(crate) account: String,
    path: String,
    secret: String,
    batches: usize,
}

impl Backlog {
    /// Makes the account and its source.
    pub(crate) async fn make(node: &Node, account: &str) -> anyhow::Result<Self> {
        let (api, secret) = (node.api().await?, secret(account));
        let asked = CreateAccountRequest { account_id: account.to_owned(), ..CreateAccountRequest::default() };
        AccountServiceClient::new(api.clone()).create_account(asked).await.context("an account cannot be made")?;
        let asked = CreateSourceRequest {
            account_id: account.to_owned(),
            source_id: "batches".to_owned(),
            scheme: SCHEME.to_owned(),
            secrets: vec![secret.clone()],
            ..CreateSourceRequest::default()
        };
        let made = WebhookServiceClient::new(api).create_source(asked).await.context("a source cannot be made")?;
        let path = made.into_inner().source.context("the answer names no source")?.path;
        Ok(Self { account: account.to_owned(), path, secret, batches: 0 })
    }

    /// Adds events of the usual size, one batch after the other.
    pub(crate) async fn add(&mut self, node: &Node, events: usize) -> anyhow::Result<()> {
        let mut connection = Connection::open(node.http).await.context("cannot connect")?;
        let mut added = 0;
        while added < events {
            self.batches += 1;
            let items = BATCH.min(events - added);
            let answer = connection.ask(&self.request(items)).await.context("a connection broke")?;
            ensure!(answer.status == 200, "a batch was answered with {}", answer.status);
            added += items;
        }
        Ok(())
    }

    fn request(&self, items: usize) -> Vec<u8> {
        let batch = self.batches;
        let item = |at: usize| {
            let start = format!(
                "{{\"portalId\":1,\"subscriptionId\":{batch},\"eventId\":{at},\"occurredAt\":1790000000000,\
                 \"subscriptionType\":\"contact.creation\",\"payload\":\""
            );
            let filler = "x".repeat(BODY_BYTES - start.len() - 2);
            format!("{start}{filler}\"}}")
        };
        let body = format!("[{}]", (0..items).map(item).collect::<Vec<_>>().join(","));
        let signature = hex::encode(Sha256::new_with_prefix(&self.secret).chain_update(&body).finalize());
        let (path, length) = (&self.path, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
             x-hubspot-signature: {signature}\r\nx-hubspot-signature-version: v1\r\ncontent-length: {length}\r\n\r\n"
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}
