//! The other nodes: where they are, what waits for them, and the connections to them. Membership fills it in; the Raft
//! driver, forwarding and the transfer of snapshots reach others through it.
//!
//! # Invariants
//! - **D1 never waits**: [`Peers::send`] takes no lock that is held during I/O.
//! - **D2 own lanes**: Raft's frames, forwarded calls and bulk data share no connection, so none waits behind another.
//! - **D3 gone is gone**: the links of a node that left the map end, and nothing dials it again.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::FrameSink;
use super::dial;
use super::identity::{self, IdentityError};
use super::link::Party;
use super::metrics;
use super::outbox::Outbox;
use super::skew::Skews;
use super::tls::{Tls, TlsError, TlsFiles};
use crate::clock::Clock;
use crate::ids::NodeId;
use crate::raft::PeerMessage;
use crate::spawn::spawn;

/// Who this node is, and how it proves it.
#[derive(Clone, Debug)]
pub struct PeersConfig {
    /// This node.
    pub node: NodeId,
    /// Its cluster; frames of others are refused.
    pub cluster: String,
    /// Random, new with every start of the process.
    pub boot: u64,
    /// Whether nodes prove who they are.
    pub security: Security,
}

/// How nodes trust each other.
#[derive(Clone, Debug)]
pub enum Security {
    /// Everybody who reaches the port is believed. For one machine or a network that is protected otherwise.
    Plaintext,
    /// Mutual TLS.
    Tls(TlsFiles),
}

/// Why this node cannot talk to others.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// The cluster has no usable name.
    #[error("could not name this node")]
    Name(#[source] IdentityError),
    /// Its certificates are not usable.
    #[error("could not load the certificates of this node")]
    Tls(#[source] TlsError),
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Calls of clients that another node answers.
    Forward,
    /// Snapshots and blobs.
    Bulk,
    /// Requests of clients whose bodies another node takes as they come: one that it does not read holds up only others.
    Stream,
}

/// The map has no such node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a known member")]
pub struct NotReachable(pub NodeId);

/// The other nodes. Clones are the same.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    this: Party,
    cluster: String,
    tls: Option<Arc<Tls>>,
    clock: Arc<dyn Clock>,
    skews: Skews,
    members: Mutex<Members>,
    /// Links start once somebody takes their frames.
    sink: watch::Sender<Option<Arc<dyn FrameSink>>>,
}

#[derive(Default)]
struct Members {
    peers: BTreeMap<NodeId, Arc<Peer>>,
    closed: bool,
}

/// One other node at one address.
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: String,
    pub(super) outbox: Arc<Outbox>,
    /// Cancelled when it left the map.
    pub(super) gone: CancellationToken,
    link: Mutex<CancellationToken>,
    forward: OnceLock<Channel>,
    bulk: OnceLock<Channel>,
    stream: OnceLock<Channel>,
}

impl Peer {
    fn new(node: NodeId, address: String) -> Self {
        Self {
            node,
            address,
            outbox: Arc::default(),
            gone: CancellationToken::new(),
            link: Mutex::default(),
            forward: OnceLock::new(),
            bulk: OnceLock::new(),
            stream: OnceLock::new(),
        }
    }

    /// Ends the link there was and gives the token of the next.
    pub(super) fn new_link(&self) -> CancellationToken {
        let next = self.gone.child_token();
        std::mem::replace(&mut *self.link.lock(), next.clone()).cancel();
        next
    }
}

impl Peers {
    /// Checks names and certificates. Nobody is dialed before [`Self::set_addresses`] and [`Self::serve`].
    pub fn new(config: PeersConfig, clock: Arc<dyn Clock>) -> Result<Self, PeersError> {
        let PeersConfig { node, cluster, boot, security } = config;
        identity::check_cluster_name(&cluster).map_err(PeersError::Name)?;
        let tls = match security {
            Security::Plaintext => None,
            Security::Tls(files) => {
                let tls = Tls::load(files, &cluster, node, Arc::clone(&clock)).map_err(PeersError::Tls)?;
                Some(Arc::new(tls))
            }
        };
        let (sink, _) = watch::channel(None);
        let this = Party { node, boot };
        Ok(Self(Arc::new(Shared {
            this,
            cluster,
            tls,
            clock,
            skews: Skews::default(),
            members: Mutex::default(),
            sink,
        })))
    }

    /// Says who the members are and where (`host:port`). Called on the runtime, at each change of membership; this
    /// node's own address may be among them.
    pub fn set_addresses(&self, addresses: BTreeMap<NodeId, String>) {
        let mut members = self.0.members.lock();
        if members.closed {
            return;
        }
        members.peers.retain(|node, peer| {
            let stays = addresses.get(node) == Some(&peer.address);
            if !stays {
                peer.gone.cancel();
            }
            stays
        });
        for (node, address) in addresses {
            if node == self.0.this.node || members.peers.contains_key(&node) {
                continue;
            }
            let peer = Arc::new(Peer::new(node, address));
            if node > self.0.this.node {
                spawn("peer_link", dial::keep_linked(self.clone(), Arc::clone(&peer)));
            }
            members.peers.insert(node, peer);
        }
    }

    /// Puts messages into the queue of their node. Never blocks; what does not fit, or has nowhere to go, is dropped
    /// and counted.
    pub fn send(&self, to: NodeId, messages: Vec<PeerMessage>) {
        match self.peer(to) {
            Some(peer) => peer.outbox.put(messages),
            None => metrics::dropped(messages.len()),
        }
    }

    /// Has an empty frame sent to every other node if nothing else is. Never blocks. A link over which nothing goes for
    /// long is taken for dead, so this is called all the time; the Raft driver does, so that a node whose driver hangs is silent.
    pub fn alive(&self) {
        self.0.members.lock().peers.values().for_each(|peer| peer.outbox.beat());
    }

    /// A connection for calls, dialed when it is first used and again after it broke. Called on the runtime.
    pub fn channel(&self, to: NodeId, lane: Lane) -> Result<Channel, NotReachable> {
        let peer = self.peer(to).ok_or(NotReachable(to))?;
        let lane = match lane {
            Lane::Forward => &peer.forward,
            Lane::Bulk => &peer.bulk,
            Lane::Stream => &peer.stream,
        };
        let open = || {
            let endpoint = dial::endpoint(&self.0.cluster, to);
            endpoint.connect_with_connector_lazy(dial::Connector::to(self, &peer))
        };
        Ok(lane.get_or_init(open).clone())
    }

    /// Ends all links, for good.
    pub(super) fn close(&self) {
        let mut members = self.0.members.lock();
        members.closed = true;
        for peer in std::mem::take(&mut members.peers).into_values() {
            peer.gone.cancel();
        }
    }

    pub(super) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.0.members.lock().peers.get(&node).map(Arc::clone)
    }

    pub(super) fn this(&self) -> &Party {
        &self.0.this
    }

    pub(super) fn cluster(&self) -> &str {
        &self.0.cluster
    }

    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.0.tls.clone()
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    pub(super) fn skews(&self) -> &Skews {
        &self.0.skews
    }

    pub(super) fn set_sink(&self, sink: Arc<dyn FrameSink>) {
        self.0.sink.send_replace(Some(sink));
    }

    /// Who takes the frames, as soon as that is known.
    pub(super) async fn sink(&self) -> Arc<dyn FrameSink> {
        let mut changes = self.0.sink.subscribe();
        let known = changes.wait_for(Option::is_some).await.expect("the sender lives as long as this");
        Arc::clone(known.as_ref().expect("it was waited for"))
    }
}
