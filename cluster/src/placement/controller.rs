//! Runs for the office of the controller and, once in it, writes placements. The composition root starts one per node.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::absence::Absences;
use super::election::{OFFICE_TTL, Office};
use super::metrics;
use super::moves;
use crate::ids::NodeId;
use crate::membership::{Etcd, EtcdError, Key, Keys, Membership, Picture, View};
use crate::spawn::spawn;

/// How often the controller looks whether something is to be done.
const PASS_EVERY: Duration = Duration::from_secs(1);
/// How often it says that it is alive: two of three may get lost.
const KEEP_EVERY: Duration = Duration::from_secs(3);
/// A controller whose key is not in its view by then has been replaced.
const VIEW_LAG_MAX: Duration = OFFICE_TTL;

/// Takes part in placing shards until it is dropped.
pub struct Controller {
    task: JoinHandle<()>,
}

struct Acting {
    etcd: Arc<Etcd>,
    keys: Keys,
    node: NodeId,
    cluster_id: Uuid,
    replicas: u8,
    view: watch::Receiver<Arc<View>>,
    absences: Absences,
    office: Option<Held>,
}

/// An office and since when it is held, and was last kept.
struct Held {
    office: Office,
    taken: Duration,
    kept: Duration,
}

impl Controller {
    /// Starts taking part for this node.
    #[must_use]
    pub fn start(membership: &Membership) -> Self {
        let acting = Acting {
            etcd: Arc::clone(membership.etcd()),
            keys: membership.keys().clone(),
            node: membership.node(),
            cluster_id: membership.cluster_id(),
            replicas: membership.replicas(),
            view: membership.view(),
            absences: Absences::default(),
            office: None,
        };
        Self { task: spawn("controller", acting.run()) }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Acting {
    async fn run(mut self) {
        let mut pass = tokio::time::interval(PASS_EVERY);
        pass.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            pass.tick().await;
            let view = Arc::clone(&self.view.borrow());
            // Whoever is away is counted from the first pass in office on.
            if let Err(error) = self.pass(&view).await {
                tracing::debug!(?error, "placement waits for etcd");
            }
            metrics::controller(self.office.is_some());
        }
    }

    async fn pass(&mut self, view: &View) -> Result<(), EtcdError> {
        if !self.is_in_office(view).await? {
            self.absences = Absences::default();
            return Ok(());
        }
        let now = self.etcd.clock().monotonic();
        let members = self.absences.members(view, now);
        let moves = moves::next(view, &members, self.replicas);
        metrics::moving(moves.moving.len());
        if moves.writes.is_empty() || !view.etcd_reachable() {
            return Ok(());
        }
        // The view may be old: what is written is planned on what stands in etcd now.
        let listing = self.etcd.list(self.keys.root()).await?;
        let shards = u16::try_from(view.placement.len()).unwrap_or(u16::MAX);
        let mut fresh = Picture::new(self.keys.clone(), self.cluster_id, shards);
        if let Err(error) = fresh.replace(&listing, now) {
            tracing::error!(?error, "shards are not placed");
            return Ok(());
        }
        let members = self.absences.members(fresh.view(), now);
        for (shard, placement) in moves::next(fresh.view(), &members, self.replicas).writes {
            let Some(held) = &self.office else { return Ok(()) };
            let over = listing.held.get(&self.keys.name(Key::Placement(shard))).map_or(0, |held| held.revision);
            let done = held.office.place(&self.etcd, &self.keys, shard, over, &placement).await?;
            metrics::written(done);
            if !done {
                // Replaced, or an answer of its own got lost: either way what it knows is out of date.
                tracing::info!(%shard, "a placement was refused; this node stops being the controller");
                return self.resign().await;
            }
        }
        Ok(())
    }

    /// Takes, keeps or loses the office; says whether it is held.
    async fn is_in_office(&mut self, view: &View) -> Result<bool, EtcdError> {
        let now = self.etcd.clock().monotonic();
        let Some(held) = &mut self.office else {
            if view.controller.is_none() && view.etcd_reachable() {
                let office = Office::take(&self.etcd, &self.keys, self.node).await?;
                self.office = office.map(|office| Held { office, taken: now, kept: now });
            }
            return Ok(self.office.is_some());
        };
        if view.controller != Some(self.node) && now.saturating_sub(held.taken) >= VIEW_LAG_MAX {
            self.resign().await?;
            return Ok(false);
        }
        if now.saturating_sub(held.kept) >= KEEP_EVERY {
            match held.office.keep(&self.etcd).await {
                Ok(()) => held.kept = now,
                Err(EtcdError::Refused { .. }) => self.office = None,
                // The lease may outlive the outage, and every write checks the key.
                Err(error @ (EtcdError::Deadline { .. } | EtcdError::Failed { .. })) => return Err(error),
            }
        }
        Ok(self.office.is_some())
    }

    async fn resign(&mut self) -> Result<(), EtcdError> {
        match self.office.take() {
            Some(held) => held.office.resign(&self.etcd).await,
            None => Ok(()),
        }
    }
}
