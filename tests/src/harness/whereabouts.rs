//! Where the nodes are, as the clients of a run know it. The test or the cluster keeps it up to date.

use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::node::Node;

/// How a node is reached.
#[derive(Clone, Debug)]
pub struct Address {
    pub(super) http: String,
    pub(super) grpc: String,
    pub(super) key: String,
}

impl Address {
    /// Where a node is now.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        Self { http: node.http().to_owned(), grpc: node.grpc_url(), key: node.key().to_owned() }
    }
}

/// Where the nodes are now; those that are down are left out or refuse.
#[derive(Clone)]
pub struct Nodes(Arc<watch::Sender<Vec<Address>>>);

impl Nodes {
    #[must_use]
    pub fn new(addresses: Vec<Address>) -> Self {
        Self(Arc::new(watch::channel(addresses).0))
    }

    /// From now on the nodes are there.
    pub fn are(&self, addresses: Vec<Address>) {
        self.0.send_replace(addresses);
    }

    pub(super) fn all(&self) -> Vec<Address> {
        self.0.borrow().clone()
    }

    /// One of them, whether it is up or not.
    pub(super) fn any(&self, random: &mut StdRng) -> Option<Address> {
        let nodes = self.0.borrow();
        (!nodes.is_empty()).then(|| nodes[random.random_range(0..nodes.len())].clone())
    }
}
