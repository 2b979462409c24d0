//! ① Protocols in, commands out: gRPC for programs, HTTP for platforms, probes and people with curl.
//!
//! The composition root starts [`grpc::serve`] and [`http::serve`]; both share [`Gateway`].
//!
//! # Invariants
//! - **G1 durable**: a success is answered after what it is based on is durable.
//! - **G2 explained**: every refusal carries a code, a text for people and the correlation id; one table maps codes to both
//!   protocols.
//! - **G3 proof**: nothing touches an account without an [`auth`] proof for that account; a foreign account and an absent
//!   one are answered alike.
//! - **G4 bounded**: connections, bodies, messages, pages, streams and waits have named limits.
//! - **G5 absence**: no rule about accounts lives here, and no payload or secret is ever logged.

pub(crate) mod auth;
pub(crate) mod blob;
pub(crate) mod correlation;
pub(crate) mod error;
pub(crate) mod forward;
pub(crate) mod grpc;
pub(crate) mod http;
mod page;
mod places;
mod serving;
pub(crate) mod time;

pub(crate) use page::PAGE_MAX;
pub(crate) use serving::Serving;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use steward_actors::blob::{BlobStore, Uploads};
use steward_actors::delivery::Tester;
use steward_actors::seal::Sealer;
use steward_actors::task::runner::video::speech::EngineNames;
use steward_cluster::clock::Clock;

use crate::cluster::Company;
use crate::everything::Everything;
use crate::router::Router;
use crate::watch::Standstills;

/// What every handler works with.
pub(crate) struct Gateway {
    pub(crate) router: Router,
    pub(crate) auth: auth::Authenticator,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) sources: Arc<http::KnownSources>,
    pub(crate) tester: Tester,
    pub(crate) blobs: BlobStore,
    pub(crate) uploads: Uploads,
    /// The engines for speech that jobs may name.
    pub(crate) engines: EngineNames,
    /// The way to other nodes; none on a node that is alone.
    pub(crate) forwarder: Option<Arc<forward::Forwarder>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) readiness: Readiness,
    pub(crate) standstills: Standstills,
    /// The cluster; none on a node that is alone.
    pub(crate) company: Option<Arc<Company>>,
    /// All accounts of the whole cluster.
    pub(crate) everything: Everything,
}

/// Whether the node wants traffic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// The node wants traffic from now on, or no longer.
    pub(crate) fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::SeqCst);
    }

    /// Whether it does.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
