//! Accounts with a webhook source each: setting them up, signing requests to them, and reading back what arrived.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;
use steward_proto::account::v1::CreateAccountRequest;
use steward_proto::account::v1::account_service_client::AccountServiceClient;
use steward_proto::webhook::v1::CreateSourceRequest;
use steward_proto::webhook::v1::webhook_service_client::WebhookServiceClient;

use crate::http::Connection;
use crate::load::{Outcome, Requests};
use crate::node::{Api, Node};

/// How webhooks are signed here: a SHA-256 MAC of the body, the delivery's id in a header, no time.
pub(crate) const SCHEME: &str = "github-hub256";
/// Bytes of one webhook's body.
pub(crate) const BODY_BYTES: usize = 256;
/// Setup calls in flight.
pub(crate) const SETUP_CONCURRENT: usize = 64;
/// Events of a page, the most the API gives.
const PAGE: usize = 500;
/// Accounts read back at a time.
const READERS: usize = 4;

/// Where webhooks go, and what they are signed with.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) account: String,
    pub(crate) path: String,
    mac: Hmac<Sha256>,
}

impl Source {
    pub(crate) fn new(account: String, path: String, secret: &str) -> Self {
        let mac = Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        Self { account, path, mac }
    }
}

/// The secret of an account's source.
pub(crate) fn secret(account: &str) -> String {
    format!("secret-of-{account}")
}

/// What should not be among webhooks that were read back.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    /// Acknowledged and not there.
    pub(crate) lost: usize,
    /// There more than once, acknowledged or not.
    pub(crate) doubled: usize,
}

impl Found {
    /// Fails when there is any.
    pub(crate) fn none(self, prefix: &str) -> anyhow::Result<()> {
        let Self { lost, doubled } = self;
        ensure!(lost + doubled == 0, "of the webhooks of {prefix} {lost} are lost and {doubled} doubled");
        Ok(())
    }
}

/// The accounts, as they are read through one node.
#[derive(Clone)]
pub(crate) struct Inbox {
    pub(crate) sources: Vec<Source>,
    /// How far each account was read back.
    read: Vec<u64>,
}

impl Inbox {
    /// Makes the accounts and their sources.
    pub(crate) async fn make(node: &Node, accounts: Range<usize>) -> anyhow::Result<Self> {
        let api = node.api().await?;
        let made = accounts.map(|at| make_source(api.clone(), format!("a{at}")));
        let sources: Vec<Source> = stream::iter(made).buffered(SETUP_CONCURRENT).try_collect().await?;
        Ok(Self { read: vec![0; sources.len()], sources })
    }

    /// Signed requests over all accounts, or over the first one only. Ids start with `prefix`.
    pub(crate) fn requests(&self, prefix: &str, requests: usize, hot: bool) -> Rc<Requests> {
        let sources = if hot { &self.sources[..1] } else { &self.sources[..] };
        Rc::new(signed(sources, prefix, requests))
    }

    /// Reads everything new of every account; each acknowledged id must be there once, and no id twice.
    pub(crate) async fn read_back(
        &mut self,
        node: &Node,
        prefix: &str,
        requests: usize,
        outcome: &Outcome,
    ) -> anyhow::Result<()> {
        ensure!(outcome.refused == 0, "{} webhooks of {prefix} were refused", outcome.refused);
        let found = self.compare(node, prefix, requests, &outcome.acknowledged).await?;
        found.none(prefix)
    }

    /// Reads everything new of every account and counts what should not be.
    pub(crate) async fn compare(
        &mut self,
        node: &Node,
        prefix: &str,
        requests: usize,
        acknowledged: &[usize],
    ) -> anyhow::Result<Found> {
        let mut times = vec![0_u32; requests];
        let reads = self.sources.iter().zip(self.read.iter_mut()).map(|(source, after)| async move {
            let mut found = vec![];
            read_account(node, &source.account, after, prefix, &mut found).await.map(|()| found)
        });
        let mut found = stream::iter(reads).buffer_unordered(READERS);
        while let Some(found) = found.try_next().await? {
            found.into_iter().for_each(|at| times[at] += 1);
        }
        let lost = acknowledged.iter().filter(|at| times[**at] == 0).count();
        let doubled = times.iter().filter(|times| **times > 1).count();
        Ok(Found { lost, doubled })
    }
}

/// Which source a request goes to: neighbours are spread over all of them.
pub(crate) fn source_of(at: usize, sources: usize) -> usize {
    at.wrapping_mul(7919) % sources
}

/// Signed webhooks.
pub(crate) fn signed(sources: &[Source], prefix: &str, requests: usize) -> Requests {
    signed_over(sources, prefix, requests, &"x".repeat(BODY_BYTES))
}

/// Signed webhooks with bodies as long as the filler, which fills them.
pub(crate) fn signed_over(sources: &[Source], prefix: &str, requests: usize, filler: &str) -> Requests {
    let body_bytes = filler.len();
    let mut all = Requests::default();
    for at in 0..requests {
        let source = &sources[source_of(at, sources.len())];
        let body = body(prefix, at, filler);
        let mut mac = source.mac.clone();
        mac.update(body.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        let path = &source.path;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-github-event: push\r\n\
             x-github-delivery: {prefix}-{at}\r\nx-hub-signature-256: sha256={signature}\r\n\
             content-length: {body_bytes}\r\n\r\n"
        );
        all.push(|bytes| {
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(body.as_bytes());
        });
    }
    all
}

/// The body of a webhook, as long as the filler, which fills it.
pub(crate) fn body(prefix: &str, at: usize, filler: &str) -> String {
    let mut body = format!("{{\"id\":\"{prefix}-{at}\",\"payload\":\"");
    body.push_str(&filler[..filler.len() - body.len() - 2]);
    body.push_str("\"}");
    body
}

/// An account with a source.
pub(crate) async fn make_source(api: Api, account: String) -> anyhow::Result<Source> {
    let asked = CreateAccountRequest { account_id: account.clone(), ..CreateAccountRequest::default() };
    AccountServiceClient::new(api.clone()).create_account(asked).await.context("an account cannot be made")?;
    let asked = CreateSourceRequest {
        account_id: account.clone(),
        source_id: "bench".to_owned(),
        scheme: SCHEME.to_owned(),
        secrets: vec![secret(&account)],
        ..CreateSourceRequest::default()
    };
    let made = WebhookServiceClient::new(api).create_source(asked).await.context("a source cannot be made")?;
    let source = made.into_inner().source.context("the answer names no source")?;
    let secret = secret(&account);
    Ok(Source::new(account, source.path, &secret))
}

/// What is read of an event.
#[derive(Deserialize)]
struct Event {
    seq: String,
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    delivery_ids: Vec<String>,
}

/// Adds the requests with this prefix that arrived in the account since the last time.
async fn read_account(
    node: &Node,
    account: &str,
    after: &mut u64,
    prefix: &str,
    found: &mut Vec<usize>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(node.http).await?;
    loop {
        let path = format!("/v1/accounts/{account}/events?after={after}&limit={PAGE}");
        let answer = connection.get(&path, &node.key).await.context("a page of events cannot be read")?;
        ensure!(answer.status == 200, "a page of events was answered with {}", answer.status);
        let events: Vec<Event> = serde_json::from_slice(answer.body).context("a page of events is no JSON")?;
        let is_last = events.len() < PAGE;
        for event in events {
            let seq: u64 = event.seq.parse().context("an event's number is none")?;
            ensure!(seq == *after + 1, "event {seq} of {account} follows event {after}");
            *after = seq;
            let ids = event.data.delivery_ids.iter();
            found.extend(ids.filter_map(|id| id.strip_prefix(prefix)?.strip_prefix('-')?.parse::<usize>().ok()));
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Sources by path, as the bare gateway knows them.
pub(crate) fn bare_sources(accounts: usize) -> Vec<Source> {
    let named = (0..accounts).map(|at| format!("a{at}"));
    named.map(|account| Source::new(account.clone(), format!("/hooks/{account}"), &secret(&account))).collect()
}

/// Secrets by token, as the bare gateway knows them.
pub(crate) fn bare_secrets(accounts: usize) -> HashMap<String, String> {
    (0..accounts).map(|at| format!("a{at}")).map(|account| (account.clone(), secret(&account))).collect()
}
