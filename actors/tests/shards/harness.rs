//! Starts shards over a real log and store in a temporary folder, and asks them things.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use steward_actors::domain::account::{
    Asked, Command, Event, Idempotency, KeptRequest, Mark, SourceCreated, Trust, WebhookAccepted,
};
use steward_actors::domain::ids::{AccountId, SourceId};
use steward_actors::shard::{Observer, Opened, Seat, Shards, ShardsConfig, open};
use steward_cluster::clock::{Clock, SystemClock, Timestamp};
use steward_cluster::ids::{NodeId, ShardId};
use steward_cluster::log::LogConfig;
use steward_cluster::store::{Engine, StateStore};

/// Cache of the store under test.
pub(crate) const CACHE_BYTES: u64 = 8 << 20;

/// What a test may vary.
pub(crate) struct Setup {
    pub(crate) config: ShardsConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    pub(crate) seat: Seat,
}

impl Default for Setup {
    fn default() -> Self {
        let (config, clock, seat) = (ShardsConfig::default(), Arc::new(SystemClock::new()), Seat::alone(NodeId(1)));
        Self { config, clock, observers: vec![], seat }
    }
}

impl Setup {
    /// Starts over what lies in the folder.
    pub(crate) async fn start(self, folder: &Path) -> Started {
        let opened = opened(folder);
        assert_eq!(opened.rebuilt, None, "the store can be trusted");
        self.start_over(opened).await
    }

    /// Starts over an opened log and store.
    pub(crate) async fn start_over(self, opened: Opened) -> Started {
        let store = Arc::downgrade(&opened.store);
        let on_failure = Arc::new(|failure| panic!("consensus failed: {failure:?}"));
        let started = Shards::start(self.config, self.seat, opened, self.clock, self.observers, on_failure);
        Started { shards: started.await.unwrap(), store }
    }
}

/// Running shards.
pub(crate) struct Started {
    shards: Shards,
    store: Weak<dyn StateStore>,
}

impl Deref for Started {
    type Target = Shards;

    fn deref(&self) -> &Shards {
        &self.shards
    }
}

impl Started {
    /// Pulls the plug, and waits until the folder can be opened again.
    pub(crate) async fn crash(self) {
        drop(self.shards);
        until("the store is closed", || self.store.strong_count() == 0).await;
    }

    /// Stops in good order.
    pub(crate) async fn stop(self) {
        self.shards.stop().await.unwrap();
    }
}

/// The log and store in the folder.
pub(crate) fn opened(folder: &Path) -> Opened {
    open(folder, Engine::Fjall, CACHE_BYTES, LogConfig::default()).unwrap()
}

pub(crate) fn account(name: &str) -> AccountId {
    AccountId::parse(name).unwrap()
}

pub(crate) fn zoom() -> SourceId {
    SourceId::parse("zoom").unwrap()
}

/// Asked by a test.
pub(crate) fn asked(command: Command) -> Asked {
    Asked { command, actor: "test".to_owned(), correlation_id: "c-1".to_owned(), causation_seq: 0, idempotency: None }
}

/// Asked under a key, so that asking twice happens once.
pub(crate) fn keyed(command: Command, key: &str, fingerprint: u64) -> Asked {
    Asked { idempotency: Some(Idempotency { key: key.to_owned(), fingerprint }), ..asked(command) }
}

pub(crate) fn create() -> Command {
    Command::CreateAccount { display_name: "Test".to_owned(), wrapped_key: vec![7; 32] }
}

pub(crate) fn create_source() -> Command {
    Command::CreateSource(SourceCreated {
        source: zoom(),
        scheme: "zoom".to_owned(),
        token: "token".to_owned(),
        sealed_secrets: vec![vec![1]],
        tolerance_s: 300,
        public_url: String::new(),
    })
}

/// A webhook with this delivery id.
pub(crate) fn webhook(delivery: &str) -> Command {
    Command::AcceptWebhooks(vec![WebhookAccepted {
        source: zoom(),
        provider: "zoom".to_owned(),
        event_type: "recording.completed".to_owned(),
        delivery_ids: vec![delivery.to_owned()],
        tenant: None,
        trust: Trust::Full,
        content_type: "application/json".to_owned(),
        body: Bytes::from_static(br#"{"n":1}"#),
        kept: KeptRequest::Nowhere,
    }])
}

/// Creates an account that can take webhooks: two events.
pub(crate) async fn founded(shards: &Shards, name: &str) -> AccountId {
    let account = account(name);
    shards.execute(&account, asked(create())).await.unwrap();
    shards.execute(&account, asked(create_source())).await.unwrap();
    account
}

/// Waits until something is so, and fails when it never is.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

/// Passes on what was applied.
pub(crate) struct Watching(pub(crate) tokio::sync::mpsc::Sender<Seen>);

/// Something that was applied.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    Event(AccountId, u64, Event),
    Mark(AccountId, Mark),
    Led(ShardId),
}

impl Observer for Watching {
    fn applied(&self, account: &AccountId, seq: u64, _: Timestamp, event: &Event) {
        self.0.try_send(Seen::Event(account.clone(), seq, event.clone())).expect("the test reads along");
    }

    fn followed(&self, _: &AccountId, _: &Event) {}

    fn yielded(&self, _: &dyn Fn(&AccountId) -> bool) {}

    fn marked(&self, account: &AccountId, mark: &Mark) {
        self.0.try_send(Seen::Mark(account.clone(), mark.clone())).expect("the test reads along");
    }

    fn led(&self, shard: ShardId) {
        self.0.try_send(Seen::Led(shard)).expect("the test reads along");
    }
}
