//! What nodes tell each other beside the request and the answer. Clients neither set nor see these.

use ::http::{HeaderMap, HeaderName, HeaderValue};
use steward_cluster::ids::NodeId;

/// On a request: it was passed on, by this node.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("x-steward-forwarded");
/// On a request: the name under which its effect is remembered.
pub(super) const RETRY_KEY: HeaderName = HeaderName::from_static("x-steward-retry-key");
/// On a request: its caller is known to the leader, and what it is about is on this node.
pub(super) const HOLDER: HeaderName = HeaderName::from_static("x-steward-holder");
/// On a refusal: who leads the shard.
pub(super) const LEADER: HeaderName = HeaderName::from_static("x-steward-leader");
/// On a refusal over HTTP: its code. A gRPC status carries it anyway.
pub(super) const REFUSAL: HeaderName = HeaderName::from_static("x-steward-refusal");

/// What is about one connection and not about the request (RFC 9110), and is not allowed in HTTP/2.
const OF_THE_CONNECTION: [HeaderName; 6] = [
    HeaderName::from_static("connection"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("transfer-encoding"),
    HeaderName::from_static("upgrade"),
    HeaderName::from_static("expect"),
];

/// Removes what only nodes may say.
pub(crate) fn take_private(headers: &mut HeaderMap) {
    for name in [FORWARDED, RETRY_KEY, HOLDER, LEADER, REFUSAL] {
        headers.remove(name);
    }
}

/// Whether another node says that the caller is known and this node has what the request is about.
pub(crate) fn take_holder(headers: &mut HeaderMap) -> bool {
    headers.remove(HOLDER).is_some()
}

/// Removes what was about the connection the request came by.
pub(super) fn take_connection(headers: &mut HeaderMap) {
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
}

pub(super) fn put_node(headers: &mut HeaderMap, name: HeaderName, node: NodeId) {
    headers.insert(name, HeaderValue::from(node.0));
}

pub(super) fn node(headers: &HeaderMap, name: &HeaderName) -> Option<NodeId> {
    headers.get(name)?.to_str().ok()?.parse().ok().map(NodeId)
}
