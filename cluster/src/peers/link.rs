//! One link: frames to and from one other node over one stream, until either side ends it. Both ends run this.
//!
//! # Invariants
//! - **L1 introduced**: nothing of a node reaches the sink before it said who it is and was believed.
//! - **L2 one at a time**: a new link to a node ends the one before, so frames of two never mix.
//! - **L3 alive**: a link on which nothing comes in for [`SILENCE_MAX`] is over.
//! - **L4 its own**: messages from or to anybody but the two ends of the link end it.
//!
//! # Decisions
//! - A frame counts when it is whole. With [`super::outbox::FRAME_BYTES_MAX`] and [`SILENCE_MAX`] nodes need some 40
//!   Mbit/s between them under full load; counting single bytes would let a peer that trickles look alive.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use prost::Message as _;
use steward_proto::peer::v1 as pb;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};

use super::FrameSink;
use super::directory::Peers;
use super::metrics::{self, Direction};
use super::outbox::Outbox;
use super::skew::Watch;
use crate::clock::Timestamp;
use crate::ids::NodeId;
use crate::raft::{PeerMessage, WireError};

/// When nothing was received for so long, the link is closed.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("the other node ended it")]
    Closed,
    #[error("this node ended it")]
    Ended,
    #[error("nothing came in for {} ms", SILENCE_MAX.as_millis())]
    Silent,
    #[error("the stream broke")]
    Broken(#[source] Box<Status>),
    #[error("it was refused")]
    Refused(#[source] Refusal),
}

/// Why the other end of a link is not trusted with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the first frame introduces nobody")]
    NoIntroduction,
    #[error("it is of cluster {theirs:?}, this is {ours:?}")]
    OtherCluster { theirs: String, ours: String },
    #[error("it says it is {claimed}, its certificate says {proven}")]
    OtherNode { claimed: NodeId, proven: NodeId },
    #[error("{0} is not a member, as far as this node knows")]
    Stranger(NodeId),
    #[error("{0} should be dialed, not dial")]
    WrongWay(NodeId),
    #[error("a message is from {from} to {to}, which are not the two ends")]
    Strayed { from: NodeId, to: NodeId },
    #[error("a message of {node} cannot be read")]
    Unreadable { node: NodeId, source: WireError },
}

impl From<Status> for LinkEnd {
    fn from(status: Status) -> Self {
        Self::Broken(Box::new(status))
    }
}

/// Who one end is.
#[derive(Clone, Debug)]
pub(super) struct Party {
    pub(super) node: NodeId,
    pub(super) boot: u64,
}

/// The first frame of the other end, checked as far as it can be without knowing the members.
pub(super) async fn introduced(inbound: &mut Streaming<pb::Frame>, cluster: &str) -> Result<Party, LinkEnd> {
    let first = timeout(SILENCE_MAX, inbound.message()).await.map_err(|_| LinkEnd::Silent)??;
    let frame = first.ok_or(LinkEnd::Closed)?;
    let said = frame.introduction.ok_or(LinkEnd::Refused(Refusal::NoIntroduction))?;
    if said.cluster != cluster {
        let refusal = Refusal::OtherCluster { theirs: said.cluster, ours: cluster.to_owned() };
        return Err(LinkEnd::Refused(refusal));
    }
    Ok(Party { node: NodeId(said.node), boot: said.boot })
}

/// What this end sends: who it is, then what waits. Its end, however it comes, ends the link.
pub(super) fn outgoing(
    peers: &Peers,
    outbox: Arc<Outbox>,
    ended: CancellationToken,
) -> impl Stream<Item = pb::Frame> + Send + use<> {
    let this = peers.this();
    let said = pb::Introduction { cluster: peers.cluster().to_owned(), node: this.node.0, boot: this.boot };
    let (peers, guard) = (peers.clone(), ended.clone().drop_guard());
    let sending = Sending { said: Some(said), peers, outbox, ended, _guard: guard };
    stream::unfold(sending, |mut sending| async move { Some((sending.next().await?, sending)) })
}

struct Sending {
    said: Option<pb::Introduction>,
    peers: Peers,
    outbox: Arc<Outbox>,
    ended: CancellationToken,
    _guard: DropGuard,
}

impl Sending {
    async fn next(&mut self) -> Option<pb::Frame> {
        let messages = if self.said.is_some() {
            vec![]
        } else {
            tokio::select! {
                biased;
                () = self.ended.cancelled() => return None,
                messages = self.outbox.next() => messages,
            }
        };
        let sent_at_ms = self.peers.clock().now().0;
        let frame = pb::Frame { introduction: self.said.take(), messages, sent_at_ms };
        metrics::frame(Direction::Sent, frame.messages.len(), frame.encoded_len());
        Some(frame)
    }
}

/// Hands every frame of the other end to the sink until the link is over.
pub(super) async fn hear(
    mut inbound: Streaming<pb::Frame>,
    peers: &Peers,
    from: &Party,
    sink: &dyn FrameSink,
    ended: &CancellationToken,
) -> LinkEnd {
    metrics::links().increment(1);
    let (this, mut clocks) = (peers.this().node, Watch::new(peers.skews(), peers.clock(), from.node));
    let end = loop {
        let frame = tokio::select! {
            biased;
            () = ended.cancelled() => break LinkEnd::Ended,
            frame = timeout(SILENCE_MAX, inbound.message()) => frame,
        };
        match frame {
            Err(_) => break LinkEnd::Silent,
            Ok(Err(status)) => break status.into(),
            Ok(Ok(None)) => break LinkEnd::Closed,
            Ok(Ok(Some(frame))) => {
                clocks.saw(Timestamp(frame.sent_at_ms));
                match opened(frame, this, from.node) {
                    Ok(messages) => sink.frame(from.node, from.boot, messages),
                    Err(refusal) => break LinkEnd::Refused(refusal),
                }
            }
        }
    };
    metrics::links().decrement(1);
    ended.cancel();
    end
}

fn opened(frame: pb::Frame, this: NodeId, peer: NodeId) -> Result<Vec<PeerMessage>, Refusal> {
    metrics::frame(Direction::Received, frame.messages.len(), frame.encoded_len());
    let messages = frame.messages.into_iter().map(|wire| {
        let message = PeerMessage::from_wire(wire);
        let message = message.map_err(|source| Refusal::Unreadable { node: peer, source })?;
        let (from, to) = (message.sender(), message.to());
        if from == peer && to == this { Ok(message) } else { Err(Refusal::Strayed { from, to }) }
    });
    messages.collect()
}
