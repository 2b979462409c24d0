//! ⑥ From decisions to log entries: one writer per led shard.
//!
//! Account actors hand in what they decided and go on. One entry is on its way at a time; what is decided before its
//! round begins goes into it, what is decided later becomes the next one. When an entry is applied its answers leave.
//!
//! # Invariants
//! - **W1 durable**: an answer leaves only when every decision it is based on is applied, answers that changed nothing too.
//! - **W2 no gap**: a refused entry ends the writer, so that nothing decided on top of it reaches the log.
//!
//! # Decisions
//! - One entry in flight, not several: a later entry of the same account must never survive an earlier one that was
//!   refused. The entries of all shards still share one write and one sync. Rejected: several entries in flight with
//!   disjoint accounts; a hot account would gain nothing, and the bookkeeping costs every command.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use steward_cluster::format::Format;
use steward_cluster::ids::{ShardId, Term};
use steward_cluster::raft::{DriverHandle, Proposal, ProposeError};

use super::ExecuteError;
use super::lead::Lead;
use super::reply::{Answers, Outcome, Reply};
use crate::metrics;

/// An entry takes in no further decision once it has this many bytes.
const ENTRY_BYTES_TARGET: usize = 1 << 20;

/// A place in the order of one writer's decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// One led shard's way into the log.
pub(crate) struct Writer {
    shard: ShardId,
    term: Term,
    driver: DriverHandle,
    lead: Weak<Lead>,
    answers: Arc<Answers>,
    state: Mutex<State>,
    durable: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Whether the driver will ask for the next entry, or has it.
    is_proposed: bool,
    /// Appended, or about to be.
    in_flight: Option<Waiting>,
    /// The entries after it, the last one open. Bounded by the permits its replies hold.
    next: VecDeque<Entry>,
    last_ticket: u64,
    /// Why nothing is taken any more.
    over: Option<ExecuteError>,
}

#[derive(Default)]
struct Entry {
    data: BytesMut,
    waiting: Waiting,
}

/// Whom an entry keeps waiting.
#[derive(Default)]
struct Waiting {
    last_ticket: u64,
    replies: Vec<(Reply, Outcome)>,
}

impl Writer {
    pub(crate) fn new(
        shard: ShardId,
        term: Term,
        driver: DriverHandle,
        lead: Weak<Lead>,
        answers: Arc<Answers>,
    ) -> Arc<Self> {
        let (state, durable) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Self { shard, term, driver, lead, answers, state, durable })
    }

    /// Takes in a decision; its answer leaves when it is applied.
    pub(crate) fn append(self: &Arc<Self>, decision: &[u8], reply: Reply, outcome: Outcome) -> Ticket {
        let mut state = self.state.lock();
        if let Some(why) = &state.over {
            let why = why.clone();
            drop(state);
            reply.answer(Err(why));
            return Ticket(u64::MAX);
        }
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        if state.next.back().is_none_or(|entry| entry.data.len() + decision.len() > ENTRY_BYTES_TARGET) {
            state.next.push_back(Entry::default());
        }
        let entry = state.next.back_mut().expect("one was just made sure of");
        entry.data.extend_from_slice(decision);
        entry.waiting.last_ticket = ticket;
        entry.waiting.replies.push((reply, outcome));
        self.propose(state);
        Ticket(ticket)
    }

    /// Answers once everything up to the ticket is applied.
    pub(crate) fn answer_after(&self, ticket: Ticket, reply: Reply, outcome: Outcome) {
        if !self.is_applied(ticket) {
            let mut state = self.state.lock();
            if let Some(why) = &state.over {
                let why = why.clone();
                drop(state);
                return reply.answer(Err(why));
            }
            if let Some(waiting) = state.holding(ticket) {
                return waiting.replies.push((reply, outcome));
            }
        }
        reply.answer(outcome);
    }

    /// Whether everything up to the ticket can be read.
    pub(crate) fn is_applied(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.durable.load(Ordering::Acquire)
    }

    /// The format in force in the shard.
    pub(crate) fn format(&self) -> Format {
        self.driver.status(self.shard).map_or(Format::FIRST, |status| status.format)
    }

    /// The newest ticket given out.
    pub(crate) fn newest(&self) -> Ticket {
        Ticket(self.state.lock().last_ticket)
    }

    /// Refuses everything from now on, and what is not on its way yet.
    pub(crate) fn end(&self, why: &ExecuteError) {
        let unsent = self.state.lock().end(why);
        unsent.into_iter().for_each(|entry| entry.waiting.refuse(why));
    }

    /// Proposes the next entry when none is on its way. Takes the lock along: proposing may answer at once.
    fn propose(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State>) {
        if state.next.is_empty() || std::mem::replace(&mut state.is_proposed, true) {
            return;
        }
        drop(state);
        let (entry, writer) = (Arc::clone(self), Arc::clone(self));
        let data = Box::new(move || entry.begin());
        let done = Box::new(move |outcome: Result<_, ProposeError>| writer.landed(outcome.map(|_| ())));
        self.driver.propose(Proposal { shard: self.shard, term: self.term, data, done });
    }

    /// The round of the next entry begins: closes it. Empty, and thereby refused, when the writer ended meanwhile.
    fn begin(&self) -> Bytes {
        let mut state = self.state.lock();
        let Some(entry) = state.next.pop_front() else { return Bytes::new() };
        metrics::decisions_per_entry(entry.waiting.replies.len());
        state.in_flight = Some(entry.waiting);
        entry.data.freeze()
    }

    fn landed(self: &Arc<Self>, outcome: Result<(), ProposeError>) {
        let mut state = self.state.lock();
        state.is_proposed = false;
        let landed = state.in_flight.take();
        match outcome {
            Ok(()) => {
                let landed = landed.expect("only an entry that was asked for is applied");
                self.durable.store(landed.last_ticket, Ordering::Release);
                self.propose(state);
                self.answers.add(landed.replies);
            }
            Err(refused) => {
                let was_over = state.over.is_some();
                let why = self.refusal(refused);
                let unsent = state.end(&why); // Before the lock goes: nothing may be taken in on top of a refusal.
                drop(state);
                landed.into_iter().for_each(|waiting| waiting.refuse(&why));
                unsent.into_iter().for_each(|entry| entry.waiting.refuse(&why));
                if let Some(lead) = self.lead.upgrade().filter(|_| !was_over) {
                    lead.refused(refused);
                }
            }
        }
    }

    fn refusal(&self, refused: ProposeError) -> ExecuteError {
        let shard = self.shard;
        match refused {
            ProposeError::NotLeader { .. }
            | ProposeError::StaleTerm { .. }
            | ProposeError::NoSuchShard { .. }
            | ProposeError::Stopped => ExecuteError::NotLed { shard },
            ProposeError::OutcomeUnknown { .. } => ExecuteError::OutcomeUnknown { shard },
            ProposeError::SpaceLow { .. } => ExecuteError::DiskFull,
            ProposeError::Overloaded { .. } | ProposeError::Size { .. } => {
                ExecuteError::Overloaded { what: "log", retry_after: super::admit::RETRY_AFTER }
            }
        }
    }
}

impl State {
    fn end(&mut self, why: &ExecuteError) -> VecDeque<Entry> {
        self.over.get_or_insert_with(|| why.clone());
        std::mem::take(&mut self.next)
    }

    /// The entry that brings this ticket.
    fn holding(&mut self, ticket: Ticket) -> Option<&mut Waiting> {
        let in_flight = self.in_flight.as_mut();
        let next = self.next.iter_mut().map(|entry| &mut entry.waiting);
        in_flight.into_iter().chain(next).find(|waiting| waiting.last_ticket >= ticket.0)
    }
}

impl Waiting {
    fn refuse(self, why: &ExecuteError) {
        self.replies.into_iter().for_each(|(reply, _)| reply.answer(Err(why.clone())));
    }
}
