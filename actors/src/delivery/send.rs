//! Sends what endpoints want: one task for each endpoint that has something to send.

use std::sync::Arc;
use std::time::Duration;

use steward_cluster::clock::Clock;
use steward_cluster::format::Format;
use tokio_util::sync::CancellationToken;

use super::board::{DeliveryBoard, EndpointKey, Signals};
use super::post::Addressed;
use super::slots::Slots;
use super::{engine, in_order, message};
use crate::domain::account::{Account, Answer, Asked, Command, DeliveryOutcome, Endpoint};
use crate::domain::ids::{AccountId, EndpointId};
use crate::egress::Egress;
use crate::elsewhere::Commands;
use crate::seal::Sealer;
use crate::shard::{ExecuteError, ReadError};
use crate::supervisor;

/// How long a sender waits before it tries a shard again that could not take its report.
const REPORT_RETRY_WAIT: Duration = Duration::from_millis(500);

/// What the sender of a node is started with.
#[derive(Debug, Clone)]
pub struct SenderConfig {
    /// Posts at work at a time, over all endpoints; those that wait for slow receivers come on top.
    pub in_flight_max: usize,
    /// Time a receiver has to answer.
    pub timeout: Duration,
}

/// The sender of a node.
pub struct Sender {
    post: Arc<Post>,
    dispatcher: tokio::task::JoinHandle<()>,
}

/// What all tasks of a sender work with.
pub(super) struct Post {
    pub(super) commands: Commands,
    pub(super) board: Arc<DeliveryBoard>,
    pub(super) egress: Arc<Egress>,
    pub(super) sealer: Arc<Sealer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) slots: Slots,
    pub(super) timeout: Duration,
    stop: CancellationToken,
}

/// Posts a test to an endpoint, on the spot.
#[derive(Clone)]
pub struct Tester(Arc<Post>);

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
        let slots = Slots::new(config.in_flight_max);
        let post = Post { commands, board, egress, sealer, clock, slots, timeout: config.timeout, stop };
        let post = Arc::new(post);
        let dispatcher = supervisor::spawn("deliveries", dispatch(Arc::clone(&post)));
        Self { post, dispatcher }
    }

    /// What test sends go by.
    #[must_use]
    pub fn tester(&self) -> Tester {
        Tester(Arc::clone(&self.post))
    }

    /// Stops sending. A post under way is abandoned; it will be repeated with the same id.
    pub async fn stop(self) {
        self.post.stop.cancel();
        self.dispatcher.await.ok(); // A panic was already logged.
    }
}

impl Tester {
    /// Posts a signed test and says what came of it. Nothing is recorded, and it counts for no state of the endpoint.
    pub async fn test(&self, account: &Account, id: &EndpointId, endpoint: &Endpoint, nonce: &str) -> DeliveryOutcome {
        let post = &self.0;
        let addressed = match Addressed::open(account, endpoint, &post.egress, &post.sealer) {
            Ok(addressed) => addressed,
            Err(error) => return super::post::unanswered(error, Duration::ZERO),
        };
        let body = message::test_document(&account.id, id, post.clock.now()).to_string().into();
        addressed.post(&format!("msg_{}_{id}_test_{nonce}", account.id), body, &*post.clock, post.timeout).await
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
        for (key, signals) in post.board.take_woken() {
            drop(supervisor::spawn("endpoint", Arc::clone(&post).serve(key, signals)));
        }
        tokio::select! {
            () = post.board.changed() => {}
            () = post.stop.cancelled() => return,
        }
    }
}

impl Post {
    /// Works for one endpoint until there is nothing to send.
    async fn serve(self: Arc<Self>, key: EndpointKey, signals: Signals) {
        let work = async {
            if self.serves_in_order(&key.0) {
                in_order::drain(&self, &key).await;
            }
            // What was true before may have changed meanwhile.
            if !self.serves_in_order(&key.0) {
                engine::serve(&self, &key, &signals).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = signals.cancel.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
        self.board.done(&key);
    }

    /// Whether deliveries may not go past each other yet, because nodes of the release before would not understand.
    pub(super) fn serves_in_order(&self, account: &AccountId) -> bool {
        match self.commands.reads().format(account) {
            Ok(format) => format < Format::WEBHOOKS,
            Err(error) => {
                unreadable(account, &error);
                true
            }
        }
    }

    /// The endpoint as it is now; none when it is gone.
    pub(super) fn read(&self, key: &EndpointKey) -> Option<(Account, Endpoint)> {
        match self.commands.reads().account(&key.0) {
            Ok(account) => {
                let account = account?;
                let endpoint = account.endpoints.get(&key.1).cloned()?;
                Some((account, endpoint))
            }
            Err(error) => {
                unreadable(&key.0, &error);
                None
            }
        }
    }

    /// Executes a report; none when it has to be tried again. One that finds no leader is dropped: the endpoint's state did
    /// not change, so its sender tries again.
    pub(super) async fn execute(
        &self,
        key: &EndpointKey,
        command: Command,
        causation_seq: u64,
    ) -> Option<Result<Answer, ExecuteError>> {
        let asked = Asked {
            command,
            actor: format!("endpoint:{}", key.1),
            correlation_id: format!("endpoint:{}", key.1),
            causation_seq,
            idempotency: None,
        };
        match self.commands.execute(&key.0, asked).await {
            outcome @ (Ok(_) | Err(ExecuteError::Rejected(_))) => Some(outcome),
            Err(error) => {
                tracing::warn!(account = %key.0, endpoint = %key.1, %error, "a delivery could not be recorded");
                tokio::time::sleep(REPORT_RETRY_WAIT).await;
                None
            }
        }
    }
}

pub(super) fn unreadable(account: &AccountId, error: &ReadError) {
    tracing::error!(%account, %error, "what is to be delivered cannot be read");
}
