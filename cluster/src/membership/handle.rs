//! A node that is in: what it reads and says. The composition root holds it; shards' leaders report through it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::announce::{self, Announcements};
use super::error::{EtcdError, FinalizeError, JoinError};
use super::etcd::{Etcd, Write};
use super::join::{Joined, of_etcd};
use super::keys::{Key, Keys};
use super::picture::Picture;
use super::record::{Members, encode};
use super::register::{OwnWord, Registration, as_belonging};
use super::view::View;
use super::watching::Watching;
use crate::format::{Format, target};
use crate::ids::{NodeId, ShardId};
use crate::spawn::spawn;

/// How long a goodbye may take; the lease runs out without it.
const LEAVE_MAX: Duration = Duration::from_secs(4);

/// A node in the cluster. Dropping it is a crash as far as others can see: its lease runs out.
pub struct Membership {
    node: NodeId,
    cluster_id: Uuid,
    replicas: u8,
    etcd: Arc<Etcd>,
    keys: Keys,
    view: watch::Receiver<Arc<View>>,
    wanted: OwnWord,
    announcements: Arc<Announcements>,
    registration: Option<JoinHandle<()>>,
    tasks: [JoinHandle<()>; 2],
}

impl Joined {
    /// Registers this node and follows the cluster. Call it after the id is durable.
    ///
    /// # Errors
    /// [`JoinError::Etcd`] when etcd can not be read once. From then on outages are waited for.
    pub async fn register(self) -> Result<Membership, JoinError> {
        let info = self.info();
        let Self { cluster_id, node, replicas, etcd, keys, config, .. } = self;
        let announcements = Arc::<Announcements>::default();
        let (wanted, wanted_here) = OwnWord::new(info);
        let (published, view) = watch::channel(Arc::new(View::empty(config.shards)));
        let mut watching = Watching {
            etcd: Arc::clone(&etcd),
            keys: keys.clone(),
            picture: Picture::new(keys.clone(), cluster_id, config.shards),
            reach: etcd.reach(),
            announcements: Arc::clone(&announcements),
            view: published,
        };
        let revision = watching.read().await.map_err(|source| of_etcd(&config, source))?;
        let registration = Registration {
            etcd: Arc::clone(&etcd),
            keys: keys.clone(),
            config: as_belonging(&config, cluster_id, node),
            node,
            wanted: wanted_here,
        };
        let announcing = announce::run(Arc::clone(&announcements), Arc::clone(&etcd), keys.clone(), view.clone());
        let registration = Some(spawn("registration", registration.run()));
        let tasks = [spawn("watching", watching.run(revision)), spawn("announcing", announcing)];
        Ok(Membership { node, cluster_id, replicas, etcd, keys, view, wanted, announcements, registration, tasks })
    }
}

impl Membership {
    /// The id of this node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The cluster as it is now, and every change of it.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Tells the others who leads these shards. Returns at once; only the newest word per shard goes out.
    pub fn announce_leaders(&self, changes: Vec<(ShardId, NodeId)>) {
        self.announcements.leaders(changes);
    }

    /// Tells the controller where these shards are. For their leaders, whenever something in it changes.
    pub fn report_members(&self, changes: Vec<(ShardId, Members)>) {
        self.announcements.members(changes);
    }

    /// Notes or takes back an operator's wish to empty a node, which may be any.
    ///
    /// # Errors
    /// When etcd does not take it.
    pub async fn wish_drain(&self, node: NodeId, drain: bool) -> Result<(), EtcdError> {
        let key = self.keys.name(Key::Drain(node));
        let wish = if drain { Write::Put(key, b"{}".to_vec()) } else { Write::Delete(key) };
        self.etcd.write(&[], &[wish]).await.map(|_| ())
    }

    /// Lets every shard have the highest format that all nodes know, for good. Leaders write their barriers when they
    /// hear of it.
    ///
    /// # Errors
    /// When a node does not know it or cannot be asked, and when etcd does not take it.
    pub async fn finalize(&self) -> Result<Format, FinalizeError> {
        let format = target(&self.view.borrow().clone())?;
        self.etcd.write(&[], &[Write::Put(self.keys.name(Key::Format), encode(&format))]).await?;
        Ok(format)
    }

    /// Takes this node out of the view of the others. Its id stays its own.
    pub async fn leave(mut self) {
        self.wanted.goodbye();
        if let Some(registration) = self.registration.as_mut()
            && tokio::time::timeout(LEAVE_MAX, registration).await.is_err()
        {
            tracing::warn!("etcd did not hear the goodbye of this node; its lease will run out");
        }
    }

    pub(crate) fn etcd(&self) -> &Arc<Etcd> {
        &self.etcd
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// For those who say something again and again, and outlive no handle.
    pub(crate) fn announcements(&self) -> &Arc<Announcements> {
        &self.announcements
    }

    /// For those who find out something about this node that others should know.
    pub(crate) fn own_word(&self) -> &OwnWord {
        &self.wanted
    }

    pub(crate) fn cluster_id(&self) -> Uuid {
        self.cluster_id
    }

    pub(crate) fn replicas(&self) -> u8 {
        self.replicas
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        for task in self.registration.iter().chain(&self.tasks) {
            task.abort();
        }
    }
}
