//! Keeps this node registered: a key under a lease, taken out again whenever the lease was lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::error::{EtcdError, JoinError};
use super::etcd::{Etcd, Guard, Write};
use super::join::{DataState, JoinConfig, claim};
use super::keys::{Key, Keys};
use super::metrics;
use super::record::{NodeInfo, encode};
use crate::ids::NodeId;

/// A node that says nothing for so long leaves the view of the others.
pub const LEASE_TTL: Duration = Duration::from_secs(10);
/// How often it says something: two of three may get lost.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(3);
/// The pause before registering again, at most.
const REGISTER_PAUSE: Duration = Duration::from_secs(1);

/// What the node wants to be known as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Registered(NodeInfo),
    /// It leaves; its key should be gone.
    Gone,
}

/// What a node says of itself while it runs. Clones say the same.
#[derive(Clone)]
pub(crate) struct OwnWord(watch::Sender<Wanted>);

impl OwnWord {
    pub(super) fn new(info: NodeInfo) -> (Self, watch::Receiver<Wanted>) {
        let (wanted, heard) = watch::channel(Wanted::Registered(info));
        (Self(wanted), heard)
    }

    /// Says whether the disk is nearly full.
    pub(crate) fn disk_low(&self, is_low: bool) {
        self.0.send_if_modified(|wanted| match wanted {
            Wanted::Registered(info) if info.disk_low != is_low => {
                info.disk_low = is_low;
                true
            }
            Wanted::Registered(_) | Wanted::Gone => false,
        });
    }

    pub(super) fn goodbye(&self) {
        self.0.send_replace(Wanted::Gone);
    }
}

/// Registers one node, again and again.
pub(super) struct Registration {
    pub(super) etcd: Arc<Etcd>,
    pub(super) keys: Keys,
    /// As at the join, but belonging to the cluster: to be let in again follows the same rules.
    pub(super) config: JoinConfig,
    pub(super) node: NodeId,
    pub(super) wanted: watch::Receiver<Wanted>,
}

/// Why one registration ended.
enum End {
    /// The node leaves.
    Left,
    /// The lease is gone, or etcd was not there to give one.
    Lost,
}

impl Registration {
    /// Runs until the node leaves.
    pub(super) async fn run(mut self) {
        loop {
            match self.hold().await {
                Ok(End::Left) => return,
                Ok(End::Lost) => tracing::warn!("this node's registration ran out; it registers again"),
                Err(JoinError::Etcd { source, .. }) => {
                    tracing::debug!(error = ?source, "registration waits for etcd");
                }
                Err(refusal) => tracing::error!(%refusal, "etcd holds no place for this node any more"),
            }
            if *self.wanted.borrow() == Wanted::Gone {
                return;
            }
            tokio::time::sleep(REGISTER_PAUSE.mul_f64(rand::random_range(0.5..=1.0))).await;
        }
    }

    /// Registers and keeps the registration alive until it is lost.
    async fn hold(&mut self) -> Result<End, JoinError> {
        claim(&self.etcd, &self.keys, &self.config).await?;
        let lease = self.etcd.grant(LEASE_TTL).await.map_err(|source| self.of_etcd(source))?;
        if !self.put(lease).await? {
            return Ok(End::Lost);
        }
        metrics::registered();
        let mut beat = tokio::time::interval(KEEP_ALIVE_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let changed = tokio::select! {
                changed = self.wanted.changed() => Some(changed.is_ok()),
                _ = beat.tick() => None,
            };
            match changed {
                // The handle is gone without a goodbye: the lease runs out.
                Some(false) => return Ok(End::Left),
                Some(true) if *self.wanted.borrow() == Wanted::Gone => {
                    self.etcd.revoke(lease).await.map_err(|source| self.of_etcd(source))?;
                    return Ok(End::Left);
                }
                Some(true) => {
                    if !self.put(lease).await? {
                        return Ok(End::Lost);
                    }
                }
                None => match self.etcd.keep_alive(lease).await {
                    Err(EtcdError::Refused { .. }) => return Ok(End::Lost),
                    // The lease may well outlive the outage.
                    Err(EtcdError::Deadline { .. } | EtcdError::Failed { .. }) => {}
                    Ok(()) if self.stands().await => {}
                    Ok(()) => return Ok(End::Lost),
                },
            }
        }
    }

    /// Whether the key is there: a cluster that was wiped by hand takes it along and leaves the lease.
    async fn stands(&self) -> bool {
        let key = Guard::Exists(self.keys.name(Key::Node(self.node)));
        !matches!(self.etcd.write(&[key], &[]).await, Ok(None))
    }

    /// Writes the key, as long as the id is known; says whether it stands.
    async fn put(&self, lease: i64) -> Result<bool, JoinError> {
        let Wanted::Registered(info) = self.wanted.borrow().clone() else { return Ok(false) };
        // A cluster that was wiped in between has no place for the key.
        let known = Guard::Exists(self.keys.name(Key::Known(self.node)));
        let key = Write::PutLeased(self.keys.name(Key::Node(self.node)), encode(&info), lease);
        match self.etcd.write(&[known], &[key]).await {
            Ok(done) => Ok(done.is_some()),
            Err(EtcdError::Refused { .. }) => Ok(false),
            Err(source) => Err(self.of_etcd(source)),
        }
    }

    fn of_etcd(&self, source: EtcdError) -> JoinError {
        super::join::of_etcd(&self.config, source)
    }
}

/// The join of a node that has its id: what it asks when it has to start over.
pub(super) fn as_belonging(config: &JoinConfig, cluster_id: uuid::Uuid, node: NodeId) -> JoinConfig {
    JoinConfig { data: DataState::Belongs { cluster_id, node }, ..config.clone() }
}
