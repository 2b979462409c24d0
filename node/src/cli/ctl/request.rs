//! `ctl source`, as far as it is about requests that are kept.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde_json::{Value, json};
use steward_proto::webhook::v1 as pb;

use super::client::Client;
use super::show;

/// Requests of a page.
const PAGE: u32 = 256;

#[derive(Debug, Subcommand)]
pub(super) enum RequestsCommand {
    /// Lists requests that the source refused and still keeps, oldest first
    Refused { account: String, source: String },
    /// Judges requests once more by the source as it is now: refused ones whose signature holds become events
    Reprocess {
        account: String,
        source: String,
        /// Instead, lets playbooks follow accepted webhooks again whose signature still holds
        #[arg(long)]
        accepted: bool,
        /// Only what came since then, in milliseconds since 1970
        #[arg(long, default_value_t = 0)]
        since_ms: u64,
        /// Only what came before then; 0 for no bound
        #[arg(long, default_value_t = 0)]
        until_ms: u64,
        /// Judges and counts, and does nothing
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(client: &mut Client, command: RequestsCommand) -> anyhow::Result<()> {
    match command {
        RequestsCommand::Refused { account, source } => {
            let (mut rows, mut page_token): (Vec<Value>, _) = (vec![], String::new());
            loop {
                let (account_id, source_id) = (account.clone(), source.clone());
                let request = pb::ListRefusedRequestsRequest { account_id, source_id, page_size: PAGE, page_token };
                let listed = client.webhooks().list_refused_requests(request).await?.into_inner();
                rows.extend(listed.requests.iter().map(show::refused));
                page_token = listed.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            client.out.rows(client.json, &rows, &["number", "at", "code", "content_type", "body_bytes", "headers"])
        }
        RequestsCommand::Reprocess { account, source, accepted, since_ms, until_ms, dry_run } => {
            let kind = if accepted { pb::RequestKind::Accepted } else { pb::RequestKind::Refused };
            let mut request = pb::ReprocessRequestsRequest {
                account_id: account,
                source_id: source,
                kind: kind.into(),
                since_ms,
                until_ms,
                dry_run,
                page_token: String::new(),
            };
            let mut sum = pb::ReprocessRequestsResponse::default();
            let mut refused = BTreeMap::new();
            loop {
                let page = client.webhooks().reprocess_requests(request.clone()).await?.into_inner();
                sum.requests += page.requests;
                sum.verified += page.verified;
                sum.events += page.events;
                sum.repeated += page.repeated;
                sum.jobs += page.jobs;
                sum.unkept += page.unkept;
                for pb::SourceCount { what, count } in page.refused {
                    *refused.entry(what).or_insert(0) += count;
                }
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            let shown = json!({
                "requests": sum.requests, "verified": sum.verified, "refused": refused, "events": sum.events,
                "repeated": sum.repeated, "jobs": sum.jobs, "unkept": sum.unkept, "dry_run": dry_run,
            });
            client.out.one(client.json, &shown)
        }
    }
}
