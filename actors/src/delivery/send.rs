//! Sends what endpoints want: reads the feed from an endpoint's cursor, posts, reports.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use steward_cluster::clock::{Clock, Timestamp};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::board::{DeliveryBoard, EndpointKey};
use super::message;
use crate::domain::account::{Account, Asked, Command, DeliveryOutcome, Endpoint};
use crate::domain::webhook::sign;
use crate::egress::{Egress, EgressError};
use crate::elsewhere::Commands;
use crate::seal::Sealer;
use crate::shard::{ExecuteError, FeedEntry, ReadError};
use crate::{metrics, supervisor};

/// Events read from the feed at a time.
const PAGE_MAX: usize = 64;
/// Bytes of a receiver's answer that are looked at.
const ANSWER_BYTES_MAX: usize = 4096;
/// Characters of a failure that go into its event.
const ERROR_CHARS_MAX: usize = 300;
/// How long a sender waits before it tries a shard again that could not take its report.
const REPORT_RETRY_WAIT: Duration = Duration::from_millis(500);

/// What the sender of a node is started with.
#[derive(Debug, Clone)]
pub struct SenderConfig {
    /// Posts under way at a time, over all endpoints.
    pub in_flight_max: usize,
    /// Time a receiver has to answer.
    pub timeout: Duration,
}

/// The sender of a node.
pub struct Sender {
    stop: CancellationToken,
    dispatcher: tokio::task::JoinHandle<()>,
}

struct Post {
    commands: Commands,
    board: Arc<DeliveryBoard>,
    egress: Arc<Egress>,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    slots: Semaphore,
    timeout: Duration,
    stop: CancellationToken,
}

/// What to do with an endpoint next.
enum Next {
    /// Nothing until there is news.
    Idle,
    /// This long, for this back-off to end.
    Wait(Duration, Timestamp),
    Skip(u64),
    Deliver(Box<FeedEntry>),
}

impl Sender {
    /// Starts sending for every endpoint of the shards this node leads.
    #[must_use]
    pub fn start(
        config: &SenderConfig,
        commands: Commands,
        board: Arc<DeliveryBoard>,
        egress: Arc<Egress>,
        sealer: Arc<Sealer>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let stop = CancellationToken::new();
        let slots = Semaphore::new(config.in_flight_max);
        let post = Post { commands, board, egress, sealer, clock, slots, timeout: config.timeout, stop: stop.clone() };
        let dispatcher = supervisor::spawn("deliveries", dispatch(Arc::new(post)));
        Self { stop, dispatcher }
    }

    /// Stops sending. A post under way is abandoned; it will be repeated with the same id.
    pub async fn stop(self) {
        self.stop.cancel();
        self.dispatcher.await.ok(); // A panic was already logged.
    }
}

async fn dispatch(post: Arc<Post>) {
    loop {
        for shard in post.board.take_shards() {
            match post.commands.reads().endpoints(shard) {
                Ok(endpoints) => endpoints
                    .into_iter()
                    .filter(|(_, _, endpoint)| endpoint.disabled.is_none())
                    .for_each(|(account, endpoint, _)| post.board.add((account, endpoint))),
                Err(error) => tracing::error!(%shard, %error, "the endpoints of a shard cannot be read"),
            }
        }
        for (key, cancel) in post.board.take_woken() {
            drop(supervisor::spawn("endpoint", Arc::clone(&post).serve(key, cancel)));
        }
        tokio::select! {
            () = post.board.changed() => {}
            () = post.stop.cancelled() => return,
        }
    }
}

impl Post {
    /// Works for one endpoint until there is nothing to send.
    async fn serve(self: Arc<Self>, key: EndpointKey, cancel: CancellationToken) {
        tokio::select! {
            () = self.drain(&key) => {}
            () = cancel.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
        self.board.done(&key);
    }

    async fn drain(&self, key: &EndpointKey) {
        // What was waited for is over, whatever the wall clock says by then.
        let mut waited = None;
        loop {
            let (account, endpoint) = match self.commands.reads().account(&key.0) {
                Ok(Some(account)) => match account.endpoints.get(&key.1).cloned() {
                    Some(endpoint) => (account, endpoint),
                    None => return, // Deleted.
                },
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(account = %key.0, %error, "an endpoint cannot be read");
                    return;
                }
            };
            match self.next(&account, &endpoint, waited) {
                Next::Idle => return,
                Next::Wait(wait, until) => {
                    tokio::time::sleep(wait).await;
                    waited = Some(until);
                }
                Next::Skip(through_seq) => {
                    let command = Command::SkipDeliveries { endpoint: key.1.clone(), through_seq };
                    self.execute(key, command, 0).await;
                }
                Next::Deliver(entry) => {
                    let outcome = self.deliver(&account, key, &endpoint, &entry).await;
                    metrics::delivery_ended(match outcome {
                        DeliveryOutcome::Delivered { .. } => "delivered",
                        DeliveryOutcome::Gone => "gone",
                        DeliveryOutcome::Failed { .. } => "failed",
                    });
                    let command = Command::ReportDelivery { endpoint: key.1.clone(), event_seq: entry.seq, outcome };
                    self.execute(key, command, entry.seq).await;
                }
            }
        }
    }

    fn next(&self, account: &Account, endpoint: &Endpoint, waited: Option<Timestamp>) -> Next {
        if endpoint.disabled.is_some() {
            return Next::Idle;
        }
        if let Some(until) = endpoint.retry_at.filter(|until| waited != Some(*until)) {
            match self.commands.reads().newest_at(&account.id) {
                Ok(newest) => {
                    let wait = until.since(self.clock.now().max(newest));
                    if !wait.is_zero() {
                        return Next::Wait(wait, until);
                    }
                }
                Err(error) => return unreadable(account, &error),
            }
        }
        let page = match self.commands.reads().events(&account.id, endpoint.cursor, PAGE_MAX) {
            Ok(page) => page,
            Err(error) => return unreadable(account, &error),
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

    async fn deliver(
        &self,
        account: &Account,
        key: &EndpointKey,
        endpoint: &Endpoint,
        entry: &FeedEntry,
    ) -> DeliveryOutcome {
        let _slot = self.slots.acquire().await;
        let body = message::body(&key.0, entry);
        let headers = match self.headers(account, key, endpoint, entry.seq, &body) {
            Ok(headers) => headers,
            Err(error) => return DeliveryOutcome::Failed { status: None, error, retry_after_ms: None },
        };
        let started = self.clock.monotonic();
        let answer = self.egress.post(&endpoint.url, headers, body, self.timeout, ANSWER_BYTES_MAX).await;
        let latency = self.clock.monotonic().saturating_sub(started);
        match answer {
            Ok(answer) => judge(answer.status, &answer.headers, latency),
            Err(error) => DeliveryOutcome::Failed { status: None, error: explain(&error), retry_after_ms: None },
        }
    }

    fn headers(
        &self,
        account: &Account,
        key: &EndpointKey,
        endpoint: &Endpoint,
        seq: u64,
        body: &Bytes,
    ) -> Result<HeaderMap, String> {
        let opened = self.sealer.open(&account.wrapped_key, &endpoint.sealed_secret);
        let secret = opened.map_err(|error| error.to_string())?;
        let id = message::id(&key.0, &key.1, seq);
        let signed =
            sign::sign(&id, self.clock.now(), body, &[secret.as_slice()]).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in signed {
            let value = HeaderValue::from_str(&value).map_err(|_| "the signature is no header".to_owned())?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(headers)
    }

    /// Executes a report. One that finds no leader is dropped: the endpoint's state did not change, so the loop tries again.
    async fn execute(&self, key: &EndpointKey, command: Command, causation_seq: u64) {
        let asked = Asked {
            command,
            actor: format!("endpoint:{}", key.1),
            correlation_id: format!("endpoint:{}", key.1),
            causation_seq,
            idempotency: None,
        };
        match self.commands.execute(&key.0, asked).await {
            Ok(_) | Err(ExecuteError::Rejected(_)) => {}
            Err(error) => {
                tracing::warn!(account = %key.0, endpoint = %key.1, %error, "a delivery could not be recorded");
                tokio::time::sleep(REPORT_RETRY_WAIT).await;
            }
        }
    }
}

fn unreadable(account: &Account, error: &ReadError) -> Next {
    tracing::error!(account = %account.id, %error, "the feed cannot be read");
    Next::Idle
}

fn judge(status: StatusCode, headers: &HeaderMap, latency: Duration) -> DeliveryOutcome {
    if status.is_success() {
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        return DeliveryOutcome::Delivered { status: status.as_u16(), latency_ms };
    }
    if status == StatusCode::GONE {
        return DeliveryOutcome::Gone;
    }
    let asked = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    DeliveryOutcome::Failed {
        status: Some(status.as_u16()),
        error: format!("the receiver answered {status}"),
        retry_after_ms: asked.map(|seconds| seconds.saturating_mul(1000)),
    }
}

fn explain(error: &EgressError) -> String {
    format!("{}: {error}", error.code()).chars().take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_their_status() {
        let judged = |status: u16, retry_after: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = retry_after {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_str(value).unwrap());
            }
            judge(StatusCode::from_u16(status).unwrap(), &headers, Duration::from_millis(7))
        };
        assert_eq!(judged(204, None), DeliveryOutcome::Delivered { status: 204, latency_ms: 7 });
        assert_eq!(judged(410, None), DeliveryOutcome::Gone);
        let failed = |status, retry_after_ms| DeliveryOutcome::Failed {
            status: Some(status),
            error: format!("the receiver answered {}", StatusCode::from_u16(status).unwrap()),
            retry_after_ms,
        };
        assert_eq!(judged(302, None), failed(302, None), "redirects are not followed");
        assert_eq!(judged(429, Some("120")), failed(429, Some(120_000)));
        assert_eq!(judged(503, Some("soon")), failed(503, None));
    }
}
