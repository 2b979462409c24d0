//! The same webhooks under a word that both sides know in place of a signature: what checking signatures costs.

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use steward_proto::webhook::v1::CreateSourceRequest;
use steward_proto::webhook::v1::webhook_service_client::WebhookServiceClient;

use crate::inbox::{SETUP_CONCURRENT, Source, body, secret, source_of};
use crate::load::Requests;
use crate::node::{Api, Node};

/// A token in a header, the delivery's id in another.
const SCHEME: &str = "gitlab-token";

/// Where webhooks go without a signature, account by account.
pub(crate) struct Unsigned {
    places: Vec<(String, String)>,
}

impl Unsigned {
    /// Gives the accounts one more source each.
    pub(crate) async fn make(node: &Node, sources: &[Source]) -> anyhow::Result<Self> {
        let api = node.api().await?;
        let made = sources.iter().map(|source| make_source(api.clone(), source.account.clone()));
        Ok(Self { places: stream::iter(made).buffered(SETUP_CONCURRENT).try_collect().await? })
    }

    /// Requests over all accounts, with the bodies of the signed ones.
    pub(crate) fn requests(&self, prefix: &str, requests: usize, filler: &str) -> Requests {
        let mut all = Requests::default();
        for at in 0..requests {
            let (path, token) = &self.places[source_of(at, self.places.len())];
            let body = body(prefix, at, filler);
            let length = body.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-gitlab-event: push\r\n\
                 idempotency-key: {prefix}-{at}\r\nx-gitlab-token: {token}\r\ncontent-length: {length}\r\n\r\n"
            );
            all.push(|bytes| {
                bytes.extend_from_slice(head.as_bytes());
                bytes.extend_from_slice(body.as_bytes());
            });
        }
        all
    }
}

async fn make_source(api: Api, account: String) -> anyhow::Result<(String, String)> {
    let token = secret(&account);
    let asked = CreateSourceRequest {
        account_id: account,
        source_id: "unsigned".to_owned(),
        scheme: SCHEME.to_owned(),
        secrets: vec![token.clone()],
        ..CreateSourceRequest::default()
    };
    let made = WebhookServiceClient::new(api).create_source(asked).await.context("a source cannot be made")?;
    Ok((made.into_inner().source.context("the answer names no source")?.path, token))
}
