//! ④ The account actor: a mailbox around the account's rules.
//!
//! It decides on what it has in memory, hands the events to the shard's writer and goes on; the answer leaves when the
//! events are applied. It holds no rule and never waits for the disk. The lead wakes and retires it.

mod recent;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use steward_cluster::clock::Timestamp;
use steward_cluster::format::Format;
use steward_cluster::raft::PROPOSAL_BYTES_MAX;

use self::recent::Recent;
use crate::codec::Decision;
use crate::domain::account::{Account, Asked, Decided, Event, Rejection, decide};
use crate::domain::ids::{AccountId, JobId};
use crate::domain::job::Job;
use crate::shard::{Desk, Place, ReadError, Reply, Ticket, wake};

/// One command on its way to an account.
pub(crate) struct Execute {
    pub(crate) asked: Asked,
    pub(crate) reply: Reply,
}

/// What an actor is started with. It reads its account with the first command, where a failure is supervised.
pub(crate) struct Waking {
    pub(crate) account: AccountId,
    pub(crate) desk: Arc<Desk>,
}

/// One account.
pub(crate) struct AccountActor;

/// An account's actor between two commands.
pub(crate) struct State {
    waking: Waking,
    memory: Option<Memory>,
}

struct Memory {
    account: Account,
    /// The time of the newest event: the feed's times never go back.
    last_at: Timestamp,
    last_ticket: Ticket,
    recent: Recent,
}

impl Actor for AccountActor {
    type Msg = Execute;
    type State = State;
    type Arguments = Waking;

    async fn pre_start(&self, _: ActorRef<Execute>, waking: Waking) -> Result<State, ActorProcessingErr> {
        Ok(State { waking, memory: None })
    }

    async fn handle(
        &self,
        _: ActorRef<Execute>,
        Execute { asked, reply }: Execute,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Waking { account, desk } = &state.waking;
        let memory = match &mut state.memory {
            Some(memory) => memory,
            none => none.insert(Memory::read(desk, account)?),
        };
        memory.execute(desk, asked, reply)?;
        Ok(())
    }
}

impl Memory {
    fn read(desk: &Desk, account: &AccountId) -> Result<Self, ReadError> {
        let (account, last_at) = wake(&*desk.store, Place { shard: desk.shard, account })?;
        Ok(Self { account, last_at, last_ticket: Ticket::default(), recent: Recent::default() })
    }

    fn execute(&mut self, desk: &Desk, asked: Asked, reply: Reply) -> Result<(), ReadError> {
        let now = desk.clock.now().max(self.last_at);
        self.recent.forget_applied(&desk.writer);
        let facts = self.recent.facts(desk, &self.account, &asked, now)?;
        match decide(&self.account, &facts, &asked, now) {
            Err(rejection) => desk.writer.answer_after(self.last_ticket, reply, Err(rejection.into())),
            Ok(decided) if decided.events.is_empty() && decided.marks.is_empty() => {
                desk.writer.answer_after(self.last_ticket, reply, Ok(decided.answer));
            }
            Ok(decided) => self.write(desk, asked, decided, facts.ended_job, now, reply),
        }
        Ok(())
    }

    /// `reopened` is the job that the decision opens again, if it does.
    fn write(
        &mut self,
        desk: &Desk,
        asked: Asked,
        decided: Decided,
        reopened: Option<Job>,
        at: Timestamp,
        reply: Reply,
    ) {
        let Decided { events, marks, answer } = decided;
        let mut decision = Decision {
            account: self.account.id.clone(),
            first_seq: self.account.last_seq + 1,
            at,
            actor: asked.actor,
            correlation_id: asked.correlation_id,
            causation_seq: asked.causation_seq,
            events,
            marks,
            answered: asked.idempotency.map(|idempotency| (idempotency, answer.clone())),
        };
        if desk.writer.format() < Format::WEBHOOKS {
            decision.drop_requests();
        }
        if desk.writer.format() < Format::WORK {
            decision.drop_splits();
        }
        if desk.writer.format() < Format::BUDGETS {
            decision.drop_costs();
        }
        let mut bytes = decision.encode();
        if bytes.len() > PROPOSAL_BYTES_MAX && decision.drop_requests() {
            bytes = decision.encode();
        }
        if bytes.len() > PROPOSAL_BYTES_MAX {
            let rule = format!("becomes {} bytes in the log, allowed are {PROPOSAL_BYTES_MAX}", bytes.len());
            let refused = Rejection::Invalid { field: "command", rule };
            return desk.writer.answer_after(self.last_ticket, reply, Err(refused.into()));
        }
        let needed = decision.format();
        if needed > Format::FIRST && needed > desk.writer.format() {
            let refused = Rejection::NotYet { format: needed.0 };
            return desk.writer.answer_after(self.last_ticket, reply, Err(refused.into()));
        }
        // Marks first: they say which events the deliveries that follow are about.
        decision.marks.iter().for_each(|mark| self.account.mark(mark));
        if let [Event::JobChanged { job, .. }] = decision.events.as_slice()
            && let Some(reopened) = reopened
        {
            self.account.jobs.insert(job.clone(), reopened);
        }
        let mut ended = vec![];
        for (seq, cause_seq, event) in decision.numbered() {
            ended.extend(self.ended_by(event, at));
            self.account.evolve(seq, at, cause_seq, event);
        }
        self.last_at = at;
        // Handed over last: a panic in the rules above leaves nothing behind.
        self.last_ticket = desk.writer.append(&bytes, reply, Ok(answer));
        self.recent.remember(desk.shard, self.last_ticket, &decision, ended);
    }

    /// The job that an event ends, as it leaves it.
    fn ended_by(&self, event: &Event, at: Timestamp) -> Option<(JobId, Job)> {
        let (Event::JobSucceeded { job } | Event::JobFailed { job, .. } | Event::JobCancelled { job }) = event else {
            return None;
        };
        let mut state = self.account.jobs.get(job)?.clone();
        state.evolve(at, event);
        Some((job.clone(), state))
    }
}
