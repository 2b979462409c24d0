//! Calls to the gateways of other nodes, over the connections that are kept for forwarding.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use steward_cluster::ids::NodeId;
use steward_cluster::peers::{Lane, Peers};
use tower::{Service as _, ServiceExt as _};

use crate::gateway::forward::{Body, Lines, Reach, Unreachable, fits, never_left};

/// The other nodes, as the forwarder calls them.
pub(crate) struct PeerReach {
    peers: Peers,
    lines: Arc<Lines>,
}

impl PeerReach {
    pub(crate) fn new(peers: Peers) -> Self {
        let dialed = peers.clone();
        Self { peers, lines: Arc::new(Lines::new(move |node| dialed.channel(node, Lane::Forward))) }
    }
}

impl Reach for PeerReach {
    fn call(&self, node: NodeId, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Unreachable>> {
        if fits(&request) {
            let lines = Arc::clone(&self.lines);
            return Box::pin(async move { lines.call(node, request).await });
        }
        self.over(Lane::Forward, node, request)
    }

    fn stream(&self, node: NodeId, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Unreachable>> {
        self.over(Lane::Stream, node, request)
    }
}

impl PeerReach {
    fn over(
        &self,
        lane: Lane,
        node: NodeId,
        request: Request<Body>,
    ) -> BoxFuture<'static, Result<Response<Body>, Unreachable>> {
        let channel = self.peers.channel(node, lane);
        Box::pin(async move {
            let mut channel = channel.map_err(|error| Unreachable::NotSent(error.into()))?;
            let ready = channel.ready().await.map_err(|error| Unreachable::NotSent(error.into()))?;
            ready.call(request).await.map_err(|error| {
                if never_left(&error) { Unreachable::NotSent(error.into()) } else { Unreachable::Broken(error.into()) }
            })
        })
    }
}
