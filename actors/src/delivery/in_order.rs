//! One event after the other: how endpoints are served until [`Format::WEBHOOKS`](steward_cluster::format::Format::WEBHOOKS)
//! is in force, because nodes of the release before know no other way. An event that fails holds up all behind it.

use std::time::Duration;

use steward_cluster::clock::Timestamp;

use super::board::EndpointKey;
use super::message;
use super::post::{Addressed, without_answer};
use super::send::{Post, unreadable};
use crate::domain::account::{Account, Command, Endpoint, Reported};
use crate::metrics;
use crate::shard::FeedEntry;

/// Events read from the feed at a time.
const PAGE_MAX: usize = 64;

/// What to do with an endpoint next.
enum Next {
    /// Nothing until there is news.
    Idle,
    /// This long, for this back-off to end.
    Wait(Duration, Timestamp),
    Skip(u64),
    Deliver(Box<FeedEntry>),
}

/// How long a back-off is slept through before the format is looked at again.
const NAP_MAX: Duration = Duration::from_secs(60);

/// Works for one endpoint until there is nothing to send, or there is another way to serve it.
pub(super) async fn drain(post: &Post, key: &EndpointKey) {
    // What was waited for is over, whatever the wall clock says by then.
    let mut waited = None;
    while post.serves_in_order(&key.0) {
        let Some((account, endpoint)) = post.read(key) else { return };
        match next(post, &account, &endpoint, waited) {
            Next::Idle => return,
            Next::Wait(wait, _) if wait > NAP_MAX => tokio::time::sleep(NAP_MAX).await,
            Next::Wait(wait, until) => {
                tokio::time::sleep(wait).await;
                waited = Some(until);
            }
            Next::Skip(through_seq) => {
                let command = Command::SkipDeliveries { endpoint: key.1.clone(), through_seq };
                post.execute(key, command, 0).await;
            }
            Next::Deliver(entry) => {
                let outcome = match Addressed::open(&account, &endpoint, &post.egress, &post.sealer) {
                    Ok(addressed) => {
                        let body = message::document(&key.0, &entry).to_string().into();
                        let id = message::id(&key.0, &key.1, entry.seq);
                        let posting = addressed.post(&id, body, &*post.clock, post.timeout);
                        post.slots.post(key, posting).await
                    }
                    Err(error) => super::post::unanswered(error, Duration::ZERO),
                };
                metrics::delivery_ended(&outcome);
                let reported = Reported { event_seq: entry.seq, outcome: without_answer(outcome) };
                let command = Command::ReportDelivery { endpoint: key.1.clone(), reported };
                post.execute(key, command, entry.seq).await;
            }
        }
    }
}

fn next(post: &Post, account: &Account, endpoint: &Endpoint, waited: Option<Timestamp>) -> Next {
    if endpoint.disabled.is_some() {
        return Next::Idle;
    }
    if let Some(until) = endpoint.retry_at.filter(|until| waited != Some(*until)) {
        match post.commands.reads().newest_at(&account.id) {
            Ok(newest) => {
                let wait = until.since(post.clock.now().max(newest));
                if !wait.is_zero() {
                    return Next::Wait(wait, until);
                }
            }
            Err(error) => {
                unreadable(&account.id, &error);
                return Next::Idle;
            }
        }
    }
    let page = match post.commands.reads().events(&account.id, endpoint.cursor, PAGE_MAX) {
        Ok(page) => page,
        Err(error) => {
            unreadable(&account.id, &error);
            return Next::Idle;
        }
    };
    let full = page.len() == PAGE_MAX;
    let last = page.last().map(|entry| entry.seq);
    match page.into_iter().find(|entry| message::wanted(endpoint, &entry.event)) {
        Some(entry) => Next::Deliver(Box::new(entry)),
        // Unwanted events are skipped a page at a time: a skip is a write.
        None => match last {
            Some(last) if full => Next::Skip(last),
            Some(_) | None => Next::Idle,
        },
    }
}
