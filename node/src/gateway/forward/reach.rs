//! How requests get to another node. Implemented by the composition root over the connections between nodes.

use std::error::Error;

use ::http::{Request, Response};
use futures_util::future::BoxFuture;
use steward_cluster::ids::NodeId;

/// A body on its way between nodes.
pub(crate) use tonic::body::Body;

/// Why there is no answer from a node.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("there is no connection")]
    NotSent(#[source] Box<dyn Error + Send + Sync>),
    /// The request may have arrived, and may have been done.
    #[error("the connection broke before the answer")]
    Broken(#[source] Box<dyn Error + Send + Sync>),
}

/// Takes requests to other nodes.
pub(crate) trait Reach: Send + Sync {
    /// Sends a request to the gateway of a node. Its URI has a path only. The answer's body may still be on its way.
    fn call(&self, node: NodeId, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Unreachable>>;

    /// The same for a request whose body is read as it comes, maybe slowly, maybe not at all.
    fn stream(&self, node: NodeId, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Unreachable>>;
}

/// Whether a call failed before there was a connection to send anything on.
pub(crate) fn never_left(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(is_connect) {
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
