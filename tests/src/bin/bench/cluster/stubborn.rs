//! Clients as platforms are: what is refused for now or broken off is sent again, to another node, under the same id.
//!
//! # Invariants
//! - **C1 no coordinated omission**: requests start when they are due, however many are unanswered, up to a limit.
//! - **C2 the whole wait**: a request's time ends with its acknowledgement and contains every earlier try.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use steward_cluster::clock::{Clock, SystemClock};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::figure::count;
use crate::http::Connection;
use crate::load::Requests;

/// How long a client waits for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Tries of one request.
const TRIES_MAX: usize = 500;
/// The pause after every node has failed.
const PAUSE: Duration = Duration::from_millis(20);
/// How often it is looked which requests are due.
const TICK: Duration = Duration::from_millis(1);
/// Requests in flight, and so connections.
const IN_FLIGHT_MAX: usize = 8192;

/// What went wrong with tries, by what it was.
#[derive(Default)]
pub(crate) struct Troubles {
    pub(crate) counts: BTreeMap<String, u64>,
    /// Those that a client must not answer by trying again.
    pub(crate) final_ones: u64,
}

/// One node, to its clients.
struct Door {
    address: SocketAddr,
    /// Open connections nobody uses.
    idle: RefCell<Vec<Connection>>,
    /// Nobody listens any more; a load balancer would have taken it out.
    is_shut: Cell<bool>,
}

impl Door {
    async fn ask(&self, request: &[u8]) -> io::Result<u16> {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.address).await.inspect_err(|_| self.is_shut.set(true))?,
        };
        let status = connection.ask(request).await?.status;
        self.idle.borrow_mut().push(connection);
        Ok(status)
    }
}

/// All nodes, to their clients.
pub(crate) struct Doors {
    doors: Vec<Door>,
    troubles: RefCell<Troubles>,
}

impl Doors {
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Self {
        let door = |address| Door { address, idle: RefCell::default(), is_shut: Cell::new(false) };
        Self { doors: addresses.into_iter().map(door).collect(), troubles: RefCell::default() }
    }

    /// Sends a request until it is acknowledged, first to one node, then around; false when it cannot be.
    pub(crate) async fn deliver(&self, request: &[u8], first: usize) -> bool {
        for tries in 0..TRIES_MAX {
            let door = self.door(first + tries);
            let (trouble, is_final) = match timeout(ANSWER_MAX, door.ask(request)).await {
                Ok(Ok(200)) => return true,
                Ok(Ok(status)) => (format!("status {status}"), !matches!(status, 429 | 503)),
                Ok(Err(error)) => (error.kind().to_string(), false),
                Err(_) => ("no answer".to_owned(), false),
            };
            self.note(trouble, is_final);
            if is_final {
                return false;
            }
            if (tries + 1) % self.doors.len() == 0 {
                sleep(PAUSE).await;
            }
        }
        false
    }

    fn note(&self, trouble: String, is_final: bool) {
        let mut troubles = self.troubles.borrow_mut();
        *troubles.counts.entry(trouble).or_default() += 1;
        troubles.final_ones += u64::from(is_final);
    }

    pub(crate) fn troubles(self) -> Troubles {
        self.troubles.into_inner()
    }

    /// The next open one; any when none is open.
    fn door(&self, at: usize) -> &Door {
        let around = (0..self.doors.len()).map(|next| &self.doors[(at + next) % self.doors.len()]);
        around.clone().find(|door| !door.is_shut.get()).unwrap_or(&self.doors[at % self.doors.len()])
    }
}

/// How many requests are due in this time.
pub(crate) fn due_in(time: Duration, rate_per_s: f64) -> usize {
    let interval = Duration::from_secs_f64(1.0 / rate_per_s);
    usize::try_from(time.as_nanos() / interval.as_nanos().max(1)).unwrap_or(usize::MAX)
}

/// How one request went; times are the clock's.
#[derive(Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) at: usize,
    pub(crate) due: Duration,
    /// When it was over, well or not.
    pub(crate) over: Duration,
    pub(crate) acknowledged: bool,
}

impl Delivery {
    pub(crate) fn took(&self) -> Duration {
        self.over.saturating_sub(self.due)
    }
}

/// Requests in an open loop.
pub(crate) struct Traffic<'t> {
    pub(crate) clock: &'t SystemClock,
    pub(crate) doors: &'t Doors,
    pub(crate) requests: &'t Requests,
    pub(crate) rate_per_s: f64,
}

impl Traffic<'_> {
    /// Goes on while the script does, then waits for the last answers. Returns what the script does, and every delivery.
    pub(crate) async fn during<T>(
        &self,
        script: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, Vec<Delivery>)> {
        let (mut script, mut open, mut over) = (pin!(script), FuturesUnordered::new(), vec![]);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (started, mut next) = (self.clock.monotonic(), 0);
        let told = loop {
            tokio::select! {
                told = &mut script => break told?,
                Some(delivery) = open.next(), if !open.is_empty() => over.push(delivery),
                _ = ticks.tick() => {
                    let now = self.clock.monotonic();
                    while open.len() < IN_FLIGHT_MAX && self.due(started, next) <= now {
                        let request = self.requests.get(next).context("the requests are used up")?;
                        open.push(self.deliver(next, self.due(started, next), request));
                        next += 1;
                    }
                }
            }
        };
        while let Some(delivery) = open.next().await {
            over.push(delivery);
        }
        Ok((told, over))
    }

    fn due(&self, started: Duration, at: usize) -> Duration {
        started + Duration::from_secs_f64(count(at) / self.rate_per_s)
    }

    async fn deliver(&self, at: usize, due: Duration, request: &[u8]) -> Delivery {
        let acknowledged = self.doors.deliver(request, at).await;
        Delivery { at, due, over: self.clock.monotonic(), acknowledged }
    }
}
