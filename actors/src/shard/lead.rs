//! ③ One shard for as long as this node leads it: which accounts are awake, and who restarts them.
//!
//! # Invariants
//! - **H1 one**: an account has at most one actor, and none while an earlier one's decisions are still on their way.
//! - **H2 no longer**: when the lead ends all its actors stop; memory never outlives the term.
//! - **H3 idle only**: an actor retires only with nothing in hand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, ActorRuntime, SupervisionEvent};
use steward_cluster::clock::Clock;
use steward_cluster::ids::{ShardId, Term};
use steward_cluster::raft::{DriverHandle, ProposeError};
use steward_cluster::store::StateStore;
use tokio::sync::oneshot;

use super::ExecuteError;
use super::admit::{Gate, Limit, Permit, weight};
use super::node::Node;
use super::reply::{Outcome, Reply};
use super::writer::{Ticket, Writer};
use crate::account::{AccountActor, Execute, Waking};
use crate::codec::ShardAcked;
use crate::domain::account::{Answer, Asked};
use crate::domain::budget::Tariff;
use crate::domain::ids::AccountId;

/// How many of the least recently used actors are looked at for an idle one.
const RETIRE_LOOKS_MAX: usize = 64;
/// Acknowledgements of consumers of everything in hand.
const CONSUMERS_IN_HAND: Limit = Limit { commands: 256, bytes: 1 << 20 };
/// What one of them takes in memory.
const ACKNOWLEDGED_BYTES: usize = 256;
/// When to come back for an account that waits for its last decisions to be applied.
const RETRY_SOON: Duration = Duration::from_millis(50);

/// What the actors of one led shard work with.
pub(crate) struct Desk {
    pub(crate) shard: ShardId,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) tariff: Arc<Tariff>,
}

/// One led shard.
pub(crate) struct Lead {
    pub(crate) term: Term,
    node: Arc<Node>,
    desk: Arc<Desk>,
    supervisor: ActorRef<()>,
    gate: Arc<Gate>,
    /// What consumers of everything have in hand.
    consumers: Arc<Gate>,
    over: Arc<AtomicBool>,
    directory: Mutex<Directory>,
}

struct Directory {
    awake: LruCache<AccountId, Awake>,
    names: HashMap<ActorId, AccountId>,
    resting: HashMap<AccountId, Rest>,
}

struct Awake {
    actor: ActorRef<Execute>,
    gate: Arc<Gate>,
}

/// An account whose actor panicked, until it may wake again.
struct Rest {
    until: Duration,
    /// What its actor had handed to the writer must be applied first.
    after: Ticket,
}

impl Lead {
    pub(crate) fn start(node: Arc<Node>, driver: DriverHandle, shard: ShardId, term: Term) -> Arc<Self> {
        let _runtime = node.runtime.enter();
        Arc::new_cyclic(|me| {
            let (store, clock) = (Arc::clone(&node.store), Arc::clone(&node.clock));
            let answers = Arc::clone(&node.answers);
            let writer = Writer::new(shard, term, driver, me.clone(), answers);
            let desk = Desk { shard, store, clock, writer, tariff: Arc::clone(&node.config.tariff) };
            let started = ActorRuntime::spawn_instant(None, ShardActor, me.clone());
            let (supervisor, _) = started.expect("an actor without a name always starts");
            let gate = Gate::new("shard", node.limits.shard);
            let (names, resting) = (HashMap::new(), HashMap::new());
            let directory = Mutex::new(Directory { awake: LruCache::unbounded(), names, resting });
            let consumers = Gate::new("consumers of everything", CONSUMERS_IN_HAND);
            Self { term, node, desk: Arc::new(desk), supervisor, gate, consumers, over: Arc::default(), directory }
        })
    }

    /// Hands a command to its account's actor, waking it when needed.
    pub(crate) fn send(&self, account: &AccountId, asked: Asked) -> Result<oneshot::Receiver<Outcome>, ExecuteError> {
        let mut directory = self.directory.lock();
        let awake = match directory.awake.get(account) {
            Some(awake) => awake,
            None => self.wake(&mut directory, account)?,
        };
        let permit = Permit::take([&awake.gate, &self.gate, &self.node.gate], weight(&asked.command))?;
        let (reply, receiver) = Reply::new(self.desk.shard, Arc::clone(&self.over), permit);
        // The reply of a message that comes back, from an actor that just stopped, answers when it is dropped.
        awake.actor.send_message(Execute { asked, reply }).ok();
        Ok(receiver)
    }

    /// Writes down how far a consumer of everything has come.
    pub(crate) fn acknowledge(&self, acked: &ShardAcked) -> Result<oneshot::Receiver<Outcome>, ExecuteError> {
        let permit = Permit::take([&self.consumers, &self.gate, &self.node.gate], ACKNOWLEDGED_BYTES)?;
        let (reply, receiver) = Reply::new(self.desk.shard, Arc::clone(&self.over), permit);
        let answer = Answer { id: acked.consumer.to_string(), seq: acked.index.0, repeated: false };
        self.desk.writer.append(&acked.encode(), reply, Ok(answer));
        Ok(receiver)
    }

    /// Accounts awake.
    pub(crate) fn awake(&self) -> usize {
        self.directory.lock().awake.len()
    }

    /// Stops the least recently used actor that has nothing in hand; false when all are busy.
    pub(crate) fn retire_one(&self) -> bool {
        let mut directory = self.directory.lock();
        let idle = |(_, awake): &(&AccountId, &Awake)| awake.gate.in_hand() == 0;
        let found = directory.awake.iter().rev().take(RETIRE_LOOKS_MAX).find(idle);
        let Some(account) = found.map(|(account, _)| account.clone()) else { return false };
        let awake = directory.awake.pop(&account).expect("it was just found");
        directory.names.remove(&awake.actor.get_id());
        awake.actor.stop(None);
        self.node.fell_asleep(1);
        true
    }

    /// Ends the lead: nothing is taken any more, every actor stops.
    pub(crate) fn end(&self) {
        let mut directory = self.directory.lock();
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        let asleep = directory.awake.len();
        directory.awake.clear();
        directory.names.clear();
        drop(directory);
        self.node.fell_asleep(asleep);
        self.desk.writer.end(&ExecuteError::NotLed { shard: self.desk.shard });
        self.supervisor.stop(None); // Its children go with it.
    }

    /// The log refused an entry: what the actors hold in memory is not true.
    pub(crate) fn refused(self: &Arc<Self>, why: ProposeError) {
        self.node.lead_refused(self.desk.shard, self, why);
    }

    fn wake<'d>(&self, directory: &'d mut Directory, account: &AccountId) -> Result<&'d Awake, ExecuteError> {
        let shard = self.desk.shard;
        if self.over.load(Ordering::Acquire) {
            return Err(ExecuteError::NotLed { shard });
        }
        if let Some(rest) = directory.resting.get(account) {
            let left = rest.until.saturating_sub(self.desk.clock.monotonic());
            if !left.is_zero() || !self.desk.writer.is_applied(rest.after) {
                let retry_after = left.max(RETRY_SOON);
                return Err(ExecuteError::Overloaded { what: "queue of a restarting account", retry_after });
            }
            directory.resting.remove(account);
        }
        let _runtime = self.node.runtime.enter();
        let waking = Waking { account: account.clone(), desk: Arc::clone(&self.desk) };
        let cell = self.supervisor.get_cell();
        let started = ActorRuntime::spawn_linked_instant(None, AccountActor, waking, cell);
        let (actor, _) = started.expect("an actor without a name always starts");
        self.node.woke();
        directory.names.insert(actor.get_id(), account.clone());
        let gate = Gate::new("account", self.node.limits.account);
        Ok(directory.awake.get_or_insert(account.clone(), || Awake { actor, gate }))
    }

    /// An actor failed: its account rests, or goes into quarantine when that keeps happening.
    fn failed(&self, actor: ActorId, reason: &str) {
        let mut directory = self.directory.lock();
        let Some(account) = directory.names.remove(&actor) else { return };
        directory.awake.pop(&account);
        self.node.fell_asleep(1);
        let until = self.node.quarantine.failed(&account, reason, self.desk.clock.monotonic());
        let after = self.desk.writer.newest();
        directory.resting.insert(account, Rest { until, after });
    }

    /// An actor stopped without having been told to, as when the runtime ends.
    fn stopped(&self, actor: ActorId) {
        let mut directory = self.directory.lock();
        if let Some(account) = directory.names.remove(&actor) {
            directory.awake.pop(&account);
            self.node.fell_asleep(1);
        }
    }
}

/// Supervises the accounts of one led shard.
struct ShardActor;

impl Actor for ShardActor {
    type Msg = ();
    type State = Weak<Lead>;
    type Arguments = Weak<Lead>;

    async fn pre_start(&self, _: ActorRef<()>, lead: Weak<Lead>) -> Result<Weak<Lead>, ActorProcessingErr> {
        Ok(lead)
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<()>,
        event: SupervisionEvent,
        lead: &mut Weak<Lead>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(lead) = lead.upgrade() else { return Ok(()) };
        match event {
            SupervisionEvent::ActorFailed(who, reason) => lead.failed(who.get_id(), &reason.to_string()),
            SupervisionEvent::ActorTerminated(who, _, _) => lead.stopped(who.get_id()),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}
