//! One stream from another node: the shards that only it, or others but not this one, hold.

use std::time::Duration;

use steward_actors::supervisor;
use steward_cluster::ids::NodeId;
use steward_proto::peer::v1 as pb;
use steward_proto::peer::v1::feed_service_client::FeedServiceClient;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::transport::Channel;

/// How long the stream may take to open.
const OPEN_MAX: Duration = Duration::from_secs(3);
/// A node that says nothing for so long, not even that it is alive, is given up.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// The largest page of another node: a log entry, as JSON in its longest form.
const PAGE_BYTES_MAX: usize = 64 << 20;

/// What comes of a stream.
pub(super) enum Told {
    Page {
        node: NodeId,
        page: pb::FollowShardsResponse,
    },
    /// The stream with this number is over.
    Ended {
        node: NodeId,
        stream: u64,
    },
}

/// Reads a stream until it ends or the handle is dropped. Waits while nobody takes what it tells.
pub(super) fn follow(
    (node, stream): (NodeId, u64),
    channel: Channel,
    request: pb::FollowShardsRequest,
    told: mpsc::Sender<Told>,
) -> AbortOnDropHandle<()> {
    let work = async move {
        if let Err(status) = read(node, channel, request, &told).await {
            tracing::debug!(node = node.0, %status, "the shards of another node are not followed any more");
        }
        told.send(Told::Ended { node, stream }).await.ok(); // The subscriber may be gone.
    };
    AbortOnDropHandle::new(supervisor::spawn("shards-of-another-node", work))
}

async fn read(
    node: NodeId,
    channel: Channel,
    request: pb::FollowShardsRequest,
    told: &mpsc::Sender<Told>,
) -> Result<(), Status> {
    let mut client = FeedServiceClient::new(channel).max_decoding_message_size(PAGE_BYTES_MAX);
    let silent = |_| Status::deadline_exceeded("it said nothing for too long");
    let mut pages = timeout(OPEN_MAX, client.follow_shards(request)).await.map_err(silent)??.into_inner();
    while let Some(page) = timeout(SILENCE_MAX, pages.message()).await.map_err(silent)?? {
        if page.through > 0 && told.send(Told::Page { node, page }).await.is_err() {
            break;
        }
    }
    Ok(())
}
