//! The shards of one node: started once by the composition root, called by the router.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steward_cluster::clock::Clock;
use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, NodeId, ShardId, Term};
use steward_cluster::raft::{
    self, Driver, DriverConfig, DriverHandle, ElectionTicks, OnFailure, Proposal, ProposeError, Role, Transport,
};
use steward_cluster::store::StoreError;
use steward_cluster::store::snapshot::SnapshotError;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::apply::Machine;
use super::config::ShardsConfig;
use super::node::Node;
use super::open::Opened;
use super::snapshots::Snapshots;
use super::stored::{stored_checks, stored_formats};
use super::{
    AcknowledgeError, ExecuteError, NewerFormat, Observer, ReadError, Reads, consumers, housekeeping, shard_of,
};
use crate::codec::Barrier;
use crate::domain::account::{Answer, Asked};
use crate::domain::ids::{AccountId, ConsumerId};
use crate::feed::Feed;
use crate::log_feed::LogFeed;
use crate::supervisor::spawn;

/// How long a start may take until every shard is led.
const START_MAX: Duration = Duration::from_secs(60);
/// How long commands in hand may take when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long the others may take to say that this node still leads.
const CONFIRM_MAX: Duration = Duration::from_secs(2);
/// How often a stopping node looks whether they are done.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

/// Which node this is, and how it reaches the others.
pub struct Seat {
    pub node: NodeId,
    /// Who holds every shard of a cluster that begins now; empty on a node that joins one.
    pub founders: Vec<NodeId>,
    /// None on a node that is alone: it waits until it leads every shard.
    pub transport: Option<Box<dyn Transport>>,
}

impl Seat {
    /// A node without others.
    #[must_use]
    pub fn alone(node: NodeId) -> Self {
        Self { node, founders: vec![node], transport: None }
    }
}

/// Why the shards did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("could not read how far the store is")]
    Store(#[from] StoreError),
    #[error("could not read what a shard comes to")]
    Digest(#[source] ReadError),
    #[error("could not read what a shard may hold")]
    Format(#[source] ReadError),
    #[error(transparent)]
    NewerFormat(#[from] NewerFormat), // It says everything.
    #[error("could not list the snapshots")]
    Snapshots(#[from] SnapshotError),
    #[error("could not start consensus")]
    Consensus(#[from] raft::StartError),
    #[error("after {START_MAX:?} only {led} of {shards} shards are led")]
    Slow { led: usize, shards: u16 },
}

/// One shard as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRow {
    pub shard: ShardId,
    /// `leader`, `starting`, `follower`, or `parked`: its state is wrong and waits to be replaced.
    pub role: &'static str,
    /// Who leads it, when that is known and the leader takes commands.
    pub leader: Option<NodeId>,
    /// Whether its replicas stopped exchanging heartbeats because nothing happens.
    pub is_asleep: bool,
    pub term: Term,
    pub last_index: LogIndex,
    pub applied_index: LogIndex,
    pub snapshot_index: LogIndex,
    pub accounts_live: usize,
    /// The format in force.
    pub format: Format,
}

/// All shards of this node. Cheap to clone. Dropping the last one is like pulling the plug.
#[derive(Clone)]
pub struct Shards {
    running: Arc<Running>,
}

struct Running {
    id: NodeId,
    is_alone: bool,
    node: Arc<Node>,
    driver: Mutex<Option<Driver>>,
    _housekeeping: AbortOnDropHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.driver.lock().take());
        self.node.end();
    }
}

impl Shards {
    /// Starts every shard over an opened log and store. On a node that is alone it returns when all of them are led.
    /// `on_failure` is called when consensus cannot go on.
    pub async fn start(
        config: ShardsConfig,
        seat: Seat,
        opened: Opened,
        clock: Arc<dyn Clock>,
        observers: Vec<Arc<dyn Observer>>,
        on_failure: OnFailure,
    ) -> Result<Self, StartError> {
        let (shards, elections) = (config.shards, ElectionTicks::after(config.elections_after));
        let Opened { log, recovered, store, snapshots, rebuilt: _ } = opened;
        let applied = (0..shards).map(|shard| Ok((ShardId(shard), store.applied(ShardId(shard))?)));
        let applied: Vec<(ShardId, LogIndex)> = applied.collect::<Result<_, StoreError>>()?;
        let stored_checks = stored_checks(&*store, shards)?;
        let stored_formats = stored_formats(&*store, shards)?;
        let snapshots = Snapshots::new(snapshots, shards)?;
        let inner = Node::new(config, store, Arc::clone(&clock), Handle::current(), snapshots, observers);
        inner.tips.tell(applied.iter().copied());
        let Seat { node, founders, transport } = seat;
        let is_alone = transport.is_none();
        let driver_config = DriverConfig { node, shards, founders, transport, elections, clock, on_failure };
        let machine = Machine { node: Arc::clone(&inner) };
        let driver = raft::start(driver_config, (log, recovered), &applied, machine)?;
        stored_checks.into_iter().for_each(|check| driver.handle().note_check(check));
        stored_formats.into_iter().for_each(|(shard, format)| driver.handle().note_format(shard, format));
        inner.set_driver(driver.handle());
        let housekeeping = spawn("housekeeping", housekeeping::keep(Arc::downgrade(&inner)));
        let mut led = inner.led();
        let running = Running {
            id: node,
            is_alone,
            node: inner,
            driver: Mutex::new(Some(driver)),
            _housekeeping: AbortOnDropHandle::new(housekeeping),
        };
        let all_led = led.wait_for(|led| !is_alone || *led == usize::from(shards));
        let all = timeout(START_MAX, all_led).await.is_ok();
        let started = Self { running: Arc::new(running) };
        if all { Ok(started) } else { Err(StartError::Slow { led: *led.borrow(), shards }) }
    }

    /// The shard an account belongs to, on every node and for ever.
    #[must_use]
    pub fn shard_of(&self, account: &AccountId) -> ShardId {
        shard_of(account, self.running.node.config.shards)
    }

    /// Does what is asked, and answers once that is durable, or says why not.
    pub async fn execute(&self, account: &AccountId, asked: Asked) -> Result<Answer, ExecuteError> {
        let answer = self.running.node.send(account, asked)?.await;
        // Every reply answers, whatever becomes of its actor; only the end of the runtime is silent.
        answer.unwrap_or_else(|_| Err(ExecuteError::OutcomeUnknown { shard: self.shard_of(account) }))
    }

    /// Whether this node leads the account's shard, ready for commands.
    #[must_use]
    pub fn leads(&self, account: &AccountId) -> bool {
        self.running.node.is_led(self.shard_of(account))
    }

    /// The driver, for those who place replicas and bring what peers send.
    #[must_use]
    pub fn driver(&self) -> DriverHandle {
        self.running.node.driver().clone()
    }

    /// Whether this node leads the shard and takes commands for it.
    #[must_use]
    pub fn is_led(&self, shard: ShardId) -> bool {
        self.running.node.is_led(shard)
    }

    /// Whether what is committed of the shard can be read here: it is held, and its state is not known to be wrong.
    #[must_use]
    pub fn is_readable(&self, shard: ShardId) -> bool {
        self.driver().status(shard).is_some_and(|status| !status.is_parked)
    }

    /// Changes whenever this node's role in any shard does.
    #[must_use]
    pub fn role_changes(&self) -> watch::Receiver<u64> {
        self.running.node.roles()
    }

    /// Makes sure that this node still leads the shard, and that everything acknowledged by now can be read here. False:
    /// it does not, or nobody can tell. On a node that is alone there is nobody to ask.
    pub async fn confirm(&self, shard: ShardId) -> bool {
        if self.running.is_alone {
            return true;
        }
        let (told, confirmed) = oneshot::channel();
        let done = move |outcome: Result<LogIndex, ProposeError>| {
            told.send(outcome.is_ok()).ok(); // Whoever asked may have gone.
        };
        self.running.node.driver().read(shard, Box::new(done));
        timeout(CONFIRM_MAX, confirmed).await.is_ok_and(|confirmed| confirmed == Ok(true))
    }

    /// Puts a format in force in a shard that is led here; answers when it is applied.
    ///
    /// # Errors
    /// Why the barrier is not in the log, or that nobody knows.
    pub async fn raise(&self, shard: ShardId, format: Format) -> Result<(), ProposeError> {
        let lead = self.running.node.lead_of(shard);
        let term = lead.ok_or(ProposeError::NotLeader { shard, leader: None })?.term;
        let (told, outcome) = oneshot::channel();
        let done = move |outcome: Result<LogIndex, ProposeError>| {
            told.send(outcome).ok(); // Whoever asked may have gone.
        };
        let data = Box::new(move || Barrier::to(format).entry());
        self.driver().propose(Proposal { shard, term, data, done: Box::new(done) });
        outcome.await.unwrap_or(Err(ProposeError::OutcomeUnknown { shard })).map(|_| ())
    }

    /// What is applied.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.running.node.reads()
    }

    /// The accounts' feeds.
    #[must_use]
    pub fn feed(&self) -> Feed {
        let node = &self.running.node;
        Feed::new(node.reads(), Arc::clone(&node.followers), Arc::clone(&node.tips), Arc::clone(&node.clock))
    }

    /// Whole shards, by their logs.
    #[must_use]
    pub fn log_feed(&self) -> LogFeed {
        LogFeed::new(self.reads(), Arc::clone(&self.running.node.tips))
    }

    /// Notes how far a consumer of everything has come in a shard, once that is durable. Going back is allowed.
    pub async fn acknowledge(
        &self,
        shard: ShardId,
        consumer: &ConsumerId,
        index: LogIndex,
    ) -> Result<(), AcknowledgeError> {
        let node = &self.running.node;
        match consumers::acknowledge(node, shard, consumer, index).await {
            // A leader that was cut off may not know how far the shard is.
            Err(AcknowledgeError::Ahead { .. }) if !self.confirm(shard).await => {
                Err(ExecuteError::NotLed { shard }.into())
            }
            Err(AcknowledgeError::Ahead { .. }) => consumers::acknowledge(node, shard, consumer, index).await,
            noted => noted,
        }
    }

    /// Takes an account out of quarantine; false when it was not in it.
    #[must_use]
    pub fn resume(&self, account: &AccountId) -> bool {
        self.running.node.quarantine.resume(account)
    }

    /// Why the account is not served, when it is in quarantine.
    #[must_use]
    pub fn quarantine_reason(&self, account: &AccountId) -> Option<String> {
        self.running.node.quarantine.reason(account)
    }

    /// How each shard stands that is held here.
    #[must_use]
    pub fn status(&self) -> Vec<ShardRow> {
        (0..self.running.node.config.shards).filter_map(|shard| self.row(ShardId(shard))).collect()
    }

    /// Account actors alive.
    #[must_use]
    pub fn live_accounts(&self) -> usize {
        self.running.node.awake()
    }

    /// Takes no more commands, finishes those in hand, and writes everything out.
    pub async fn stop(self) -> Result<(), StoreError> {
        let node = Arc::clone(&self.running.node);
        node.refuse_commands();
        let drained = async {
            while node.gate.in_hand() > 0 {
                sleep(DRAIN_LOOK).await;
            }
        };
        if timeout(DRAIN_MAX, drained).await.is_err() {
            tracing::warn!(commands = node.gate.in_hand(), "commands were still in hand when the node stopped");
        }
        let driver = self.running.driver.lock().take();
        let write_out = move || {
            if let Some(driver) = driver {
                driver.stop();
            }
            node.end();
            node.store.flush()
        };
        tokio::task::spawn_blocking(write_out).await.expect("stopping does not panic")
    }

    fn row(&self, shard: ShardId) -> Option<ShardRow> {
        let node = &self.running.node;
        let status = node.driver().status(shard)?;
        let lead = node.lead_of(shard);
        let role = match (&lead, status.role) {
            _ if status.is_parked => "parked",
            (Some(_), _) => "leader",
            (None, Role::Leader { .. }) => "starting",
            (None, Role::Follower { .. }) => "follower",
        };
        let leader = match status.role {
            Role::Leader { .. } => lead.as_ref().map(|_| self.running.id),
            Role::Follower { leader } => leader,
        };
        Some(ShardRow {
            shard,
            role,
            leader,
            is_asleep: status.is_asleep,
            term: status.term,
            last_index: status.last,
            applied_index: status.applied,
            snapshot_index: node.snapshots.taken(shard),
            accounts_live: lead.map_or(0, |lead| lead.awake()),
            format: status.format,
        })
    }
}
