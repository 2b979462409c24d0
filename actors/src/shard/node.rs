//! What all shards of a node share: the leads, the limits, and whoever listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::RwLock;
use steward_cluster::clock::Clock;
use steward_cluster::format::Format;
use steward_cluster::ids::{ShardId, Term};
use steward_cluster::raft::{DriverHandle, ProposeError};
use steward_cluster::store::StateStore;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::admit::{Gate, Limits};
use super::entries::Bygone;
use super::followers::Followers;
use super::lead::Lead;
use super::quarantine::Quarantine;
use super::remembered::Forgetting;
use super::reply::{Answers, Outcome};
use super::snapshots::Snapshots;
use super::timers::Timers;
use super::tips::Tips;
use super::{ExecuteError, Observer, Reads, ShardsConfig, shard_of};
use crate::codec::Decision;
use crate::domain::account::Asked;
use crate::domain::ids::AccountId;
use crate::metrics;

/// The shards of this node.
pub(crate) struct Node {
    pub(crate) config: ShardsConfig,
    pub(crate) limits: Limits,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
    pub(crate) gate: Arc<Gate>,
    pub(crate) followers: Arc<Followers>,
    pub(crate) tips: Arc<Tips>,
    pub(crate) quarantine: Quarantine,
    pub(crate) timers: Timers,
    pub(crate) remembered: Forgetting,
    pub(crate) bygone: Bygone,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) answers: Arc<Answers>,
    observers: Vec<Arc<dyn Observer>>,
    /// Set once the driver runs; before, it tells of leads on a thread that waits for it here.
    driver: std::sync::OnceLock<DriverHandle>,
    leads: Vec<RwLock<Option<Arc<Lead>>>>,
    led: watch::Sender<usize>,
    /// Counts changes of this node's role in any shard.
    roles: watch::Sender<u64>,
    awake: AtomicUsize,
    stopping: AtomicBool,
}

impl Node {
    pub(crate) fn new(
        config: ShardsConfig,
        store: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
        runtime: Handle,
        snapshots: Snapshots,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Arc<Self> {
        let limits = config.limits;
        let leads = (0..config.shards).map(|_| RwLock::new(None)).collect();
        Arc::new(Self {
            limits,
            store,
            clock,
            runtime,
            gate: Gate::new("node", limits.node),
            followers: Arc::default(),
            tips: Arc::new(Tips::new(config.shards)),
            quarantine: Quarantine::default(),
            timers: Timers::default(),
            remembered: Forgetting::default(),
            bygone: Bygone::default(),
            snapshots: Arc::new(snapshots),
            answers: Arc::default(),
            observers,
            driver: std::sync::OnceLock::new(),
            leads,
            led: watch::channel(0).0,
            roles: watch::channel(0).0,
            awake: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            config,
        })
    }

    /// The running driver. Waits for it when called while it starts.
    pub(crate) fn driver(&self) -> &DriverHandle {
        self.driver.wait()
    }

    /// Names the running driver, once.
    pub(crate) fn set_driver(&self, driver: DriverHandle) {
        self.driver.set(driver).ok().expect("the driver starts once");
    }

    pub(crate) fn reads(&self) -> Reads {
        Reads::new(Arc::clone(&self.store), self.config.shards)
    }

    /// How many shards are led here, as it changes.
    pub(crate) fn led(&self) -> watch::Receiver<usize> {
        self.led.subscribe()
    }

    /// Changes with this node's role in any shard.
    pub(crate) fn roles(&self) -> watch::Receiver<u64> {
        self.roles.subscribe()
    }

    /// This node's role in a shard has changed, and everything that goes with it is done.
    pub(crate) fn role_changed(&self) {
        self.roles.send_modify(|changes| *changes += 1);
    }

    pub(crate) fn lead_of(&self, shard: ShardId) -> Option<Arc<Lead>> {
        self.leads.get(usize::from(shard.0))?.read().clone()
    }

    pub(crate) fn is_led(&self, shard: ShardId) -> bool {
        self.leads.get(usize::from(shard.0)).is_some_and(|lead| lead.read().is_some())
    }

    /// Account actors alive.
    pub(crate) fn awake(&self) -> usize {
        self.awake.load(Ordering::Acquire)
    }

    pub(crate) fn woke(&self) {
        metrics::accounts_live(self.awake.fetch_add(1, Ordering::AcqRel) + 1);
    }

    pub(crate) fn fell_asleep(&self, count: usize) {
        metrics::accounts_live(self.awake.fetch_sub(count, Ordering::AcqRel) - count);
    }

    /// Hands a command to its account.
    pub(crate) fn send(&self, account: &AccountId, asked: Asked) -> Result<oneshot::Receiver<Outcome>, ExecuteError> {
        let shard = shard_of(account, self.config.shards);
        if self.stopping.load(Ordering::Acquire) {
            return Err(ExecuteError::NotLed { shard });
        }
        if let Some(reason) = self.quarantine.reason(account) {
            return Err(ExecuteError::Quarantined { account: account.clone(), reason });
        }
        let lead = self.lead_of(shard).ok_or(ExecuteError::NotLed { shard })?;
        let answer = lead.send(account, asked)?;
        while self.awake() > self.config.accounts_live_max && self.retire_one(shard) {}
        Ok(answer)
    }

    /// Retires one idle account, of this shard rather than another; false when all are busy.
    fn retire_one(&self, shard: ShardId) -> bool {
        let shards = self.config.shards;
        let near_first = (0..shards).map(|step| ShardId((shard.0 + step) % shards));
        near_first.filter_map(|shard| self.lead_of(shard)).any(|lead| lead.retire_one())
    }

    /// This node leads the shard from now on.
    pub(crate) fn lead(self: &Arc<Self>, shard: ShardId, term: Term) {
        let lead = Lead::start(Arc::clone(self), self.driver().clone(), shard, term);
        self.put_lead(shard, Some(lead));
        // Behind it: one that is due at once must find the lead.
        if let Err(error) = self.timers.load(shard, &self.reads(), &*self.clock) {
            tracing::error!(shard = shard.0, error = %error, "the timers of a shard cannot be read");
        }
        self.observers.iter().for_each(|observer| observer.led(shard));
    }

    /// This node leads the shard no more.
    pub(crate) fn yield_shard(&self, shard: ShardId) {
        let was_led = self.is_led(shard);
        self.put_lead(shard, None);
        self.timers.drop_shard(shard);
        if was_led {
            self.tell_yielded(shard);
        }
    }

    /// A barrier of a shard is applied.
    pub(crate) fn raised(&self, shard: ShardId, format: Format) {
        let driver = self.driver();
        if driver.status(shard).is_some_and(|status| status.format < format) {
            driver.note_format(shard, format);
            tracing::debug!(shard = shard.0, format = format.0, "a format is in force");
        }
    }

    /// The state of a shard was replaced as a whole, or is gone.
    pub(crate) fn replaced(&self, shard: ShardId) {
        self.tell_yielded(shard);
        self.wake_followers(shard);
    }

    /// The state of a shard is wrong, or about to be gone: whoever reads it ends.
    pub(crate) fn withdraw(&self, shard: ShardId) {
        self.tips.withdraw(shard);
        self.wake_followers(shard);
    }

    fn wake_followers(&self, shard: ShardId) {
        let of_shard = |account: &AccountId| shard_of(account, self.config.shards) == shard;
        let reads = self.reads();
        self.followers.tell_all(of_shard, |account| reads.bounds(account).map_or(0, |(_, newest)| newest));
    }

    /// The log refused an entry of a lead: whatever its actors decided since is void. When the shard is still led here
    /// they start again from their rows.
    pub(crate) fn lead_refused(self: &Arc<Self>, shard: ShardId, lead: &Arc<Lead>, why: ProposeError) {
        match why {
            // The log says so itself, once; here it comes with every command.
            ProposeError::SpaceLow { .. } => tracing::debug!(shard = shard.0, error = %why, "the log refused an entry"),
            ProposeError::Overloaded { .. }
            | ProposeError::Size { .. }
            | ProposeError::NotLeader { .. }
            | ProposeError::StaleTerm { .. }
            | ProposeError::OutcomeUnknown { .. }
            | ProposeError::NoSuchShard { .. }
            | ProposeError::Stopped => tracing::warn!(shard = shard.0, error = %why, "the log refused an entry"),
        }
        let current = self.lead_of(shard).is_some_and(|current| Arc::ptr_eq(&current, lead));
        let again = match why {
            ProposeError::SpaceLow { .. } | ProposeError::Overloaded { .. } | ProposeError::Size { .. } => {
                current.then(|| Lead::start(Arc::clone(self), self.driver().clone(), shard, lead.term))
            }
            ProposeError::NotLeader { .. }
            | ProposeError::StaleTerm { .. }
            | ProposeError::OutcomeUnknown { .. }
            | ProposeError::NoSuchShard { .. }
            | ProposeError::Stopped => None,
        };
        if current {
            self.put_lead(shard, again);
        }
    }

    /// Takes no more commands.
    pub(crate) fn refuse_commands(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Ends every lead.
    pub(crate) fn end(&self) {
        (0..self.config.shards).for_each(|shard| self.put_lead(ShardId(shard), None));
    }

    /// Tells whoever listens what was applied.
    pub(crate) fn observe(&self, shard: ShardId, decision: &Decision) {
        for (seq, _, event) in decision.numbered() {
            self.timers.note(shard, &decision.account, decision.at, event, &*self.clock);
            for observer in &self.observers {
                observer.applied(&decision.account, seq, decision.at, event);
            }
        }
        for mark in &decision.marks {
            self.observers.iter().for_each(|observer| observer.marked(&decision.account, mark));
        }
    }

    fn tell_yielded(&self, shard: ShardId) {
        let of_shard = |account: &AccountId| shard_of(account, self.config.shards) == shard;
        self.observers.iter().for_each(|observer| observer.yielded(&of_shard));
    }

    /// Tells whoever listens what was applied on a shard that another node leads.
    pub(crate) fn follow(&self, decision: &Decision) {
        for (_, _, event) in decision.numbered() {
            self.observers.iter().for_each(|observer| observer.followed(&decision.account, event));
        }
    }

    fn put_lead(&self, shard: ShardId, lead: Option<Arc<Lead>>) {
        let Some(place) = self.leads.get(usize::from(shard.0)) else { return };
        let is_led = lead.is_some();
        let before = std::mem::replace(&mut *place.write(), lead);
        let was_led = before.is_some();
        if let Some(before) = before {
            before.end();
        }
        self.led.send_modify(|led| *led = *led + usize::from(is_led) - usize::from(was_led));
        metrics::shards_led(*self.led.borrow());
    }
}
