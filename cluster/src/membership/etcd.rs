//! Etcd with limits. Everything in this crate that talks to etcd does it through [`Etcd`].
//!
//! # Invariants
//! - **E1**: every call ends within [`CALL_TRIES_MAX`] deadlines and pauses.
//! - **E2**: a try that fails hangs up, and the next dials the next endpoint: the library stays with a dead one.
//! - **E3**: a write that is reported failed may have happened. Callers write what may be written twice, or guard it
//!   and look again.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, PutOptions, Txn, TxnOp, WatchOptions, WatchStream,
};
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Code;

use super::error::EtcdError;
use super::metrics;
use super::trust::EtcdTls;
use crate::clock::Clock;

/// How long one try of a call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(1);
/// How often a call is tried: each of three endpoints once.
const CALL_TRIES_MAX: u32 = 3;
/// The pause before the second try, at most; it doubles.
const CALL_PAUSE: Duration = Duration::from_millis(50);
/// A connection is asked for a sign of life this often, so that a watch notices a dead endpoint ...
const PING_EVERY: Duration = Duration::from_secs(2);
/// ... and is given up without one.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// Keys in one page of a listing: some hundred bytes each, and a message holds 4 MiB.
const PAGE_KEYS_MAX: i64 = 1000;

/// Whether etcd answers, and since when. Times are monotonic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It answers; after an outage, since when.
    Up { since: Option<Duration> },
    /// It does not answer.
    Down { since: Duration },
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) value: Vec<u8>,
    /// Changes with every write of the key.
    pub(crate) revision: i64,
}

/// All keys under a prefix, at one revision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) held: BTreeMap<String, Held>,
    pub(crate) revision: i64,
}

/// What must hold for a write to happen.
#[derive(Clone, Debug)]
pub(crate) enum Guard {
    /// The key does not exist.
    Absent(String),
    /// The key exists.
    Exists(String),
    /// The key was last written at this revision.
    Unchanged(String, i64),
    /// The key was created at this revision, whatever it holds now.
    CreatedAt(String, i64),
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put(String, Vec<u8>),
    /// Gone together with the lease.
    PutLeased(String, Vec<u8>, i64),
    Delete(String),
}

/// A client that can be called by many at once.
pub(crate) struct Etcd {
    endpoints: Vec<String>,
    tls: Option<EtcdTls>,
    clock: Arc<dyn Clock>,
    line: Mutex<Line>,
    reach: watch::Sender<Reach>,
}

/// The connection in use.
#[derive(Default)]
struct Line {
    client: Option<Client>,
    /// Counts the dials; says which endpoint is next, and whether somebody else has hung up already.
    dials: usize,
}

impl Etcd {
    /// Endpoints are `host:port`, or URLs; without `tls` none of them may be of https.
    pub(crate) fn new(endpoints: Vec<String>, tls: Option<EtcdTls>, clock: Arc<dyn Clock>) -> Self {
        metrics::etcd_up(true);
        Self { endpoints, tls, clock, line: Mutex::default(), reach: watch::Sender::new(Reach::Up { since: None }) }
    }

    /// Whether etcd answers; changes are announced.
    pub(crate) fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// All keys that start with `prefix`, which ends with a slash.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Listing, EtcdError> {
        let mut listing = Listing::default();
        let mut from = prefix.to_owned();
        // The byte behind the slash: the first key that does not start with the prefix.
        let end = format!("{}0", prefix.trim_end_matches('/'));
        loop {
            let options = GetOptions::new().with_range(end.clone()).with_limit(PAGE_KEYS_MAX);
            let options = options.with_revision(listing.revision);
            let page = self.call("list", |mut client| {
                let (from, options) = (from.clone(), options.clone());
                async move { client.get(from, Some(options)).await }
            });
            let page = page.await?;
            if listing.revision == 0 {
                listing.revision = page.header().map_or(0, etcd_client::ResponseHeader::revision);
            }
            for pair in page.kvs() {
                let key = String::from_utf8_lossy(pair.key()).into_owned();
                from = format!("{key}\0");
                listing.held.insert(key, Held { value: pair.value().to_vec(), revision: pair.mod_revision() });
            }
            if !page.more() {
                return Ok(listing);
            }
        }
    }

    /// Does all the writes when all the guards hold, else none of them. Answers the revision of the write.
    pub(crate) async fn write(&self, guards: &[Guard], writes: &[Write]) -> Result<Option<i64>, EtcdError> {
        let guards: Vec<Compare> = guards.iter().map(compare).collect();
        let writes: Vec<TxnOp> = writes.iter().map(operation).collect();
        let transaction = Txn::new().when(guards).and_then(writes);
        let done = self.call("write", |mut client| {
            let transaction = transaction.clone();
            async move { client.txn(transaction).await }
        });
        let done = done.await?;
        let revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
        Ok(done.succeeded().then_some(revision))
    }

    /// A new lease. Its keys are deleted when it is not kept alive for `ttl`.
    pub(crate) async fn grant(&self, ttl: Duration) -> Result<i64, EtcdError> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let granted = self.call("grant", |mut client| async move { client.lease_grant(seconds, None).await });
        Ok(granted.await?.id())
    }

    /// Prolongs a lease. [`EtcdError::Refused`] when it does not exist any more.
    pub(crate) async fn keep_alive(&self, lease: i64) -> Result<(), EtcdError> {
        // One stream per call: at one call in some seconds that costs nothing, and there is no stream to look after.
        let kept = self.call("keep_alive", |mut client| async move { client.lease_keep_alive(lease).await });
        kept.await.map(|_| ())
    }

    /// Ends a lease and deletes its keys.
    pub(crate) async fn revoke(&self, lease: i64) -> Result<(), EtcdError> {
        let revoked = self.call("revoke", |mut client| async move { client.lease_revoke(lease).await });
        revoked.await.map(|_| ())
    }

    /// What happens under `prefix` from this revision on. The stream ends with an error when its endpoint dies.
    pub(crate) async fn watch(&self, prefix: &str, from: i64) -> Result<WatchStream, EtcdError> {
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let stream = self.call("watch", |mut client| {
            let options = options.clone();
            async move { client.watch(prefix, Some(options)).await }
        });
        stream.await
    }

    async fn call<T, F>(&self, step: &'static str, ask: impl Fn(Client) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut pause = CALL_PAUSE;
        let mut tries = 1;
        loop {
            let dialled = self.dial().await;
            let asked = async {
                let (client, _) = &dialled;
                match client {
                    Ok(client) => ask(client.clone()).await,
                    Err(error) => Err(Error::Internal(error.clone())),
                }
            };
            let failure = match tokio::time::timeout(CALL_DEADLINE, asked).await {
                Ok(Ok(answer)) => {
                    self.note_up();
                    return Ok(answer);
                }
                Ok(Err(source)) if is_answer(&source) => {
                    self.note_up();
                    return Err(EtcdError::Refused { step, source: Box::new(source) });
                }
                Ok(Err(source)) => EtcdError::Failed { step, source: Box::new(source) },
                Err(_) => EtcdError::Deadline { step },
            };
            metrics::etcd_error(step);
            self.hang_up(dialled.1);
            if tries == CALL_TRIES_MAX {
                self.note_down();
                return Err(failure);
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))).await;
            pause *= 2;
            tries += 1;
        }
    }

    /// The connection in use, or one to the next endpoint, with the number of its dial.
    async fn dial(&self) -> (Result<Client, String>, usize) {
        let next = {
            let line = self.line.lock();
            if let Some(client) = &line.client {
                return (Ok(client.clone()), line.dials);
            }
            line.dials
        };
        let count = self.endpoints.len().max(1);
        let endpoint: Vec<&str> = self.endpoints.get(next % count).map(String::as_str).into_iter().collect();
        let options = ConnectOptions::new()
            .with_connect_timeout(CALL_DEADLINE)
            .with_keep_alive(PING_EVERY, PING_TIMEOUT)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        let options = match self.tls.as_ref().map(EtcdTls::read).transpose() {
            Ok(tls) => tls.into_iter().fold(options, ConnectOptions::with_tls),
            Err(error) => return (Err(format!("{error}: {}", error.source)), next),
        };
        // This only prepares: the connection is made by the first call, within that call's deadline.
        let made = Client::connect(endpoint, Some(options)).await;
        let mut line = self.line.lock();
        if line.dials == next && line.client.is_none() {
            line.client = made.as_ref().ok().cloned();
        }
        (made.map_err(|error| error.to_string()), next)
    }

    /// Gives up the connection of this dial, unless somebody else did so already.
    fn hang_up(&self, dial: usize) {
        let mut line = self.line.lock();
        if line.dials == dial {
            line.dials += 1;
            line.client = None;
        }
    }

    fn note_up(&self) {
        let now = self.clock.monotonic();
        let changed = self.reach.send_if_modified(|reach| {
            let was_down = matches!(reach, Reach::Down { .. });
            if was_down {
                *reach = Reach::Up { since: Some(now) };
            }
            was_down
        });
        if changed {
            metrics::etcd_up(true);
            tracing::info!("etcd answers again");
        }
    }

    fn note_down(&self) {
        let now = self.clock.monotonic();
        let changed = self.reach.send_if_modified(|reach| {
            let was_up = matches!(reach, Reach::Up { .. });
            if was_up {
                *reach = Reach::Down { since: now };
            }
            was_up
        });
        if changed {
            metrics::etcd_up(false);
            tracing::warn!("etcd gives no answer; the last view of the cluster stays in use");
        }
    }
}

fn compare(guard: &Guard) -> Compare {
    match guard {
        Guard::Absent(key) => Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
        Guard::Exists(key) => Compare::create_revision(key.as_str(), CompareOp::Greater, 0),
        Guard::Unchanged(key, revision) => Compare::mod_revision(key.as_str(), CompareOp::Equal, *revision),
        Guard::CreatedAt(key, revision) => Compare::create_revision(key.as_str(), CompareOp::Equal, *revision),
    }
}

fn operation(write: &Write) -> TxnOp {
    match write {
        Write::Put(key, value) => TxnOp::put(key.as_str(), value.as_slice(), None),
        Write::PutLeased(key, value, lease) => {
            TxnOp::put(key.as_str(), value.as_slice(), Some(PutOptions::new().with_lease(*lease)))
        }
        Write::Delete(key) => TxnOp::delete(key.as_str(), None),
    }
}

/// Whether this is what etcd has to say, rather than a sign that it can not say anything.
fn is_answer(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => matches!(
            status.code(),
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::FailedPrecondition
                | Code::OutOfRange
        ),
        Error::LeaseKeepAliveError(_) => true,
        Error::InvalidArgs(_)
        | Error::InvalidUri(_)
        | Error::IoError(_)
        | Error::TransportError(_)
        | Error::WatchError(_)
        | Error::Utf8Error(_)
        | Error::ElectError(_)
        | Error::InvalidMetadataValue(_)
        | Error::EndpointError(_)
        | Error::EndpointsNotManaged
        | Error::Internal(_) => false,
    }
}
