//! This node in its cluster while it runs: registered, in touch with the others, its shards on their way to where they
//! should be. What needs etcd begins when etcd is there, and goes on when it goes away.

use std::sync::Arc;
use std::time::Duration;

use steward_actors::shard::Shards;
use steward_actors::supervisor;
use steward_cluster::clock::Clock;
use steward_cluster::divergence::Auditor;
use steward_cluster::format::{Format, Obstacle};
use steward_cluster::ids::NodeId;
use steward_cluster::membership::{self, EtcdError, FinalizeError, JoinError, Joined, Membership, View};
use steward_cluster::peers::Peers;
use steward_cluster::placement::{BlobCount, Controller, Executor};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::around::Around;
use super::join::Entry;
use super::remembered::Remembered;
use crate::data_dir::DataDir;

/// How long leaving nodes give the others to take over what they lead.
const GIVE_UP_MAX: Duration = Duration::from_secs(3);
/// The pause before another try to join, while etcd is away.
const JOIN_PAUSE: Duration = Duration::from_secs(1);

/// Why a wish of an operator was not noted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WishError {
    #[error("the node is not registered: etcd has been away since it started")]
    NotRegistered,
    #[error("etcd did not take it")]
    Etcd(#[from] EtcdError),
    #[error(transparent)]
    Obstacle(#[from] Obstacle),
}

impl From<FinalizeError> for WishError {
    fn from(error: FinalizeError) -> Self {
        match error {
            FinalizeError::Obstacle(obstacle) => obstacle.into(),
            FinalizeError::Etcd(error) => error.into(),
        }
    }
}

/// This node among the others.
pub(crate) struct Company {
    name: String,
    clock: Arc<dyn Clock>,
    started: Duration,
    view: watch::Receiver<Arc<View>>,
    active: Arc<Mutex<Option<Active>>>,
    registering: JoinHandle<()>,
    _auditor: Auditor,
}

/// What there is once the node is registered.
struct Active {
    membership: Membership,
    executor: Executor,
    _controller: Controller,
}

/// What joining works with.
struct Joining {
    entry: Entry,
    peers: Peers,
    missing: Arc<dyn BlobCount>,
    shards: Shards,
    data_dir: Arc<DataDir>,
    remembered: Remembered,
    clock: Arc<dyn Clock>,
    view: watch::Sender<Arc<View>>,
    active: Arc<Mutex<Option<Active>>>,
}

/// A view of nothing yet, for so many shards; and where the real one goes.
pub(crate) fn unseen(shards: u16) -> (watch::Sender<Arc<View>>, watch::Receiver<Arc<View>>) {
    let shards = usize::from(shards);
    let view = View {
        placement: vec![None; shards],
        members: vec![None; shards],
        leaders: vec![None; shards],
        ..View::default()
    };
    watch::channel(Arc::new(view))
}

impl Company {
    /// Goes to the others with the addresses remembered, and registers as soon as etcd is there.
    pub(crate) fn start(
        entry: Entry,
        around: &Around,
        shards: Shards,
        data_dir: Arc<DataDir>,
        clock: Arc<dyn Clock>,
        view: watch::Sender<Arc<View>>,
    ) -> Self {
        let peers = around.peers().clone();
        let remembered = Remembered::load(&data_dir);
        let shards_driver = shards.driver();
        peers.set_addresses(remembered.addresses().clone());
        let active = Arc::<Mutex<Option<Active>>>::default();
        let name = entry.config.cluster.clone();
        let (seen, started) = (view.subscribe(), clock.monotonic());
        let auditor = Auditor::start(shards_driver, peers.clone());
        let joining = Joining {
            entry,
            peers,
            missing: around.missing(),
            shards,
            data_dir,
            remembered,
            clock: Arc::clone(&clock),
            view,
            active: Arc::clone(&active),
        };
        let registering = supervisor::spawn("registering", joining.run());
        Self { name, clock, started, view: seen, active, registering, _auditor: auditor }
    }

    /// The cluster's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The cluster as this node sees it.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// How long etcd has been away; none while it is there.
    pub(crate) fn etcd_away(&self) -> Option<Duration> {
        let view = self.view.borrow();
        if view.nodes.is_empty() {
            return Some(self.clock.monotonic().saturating_sub(self.started));
        }
        view.etcd_unreachable_since.map(|since| self.clock.monotonic().saturating_sub(since))
    }

    /// Notes that an operator wants a node empty, or not any more.
    pub(crate) async fn wish_drain(&self, node: NodeId, drain: bool) -> Result<(), WishError> {
        let active = self.active.lock().await;
        let active = active.as_ref().ok_or(WishError::NotRegistered)?;
        Ok(active.membership.wish_drain(node, drain).await?)
    }

    /// Lets every shard have the highest format that all nodes know, which is answered.
    pub(crate) async fn finalize(&self) -> Result<Format, WishError> {
        let active = self.active.lock().await;
        let active = active.as_ref().ok_or(WishError::NotRegistered)?;
        Ok(active.membership.finalize().await?)
    }

    /// Lets the others take over what this node leads, and goes. Its replicas are theirs to miss for a while. Until what
    /// is answered is dropped, it moves on what still comes: another leader may not have heard yet.
    pub(crate) async fn leave(&self) -> Option<Executor> {
        self.registering.abort();
        let Active { membership, executor, .. } = self.active.lock().await.take()?;
        // First nobody gives it more, then it gives up what it has.
        membership.leave().await;
        let left = executor.give_up_leads(GIVE_UP_MAX).await;
        if left == 0 {
            tracing::info!("others lead what was led here");
        } else {
            tracing::warn!(
                shards = left,
                "shards led here have no other leader yet; one is elected when this node is gone"
            );
        }
        Some(executor)
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        self.registering.abort();
    }
}

impl Joining {
    async fn run(mut self) {
        let Some(membership) = self.register().await else { return };
        let mut view = membership.view();
        let (driver, peers, missing) = (self.shards.driver(), self.peers.clone(), Arc::clone(&self.missing));
        let executor = Executor::start(driver, &membership, peers, missing, Arc::clone(&self.clock));
        let controller = Controller::start(&membership);
        *self.active.lock().await = Some(Active { membership, executor, _controller: controller });
        loop {
            let now = Arc::clone(&view.borrow_and_update());
            let addresses = now.nodes.iter().map(|(node, info)| (*node, info.address.clone()));
            if self.remembered.learn(&self.data_dir, addresses) {
                self.peers.set_addresses(self.remembered.addresses().clone());
            }
            self.view.send_replace(now);
            if view.changed().await.is_err() {
                return; // The node has left.
            }
        }
    }

    /// Registers, waiting for etcd as long as it takes; nothing when the cluster does not want this node any more.
    async fn register(&mut self) -> Option<Membership> {
        loop {
            let tried = match self.joined().await {
                Ok(joined) => joined.register().await,
                Err(error) => Err(error),
            };
            let error = match tried {
                Ok(membership) => return Some(membership),
                Err(error) => error,
            };
            if !may_pass(&error) {
                return None;
            }
            sleep(JOIN_PAUSE).await;
        }
    }

    async fn joined(&mut self) -> Result<Joined, JoinError> {
        match self.entry.joined.take() {
            Some(joined) => Ok(joined),
            None => membership::join(self.entry.config.clone(), Arc::clone(&self.clock)).await,
        }
    }
}

/// Says why the node is not registered, and whether that may change by itself.
fn may_pass(error: &JoinError) -> bool {
    let cause: &dyn std::error::Error = error;
    if let JoinError::Etcd { .. } = error {
        tracing::warn!(error = cause, "the node is not registered yet");
        return true;
    }
    tracing::error!(error = cause, "the node cannot register; it goes on with the shards it has");
    false
}
