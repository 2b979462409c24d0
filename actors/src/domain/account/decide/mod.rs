//! Decides, never does: one command against one account's state gives events or a rejection.

mod access;
mod budget;
mod delivery;
mod endpoint;
mod feed;
mod job;
mod schedule;
mod source;
mod task;
mod upload;

pub(super) use job::job_id;
pub(crate) use task::blobs_of;
pub(crate) use upload::check as check_upload;

use steward_cluster::clock::Timestamp;

use super::command::{Asked, Command, Facts};
use super::event::{Event, Mark};
use super::limits::IDEMPOTENCY_KEY_CHARS_MAX;
use super::state::Account;
use crate::domain::budget::Short;

/// What a command answers: the id it made or met, and the event that tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    pub id: String,
    /// Number of the command's first event; of the one that did it, for a repeated command.
    pub seq: u64,
    /// It was done before; nothing happened this time.
    pub repeated: bool,
}

/// What a command becomes. Nothing at all when it was done before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decided {
    pub events: Vec<Event>,
    pub marks: Vec<Mark>,
    pub answer: Answer,
}

/// A business no. Each names the field or thing and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("{what} {id:?} does not exist")]
    NotFound { what: &'static str, id: String },
    #[error("{what} {id:?} exists already")]
    AlreadyExists { what: &'static str, id: String },
    #[error("{field} {rule}")]
    Invalid { field: &'static str, rule: String },
    #[error("the account has {max} {what}, which is the limit")]
    Limit { what: &'static str, max: usize },
    /// A task waits for its account's budget.
    #[error("{0}")]
    Budget(Short),
    #[error("idempotency_key was used for another request")]
    KeyReused,
    /// What it would become may not be written down before all nodes can read it.
    #[error("the command needs format {format}: upgrade all nodes, then run `steward ctl cluster finalize`")]
    NotYet { format: u16 },
    /// A worker reports for an attempt that is not the current one.
    #[error("attempt {attempt} of task {task} of job {job:?} is over")]
    StaleAttempt { job: String, task: String, attempt: u32 },
    #[error("job {job:?} is not {wanted}")]
    JobState { job: String, wanted: &'static str },
    #[error("task {task} of job {job:?} is not {wanted}")]
    TaskState { job: String, task: String, wanted: &'static str },
}

pub(super) type Decision = Result<Decided, Rejection>;

impl Decided {
    /// One event and the id it is about.
    pub(super) fn one(event: Event, id: &str) -> Self {
        Self { events: vec![event], answer: Answer { id: id.to_owned(), ..Answer::default() }, ..Self::default() }
    }

    /// Nothing to do; it was done by this event.
    pub(super) fn done_before(id: &str, seq: u64) -> Self {
        Self { answer: Answer { id: id.to_owned(), seq, repeated: true }, ..Self::default() }
    }

    pub(super) fn mark(mark: Mark) -> Self {
        Self { marks: vec![mark], ..Self::default() }
    }
}

/// Equal inputs give equal events, on every node and every replay.
pub fn decide(account: &Account, facts: &Facts, asked: &Asked, now: Timestamp) -> Decision {
    if let Some(idempotency) = &asked.idempotency {
        if idempotency.key.chars().count() > IDEMPOTENCY_KEY_CHARS_MAX {
            let rule = format!("must have at most {IDEMPOTENCY_KEY_CHARS_MAX} characters");
            return Err(Rejection::Invalid { field: "idempotency_key", rule });
        }
        if let Some((first, answer)) = &facts.answered {
            let same = first.fingerprint == idempotency.fingerprint;
            return if same { Ok(Decided::done_before(&answer.id, answer.seq)) } else { Err(Rejection::KeyReused) };
        }
    }
    let creates = matches!(asked.command, Command::CreateAccount { .. });
    if account.created_at.is_none() && !creates {
        return Err(Rejection::NotFound { what: "account", id: account.id.to_string() });
    }
    let mut decided = dispatch(account, facts, asked, now)?;
    if !decided.events.is_empty() {
        decided.answer.seq = account.last_seq + 1;
    }
    Ok(decided)
}

fn dispatch(account: &Account, facts: &Facts, asked: &Asked, now: Timestamp) -> Decision {
    match asked.command.clone() {
        Command::CreateAccount { display_name, wrapped_key } => access::create(account, display_name, wrapped_key),
        Command::CreateApiKey(created) => access::create_key(account, created),
        Command::RevokeApiKey { key } => access::revoke_key(account, key),
        Command::PutPlaybook { playbook, rule } => access::put_playbook(account, playbook, rule),
        Command::DeletePlaybook { playbook } => access::delete_playbook(account, playbook),
        Command::CreateSource(created) => source::create(account, created),
        Command::DeleteSource { source } => source::delete(account, source),
        Command::ChangeSource { source, asked } => source::change(account, source, asked),
        Command::AcceptWebhooks(webhooks) => source::accept(account, facts, webhooks),
        Command::KeepRefused { source, refused_for, sealed_request } => {
            source::keep_refused(account, source, refused_for, sealed_request, now)
        }
        Command::ForgetRefused { source, numbers } => source::forget_refused(account, source, numbers),
        Command::FollowAgain(webhook) => source::follow_again(account, &webhook),
        Command::CreateEndpoint(created, settings) => endpoint::create(account, created, settings),
        Command::UpdateEndpoint { endpoint, url, patterns, settings } => {
            endpoint::update(account, endpoint, url, patterns, settings)
        }
        Command::RotateEndpointSecret { endpoint, sealed_secret, grace_ms } => {
            endpoint::rotate_secret(account, endpoint, sealed_secret, grace_ms, now)
        }
        Command::PauseEndpoint { endpoint } => endpoint::pause(account, endpoint),
        Command::ResumeEndpoint { endpoint } => endpoint::resume(account, endpoint),
        Command::RecoverDeliveries { endpoint, after_seq, through_seq } => {
            endpoint::recover(account, endpoint, after_seq, through_seq)
        }
        Command::RequeueDeliveries { endpoint, event_seqs } => endpoint::requeue(account, endpoint, event_seqs),
        Command::DeleteEndpoint { endpoint } => endpoint::delete(account, endpoint),
        Command::SkipDeliveries { endpoint, through_seq } => endpoint::skip(account, endpoint, through_seq),
        Command::ReportDelivery { endpoint, reported } => delivery::report_one(account, endpoint, reported, now),
        Command::ReportDeliveries { endpoint, moved, outcomes } => {
            delivery::report(account, endpoint, moved, outcomes, now)
        }
        Command::CreateJob { kind, input, options } => job::create(account, facts, kind, input, options, now),
        Command::CancelJob { job } => job::cancel(account, facts, job),
        Command::PauseJob { job } => job::pause(account, job),
        Command::ResumeJob { job } => job::resume(account, job),
        Command::RestartJob { job, from } => job::restart(account, facts, job, from),
        Command::ExpireJob { job } => job::expire(account, job),
        Command::RecordUpload(uploaded) => upload::record(uploaded),
        Command::SetTaskLimits { limits } => task::set_limits(account, limits),
        Command::SetBudgets { budgets } => budget::set(account, facts, budgets, now),
        Command::CreateSchedule { schedule, settings } => schedule::create(account, schedule, settings, now),
        Command::UpdateSchedule { schedule, settings } => schedule::update(account, schedule, settings, now),
        Command::PauseSchedule { schedule } => schedule::pause(account, schedule),
        Command::ResumeSchedule { schedule } => schedule::resume(account, schedule),
        Command::DeleteSchedule { schedule } => schedule::delete(account, schedule),
        Command::FireSchedule { schedule, tick } => schedule::fire(account, schedule, tick, now),
        Command::StartTask { job, task, worker } => task::start(account, facts, job, task, worker, now),
        Command::ReportProgress { task, permille, note } => task::progress(account, task, permille, note),
        Command::ReportCheckpoint { task, state } => task::checkpoint(account, task, state),
        Command::ReportAiCall { task, call } => task::ai_call(account, facts, task, call, now),
        Command::ReportSuccess { task, result } => task::succeed(account, facts, task, result, now),
        Command::ReportFailure { task, failure, retry } => task::fail(account, task, failure, retry, now),
        Command::ReleaseTask { task, reason } => task::release(account, task, reason),
        Command::AckConsumer { consumer, seq } => feed::acknowledge(account, consumer, seq),
        Command::TrimFeed { first_seq } => feed::trim(account, first_seq),
    }
}

/// Refuses when an account already has all it may have.
pub(super) fn check_room(have: usize, max: usize, what: &'static str) -> Result<(), Rejection> {
    if have < max { Ok(()) } else { Err(Rejection::Limit { what, max }) }
}

/// Spreads retries: up to a fifth later, decided by what is retried rather than by chance.
pub(super) fn jitter_ms(wait_ms: u64, account: &Account, salt: u64) -> u64 {
    let name = account.id.as_str().bytes().fold(salt, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mixed = (name ^ account.last_seq).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let spread = wait_ms / 5 + 1;
    wait_ms.saturating_add(mixed % spread)
}

#[cfg(test)]
mod budget_tests;
#[cfg(test)]
mod delivery_tests;
#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod playbook_tests;
#[cfg(test)]
mod schedule_tests;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod tests;
