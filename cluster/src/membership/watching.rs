//! Keeps the view new: reads all of etcd, then follows what happens; whenever that breaks off, reads all of it again.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, WatchResponse};
use tokio::sync::watch;

use super::announce::Announcements;
use super::error::EtcdError;
use super::etcd::{Etcd, Reach};
use super::keys::Keys;
use super::metrics;
use super::picture::{Change, NotOurs, Picture};
use super::view::View;

/// The pause before everything is read again, at most.
const READ_PAUSE: Duration = Duration::from_millis(500);

/// Publishes the view of one node.
pub(super) struct Watching {
    pub(super) etcd: Arc<Etcd>,
    pub(super) keys: Keys,
    pub(super) picture: Picture,
    pub(super) reach: watch::Receiver<Reach>,
    pub(super) announcements: Arc<Announcements>,
    pub(super) view: watch::Sender<Arc<View>>,
}

/// Why following broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("etcd was not there")]
    Etcd(#[from] EtcdError),
    #[error("the stream of changes failed")]
    Stream(#[source] Box<etcd_client::Error>),
    #[error("the stream of changes ended: {0}")]
    Ended(String),
    #[error(transparent)]
    NotOurs(#[from] NotOurs),
}

impl Watching {
    /// Reads all of etcd once; answers its revision.
    pub(super) async fn read(&mut self) -> Result<i64, EtcdError> {
        let listing = self.etcd.list(self.keys.root()).await?;
        self.note_reach();
        if let Err(error) = self.picture.replace(&listing, self.etcd.clock().monotonic()) {
            let cause: &dyn std::error::Error = &error;
            tracing::error!(error = cause, "the last view of the cluster stays in use");
        } else {
            self.announcements.repeat_missing(self.picture.view());
        }
        self.publish();
        Ok(listing.revision)
    }

    /// Runs until it is aborted. `revision` is that of the first [`read`](Self::read).
    pub(super) async fn run(mut self, mut revision: i64) {
        loop {
            if let Err(error) = self.follow(revision + 1).await {
                let cause: &dyn std::error::Error = &error;
                tracing::debug!(error = cause, "reading all of etcd again");
            }
            revision = loop {
                self.pause().await;
                if let Ok(revision) = self.read().await {
                    break revision;
                }
            };
        }
    }

    async fn follow(&mut self, from: i64) -> Result<(), Broken> {
        let mut stream = self.etcd.watch(self.keys.root(), from).await?;
        loop {
            let due = self.due();
            tokio::select! {
                told = stream.message() => match told.map_err(|source| Broken::Stream(Box::new(source)))? {
                    Some(told) => self.take_in(&told)?,
                    None => return Err(Broken::Ended("by its endpoint".to_owned())),
                },
                () = changed_or_due(&mut self.reach, due) => {
                    self.note_reach();
                    self.publish();
                }
            }
        }
    }

    fn take_in(&mut self, told: &WatchResponse) -> Result<(), Broken> {
        // A compacted revision cancels the stream, too.
        if told.canceled() {
            return Err(Broken::Ended(told.cancel_reason().to_owned()));
        }
        let changes: Option<Vec<Change<'_>>> = told
            .events()
            .iter()
            .filter_map(|event| event.kv().map(|pair| (event.event_type(), pair)))
            .map(|(kind, pair)| {
                let key = std::str::from_utf8(pair.key()).ok()?;
                Some(match kind {
                    EventType::Put => Change::Put(key, pair.value()),
                    EventType::Delete => Change::Deleted(key),
                })
            })
            .collect();
        let Some(changes) = changes else { return Ok(()) };
        self.note_reach();
        self.picture.apply(&changes, self.etcd.clock().monotonic())?;
        self.publish();
        Ok(())
    }

    /// Waits before the next try, and goes on publishing meanwhile.
    async fn pause(&mut self) {
        let pause = READ_PAUSE.mul_f64(rand::random_range(0.5..=1.0));
        tokio::time::sleep(pause).await;
        self.note_reach();
        self.publish();
    }

    fn note_reach(&mut self) {
        let reach = *self.reach.borrow_and_update();
        self.picture.reach(reach);
    }

    /// How long until a node that is missed leaves the view.
    fn due(&mut self) -> Option<Duration> {
        let now = self.etcd.clock().monotonic();
        self.picture.settle(now).map(|due| due.saturating_sub(now).max(READ_PAUSE))
    }

    fn publish(&mut self) {
        self.picture.settle(self.etcd.clock().monotonic());
        let view = self.picture.view();
        metrics::nodes(view.nodes.len());
        self.view.send_if_modified(|published| {
            let is_new = **published != *view;
            if is_new {
                *published = Arc::new(view.clone());
            }
            is_new
        });
    }
}

/// Until etcd is reached or lost, or the time has come.
async fn changed_or_due(reach: &mut watch::Receiver<Reach>, due: Option<Duration>) {
    let due = async {
        match due {
            Some(due) => tokio::time::sleep(due).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        changed = reach.changed() => if changed.is_err() {
            // The sender lives in the client that this task holds.
            std::future::pending().await
        },
        () = due => {}
    }
}
