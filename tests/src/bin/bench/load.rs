//! The load generator: many keep-alive connections on one thread, in a closed loop for peaks and in an open loop, paced
//! from the outside, for latencies.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use steward_cluster::clock::{Clock, SystemClock};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::figure::{count, real};
use crate::http::Connection;

/// The longest latency told apart.
const LATENCY_US_MAX: u64 = 60_000_000;
/// How long after the plan's time answers may still come.
const ANSWERS_MAX: Duration = Duration::from_secs(30);

/// Requests as ready bytes, one behind the other.
#[derive(Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Requests {
    /// Adds one, written by `write`.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, at: usize) -> Option<&[u8]> {
        let start = if at == 0 { 0 } else { *self.ends.get(at - 1)? };
        self.bytes.get(start..*self.ends.get(at)?)
    }
}

/// How to drive.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Connections are spread over these evenly.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) connections: usize,
    pub(crate) warmup: Duration,
    pub(crate) measured: Duration,
    /// Requests due per second, whatever the answers; none: a closed loop.
    pub(crate) rate_per_s: Option<f64>,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Which requests were acknowledged, in no order, warm-up included.
    pub(crate) acknowledged: Vec<usize>,
    /// Answers other than 200.
    pub(crate) refused: u64,
    pub(crate) rate_per_s: f64,
    /// Microseconds of what was due in the measured time.
    pub(crate) latency: Histogram<u64>,
    /// When requests were due, in an open loop.
    pub(crate) pace: Option<Pace>,
}

impl Outcome {
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        real(self.latency.value_at_quantile(quantile)) / 1000.0
    }
}

/// Drives a server until the plan's time is over and every request in hand is answered.
pub(crate) async fn drive(plan: Plan, requests: &Rc<Requests>) -> anyhow::Result<Outcome> {
    let mut connections = Vec::with_capacity(plan.connections);
    for address in plan.addresses.iter().cycle().take(plan.connections) {
        connections.push(Connection::open(*address).await.context("cannot connect")?);
    }
    let time = plan.warmup + plan.measured + ANSWERS_MAX;
    let driving = Rc::new(Driving::new(plan, Rc::clone(requests))?);
    let pacer = driving.pace.as_ref().map(Pace::start).transpose()?;
    let local = LocalSet::new();
    let tasks: Vec<_> =
        connections.into_iter().map(|connection| local.spawn_local(Rc::clone(&driving).run(connection))).collect();
    let all = local.run_until(async {
        for task in tasks {
            task.await.context("a connection panicked")??;
        }
        anyhow::Ok(())
    });
    tokio::time::timeout(time, all).await.context("answers are missing")??;
    drop(local);
    if let Some(pacer) = pacer {
        pacer.join().ok().context("the pacer panicked")?;
    }
    let driving = Rc::into_inner(driving).context("a connection is still at work")?;
    ensure!(!driving.is_dry.get(), "the server was faster than the requests were made ready for");
    Ok(driving.outcome())
}

struct Driving {
    plan: Plan,
    requests: Rc<Requests>,
    clock: Arc<SystemClock>,
    started: Duration,
    pace: Option<Pace>,
    next: Cell<usize>,
    is_dry: Cell<bool>,
    acknowledged: RefCell<Vec<usize>>,
    in_time: Cell<u64>,
    refused: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
}

impl Driving {
    fn new(plan: Plan, requests: Rc<Requests>) -> anyhow::Result<Self> {
        let clock = Arc::new(SystemClock::new());
        let started = clock.monotonic();
        let interval = plan.rate_per_s.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let pace = interval.map(|interval| Pace {
            clock: Arc::clone(&clock),
            due: Arc::new(Semaphore::new(0)),
            started,
            interval,
            total: ((plan.warmup + plan.measured).as_nanos() / interval.as_nanos()).try_into().unwrap_or(usize::MAX),
            connections: plan.connections,
        });
        Ok(Self {
            plan,
            acknowledged: RefCell::new(Vec::with_capacity(requests.len())),
            requests,
            clock,
            started,
            pace,
            next: Cell::new(0),
            is_dry: Cell::new(false),
            in_time: Cell::new(0),
            refused: Cell::new(0),
            latency: RefCell::new(Histogram::new_with_max(LATENCY_US_MAX, 3)?),
        })
    }

    async fn run(self: Rc<Self>, mut connection: Connection) -> anyhow::Result<()> {
        while let Some((at, due)) = self.next().await {
            let request = self.requests.get(at).expect("only requests that are there are taken");
            let status = connection.ask(request).await.context("a connection broke")?.status;
            self.note(at, due, status);
        }
        Ok(())
    }

    /// The next request and when it was due, since the start.
    async fn next(&self) -> Option<(usize, Duration)> {
        if let Some(pace) = &self.pace {
            pace.due.acquire().await.ok()?.forget();
        }
        let at = self.next.get();
        let due = match &self.pace {
            Some(pace) if at >= pace.total => return None,
            Some(pace) => pace.due_after(at),
            None => self.elapsed(),
        };
        if due >= self.plan.warmup + self.plan.measured {
            return None;
        }
        if at >= self.requests.len() {
            self.is_dry.set(true);
            return None;
        }
        self.next.set(at + 1);
        Some((at, due))
    }

    fn note(&self, at: usize, due: Duration, status: u16) {
        let measured = self.plan.warmup..self.plan.warmup + self.plan.measured;
        if status != 200 {
            self.refused.set(self.refused.get() + 1);
            return;
        }
        self.acknowledged.borrow_mut().push(at);
        let now = self.elapsed();
        self.in_time.set(self.in_time.get() + u64::from(measured.contains(&now)));
        if measured.contains(&due) {
            let us = u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(LATENCY_US_MAX);
            self.latency.borrow_mut().saturating_record(us);
        }
    }

    fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }

    fn outcome(self) -> Outcome {
        Outcome {
            rate_per_s: real(self.in_time.get()) / self.plan.measured.as_secs_f64(),
            acknowledged: self.acknowledged.into_inner(),
            refused: self.refused.get(),
            latency: self.latency.into_inner(),
            pace: self.pace,
        }
    }
}

/// Says when the next request is due, from a thread of its own: the runtime's timers know whole milliseconds only.
#[derive(Clone)]
pub(crate) struct Pace {
    pub(crate) clock: Arc<SystemClock>,
    due: Arc<Semaphore>,
    started: Duration,
    interval: Duration,
    total: usize,
    connections: usize,
}

impl Pace {
    fn start(&self) -> anyhow::Result<std::thread::JoinHandle<()>> {
        let pace = self.clone();
        let thread = std::thread::Builder::new().name("bench-pacer".to_owned());
        thread.spawn(move || pace.run()).context("no thread for the pacer")
    }

    /// When a request was due, by the clock.
    pub(crate) fn due_at(&self, request: usize) -> Duration {
        self.started + self.due_after(request)
    }

    fn due_after(&self, requests: usize) -> Duration {
        Duration::from_secs_f64(self.interval.as_secs_f64() * count(requests))
    }

    fn run(&self) {
        let mut told = 0;
        while told < self.total {
            let now = self.clock.monotonic().saturating_sub(self.started);
            let due: Range<usize> = told..self.total;
            let ready = due.take_while(|at| self.due_after(*at) <= now).count();
            self.due.add_permits(ready);
            told += ready;
            std::thread::sleep(self.due_after(told).saturating_sub(now));
        }
        // One for each connection, to find that there is nothing left.
        self.due.add_permits(self.connections);
    }
}
