//! Calls to the gateways of other nodes, over the connections that are kept for forwarding.

use std::error::Error;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use steward_cluster::ids::NodeId;
use steward_cluster::peers::{Lane, Peers};
use tower::{Service as _, ServiceExt as _};

use crate::gateway::forward::{Body, Reach, Unreachable};

/// The other nodes, as the forwarder calls them.
pub(crate) struct PeerReach(pub(crate) Peers);

impl Reach for PeerReach {
    fn call(&self, node: NodeId, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Unreachable>> {
        let channel = self.0.channel(node, Lane::Forward);
        Box::pin(async move {
            let mut channel = channel.map_err(|error| Unreachable::NotSent(error.into()))?;
            let ready = channel.ready().await.map_err(|error| Unreachable::NotSent(error.into()))?;
            ready.call(request).await.map_err(|error| {
                if is_refused(&error) { Unreachable::NotSent(error.into()) } else { Unreachable::Broken(error.into()) }
            })
        })
    }
}

/// Whether there was no connection to send anything on.
fn is_refused(error: &tonic::transport::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<std::io::Error>() && error.downcast_ref::<std::io::Error>().is_some_and(is_connect) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn is_connect(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    [ConnectionRefused, HostUnreachable, NetworkUnreachable].contains(&error.kind())
}
