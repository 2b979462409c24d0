//! One log entry: what the commands of many accounts became.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use steward_cluster::clock::Timestamp;
use steward_cluster::format::Format;
use steward_cluster::ids::LogIndex;
use steward_proto::record::v1 as wire;

use super::decode::{self, DecodeError};
use super::encode;
use crate::domain::account::{Answer, Event, Idempotency, JobChange, KeptRequest, Mark, ReleaseReason};
use crate::domain::ids::{AccountId, ConsumerId, PlaybookId};
use crate::domain::job::JobKind;
use crate::domain::task::{TaskId, TaskKind};
use crate::shard::FeedEntry;

/// Field 1 of an entry, as bytes of a length: what stands before each decision.
const DECISION_TAG: u8 = 0x0A;

/// What one command of one account became.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    pub(crate) account: AccountId,
    pub(crate) first_seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) actor: String,
    pub(crate) correlation_id: String,
    pub(crate) causation_seq: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) marks: Vec<Mark>,
    /// Set when the command carried an idempotency key.
    pub(crate) answered: Option<(Idempotency, Answer)>,
}

impl Decision {
    /// The events with their numbers and what caused them: the first one, and each webhook of a batch, has the cause of
    /// the command; the others follow from the last of these before them. What playbooks make of a webhook of before has
    /// that for its cause, all of it.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u64, u64, &Event)> {
        let mut leading = self.first_seq;
        (self.first_seq..).zip(&self.events).map(move |(seq, event)| {
            if seq == self.first_seq || matches!(event, Event::WebhookAccepted(_)) {
                leading = if playbook_of(event).is_some() { self.causation_seq } else { seq };
                return (seq, self.causation_seq, event);
            }
            (seq, leading, event)
        })
    }

    /// Who did it: the command's actor, or the playbook whose doing it is.
    pub(crate) fn actor_of(&self, event: &Event) -> String {
        playbook_of(event).map_or_else(|| self.actor.clone(), |playbook| format!("playbook:{playbook}"))
    }

    /// The format it needs.
    pub(crate) fn format(&self) -> Format {
        if self.events.iter().any(needs_budgets) || self.marks.iter().any(|mark| matches!(mark, Mark::BudgetSpent(_))) {
            return Format::BUDGETS;
        }
        if self.events.iter().any(needs_work) {
            return Format::WORK;
        }
        if self.events.iter().any(needs_jobs) {
            return Format::JOBS;
        }
        let event = |event: &Event| {
            if let Event::DeliverySucceeded { response, .. } | Event::DeliveryFailed { response, .. } = event {
                return !response.is_empty();
            }
            if let Event::WebhookAccepted(webhook) = event {
                return webhook.kept != KeptRequest::Nowhere;
            }
            matches!(event, Event::EndpointChanged { .. } | Event::SourceChanged { .. })
        };
        let mark = |mark: &Mark| {
            matches!(mark, Mark::EndpointMoved { .. } | Mark::RequestRefused(_) | Mark::RefusedForgotten { .. })
        };
        // An older node takes the first event for the cause of the others, whatever it is.
        let is_following_again = self.events.first().is_some_and(|event| playbook_of(event).is_some());
        // An older node takes all events of a batch but the first for consequences of the first.
        let webhooks = self.events.iter().filter(|event| matches!(event, Event::WebhookAccepted(_)));
        let is_batch = webhooks.take(2).count() > 1;
        let is_of_webhooks =
            is_batch || is_following_again || self.events.iter().any(event) || self.marks.iter().any(mark);
        if is_of_webhooks { Format::WEBHOOKS } else { Format::FIRST }
    }

    /// Leaves the work of jobs in one task each: not all nodes know parts.
    pub(crate) fn drop_splits(&mut self) {
        self.events.retain(|event| !matches!(event, Event::JobChanged { change: JobChange::Split(_), .. }));
    }

    /// Says neither what calls of models cost nor which ones they are: not all nodes know that.
    pub(crate) fn drop_costs(&mut self) {
        for event in &mut self.events {
            if let Event::AiCalled { call, .. } = event {
                (call.cost_micros, call.number) = (0, 0);
            }
        }
    }

    /// Keeps no requests: not all nodes know them, or there is no room. Says whether there were any.
    pub(crate) fn drop_requests(&mut self) -> bool {
        let mut dropped = false;
        for event in &mut self.events {
            if let Event::WebhookAccepted(webhook) = event {
                dropped |= std::mem::take(&mut webhook.kept) != KeptRequest::Nowhere;
            }
        }
        dropped
    }

    /// Its bytes within an entry: entries are these, one behind the other.
    pub(crate) fn encode(&self) -> BytesMut {
        let answered = self.answered.as_ref().map(|(asked, answer)| wire::Answered {
            key: asked.key.clone(),
            fingerprint: asked.fingerprint,
            id: answer.id.clone(),
            seq: answer.seq,
        });
        let stored = wire::Decided {
            account: self.account.to_string(),
            first_seq: self.first_seq,
            time_ms: self.at.0,
            actor: self.actor.clone(),
            correlation_id: self.correlation_id.clone(),
            causation_seq: self.causation_seq,
            events: self.events.iter().map(encode::event).collect(),
            marks: self.marks.iter().map(encode::mark).collect(),
            answered,
        };
        let len = stored.encoded_len();
        let mut bytes = BytesMut::with_capacity(len + 6);
        bytes.put_u8(DECISION_TAG);
        prost::encode_length_delimiter(len, &mut bytes).expect("the buffer grows");
        stored.encode_raw(&mut bytes);
        bytes
    }
}

/// Whether nodes that do not know [`Format::BUDGETS`] cannot read an event.
fn needs_budgets(event: &Event) -> bool {
    if let Event::TaskStarted { reserved, .. } = event {
        return !reserved.is_none();
    }
    if let Event::AiCalled { call, .. } = event {
        return call.cost_micros != 0 || call.number != 0;
    }
    if let Event::TaskLimitsSet { limits } = event {
        return limits.open_jobs_max.is_some();
    }
    matches!(event, Event::BudgetChanged(_))
}

/// Whether nodes that do not know [`Format::WORK`] cannot read an event.
fn needs_work(event: &Event) -> bool {
    let is_new = |task: &TaskId| {
        matches!(
            task.kind,
            TaskKind::Encode
                | TaskKind::Sound
                | TaskKind::Hls
                | TaskKind::Audio
                | TaskKind::Storyboard
                | TaskKind::Clip
        )
    };
    let is_new_job = |kind: &JobKind| kind.plan().iter().any(|step| is_new(&step.task.whole()));
    match event {
        Event::JobRequested { kind, .. } => is_new_job(kind),
        Event::PlaybookPut { rule, .. } => is_new_job(&rule.job),
        Event::BlobUploaded(_) => true,
        Event::JobChanged { change, .. } => matches!(change, JobChange::Split(_)),
        Event::JobFailed { task, .. }
        | Event::TaskStarted { task, .. }
        | Event::TaskProgressed { task, .. }
        | Event::TaskCheckpointed { task, .. }
        | Event::TaskSucceeded { task, .. }
        | Event::TaskFailed { task, .. }
        | Event::TaskReleased { task, .. }
        | Event::AiCalled { task, .. } => is_new(task),
        Event::TaskLimitsSet { limits } => limits.running_max_by_kind.keys().any(|kind| is_new(&kind.whole())),
        Event::ScheduleChanged { .. } => true,
        Event::AccountCreated { .. }
        | Event::ApiKeyCreated(_)
        | Event::ApiKeyRevoked { .. }
        | Event::PlaybookDeleted { .. }
        | Event::PlaybookFailed { .. }
        | Event::SourceCreated(_)
        | Event::SourceDeleted { .. }
        | Event::SourceChanged { .. }
        | Event::WebhookAccepted(_)
        | Event::EndpointCreated(_)
        | Event::EndpointDeleted { .. }
        | Event::EndpointDisabled { .. }
        | Event::EndpointChanged { .. }
        | Event::DeliverySucceeded { .. }
        | Event::DeliveryFailed { .. }
        | Event::JobSucceeded { .. }
        | Event::JobCancelled { .. }
        | Event::BudgetChanged(_)
        | Event::DocumentIndexed { .. } => false,
    }
}

/// Whether nodes that do not know [`Format::JOBS`] cannot read an event.
fn needs_jobs(event: &Event) -> bool {
    if let Event::JobRequested { options, .. } = event {
        return !options.is_usual();
    }
    matches!(
        event,
        Event::JobChanged { .. }
            | Event::TaskLimitsSet { .. }
            | Event::TaskReleased { reason: ReleaseReason::DelayOver, .. }
    )
}

/// The playbook whose doing an event is.
fn playbook_of(event: &Event) -> Option<&PlaybookId> {
    let (Event::JobRequested { playbook: Some(playbook), .. } | Event::PlaybookFailed { playbook, .. }) = event else {
        return None;
    };
    Some(playbook)
}

/// The bytes of an entry that decides nothing: at it replicas are compared.
pub(crate) fn encode_check() -> Bytes {
    wire::Entry { check: Some(wire::Check {}), ..wire::Entry::default() }.encode_to_vec().into()
}

/// A format that is in force from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Barrier {
    pub(crate) format: Format,
    /// A version of the binary that knows it.
    pub(crate) version: String,
}

impl Barrier {
    /// The bytes of an entry that decides nothing and is this barrier.
    pub(crate) fn entry(&self) -> Bytes {
        wire::Entry { barrier: Some(self.stored()), ..wire::Entry::default() }.encode_to_vec().into()
    }

    /// The bytes of the row that remembers it.
    pub(crate) fn row(&self) -> Vec<u8> {
        self.stored().encode_to_vec()
    }

    /// From the bytes of that row.
    pub(crate) fn of_row(row: Bytes) -> Result<Self, prost::DecodeError> {
        Ok(Self::of(wire::Barrier::decode(row)?))
    }

    fn stored(&self) -> wire::Barrier {
        wire::Barrier { format: self.format.0.into(), version: self.version.clone() }
    }

    fn of(stored: wire::Barrier) -> Self {
        // What is beyond all numbers is beyond what this binary knows.
        let format = Format(u16::try_from(stored.format).unwrap_or(u16::MAX));
        Self { format, version: stored.version }
    }
}

/// How far a consumer of everything has come in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardAcked {
    pub(crate) consumer: ConsumerId,
    pub(crate) index: LogIndex,
}

impl ShardAcked {
    /// Its bytes within an entry, between those of decisions.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let acked = wire::ShardAcked { consumer: self.consumer.to_string(), index: self.index.0 };
        wire::Entry { acked: vec![acked], ..wire::Entry::default() }.encode_to_vec()
    }
}

/// What an entry holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) decisions: Vec<Decision>,
    pub(crate) is_check: bool,
    pub(crate) barrier: Option<Barrier>,
    pub(crate) acked: Vec<ShardAcked>,
}

/// An entry from its bytes.
pub(crate) fn decode_entry(data: Bytes) -> Result<Entry, DecodeError> {
    let wire::Entry { decided, check, barrier, acked } = wire::Entry::decode(data)?;
    let decisions = decided.into_iter().map(decision).collect::<Result<_, _>>()?;
    let acked = acked.into_iter().map(shard_acked).collect::<Result<_, _>>()?;
    Ok(Entry { decisions, is_check: check.is_some(), barrier: barrier.map(Barrier::of), acked })
}

fn shard_acked(stored: wire::ShardAcked) -> Result<ShardAcked, DecodeError> {
    let consumer = ConsumerId::parse(&stored.consumer)
        .map_err(|_| DecodeError::Field { field: "consumer", value: stored.consumer.clone() })?;
    Ok(ShardAcked { consumer, index: LogIndex(stored.index) })
}

fn decision(stored: wire::Decided) -> Result<Decision, DecodeError> {
    let answered = stored.answered.map(|first| {
        let answer = Answer { id: first.id, seq: first.seq, repeated: false };
        (Idempotency { key: first.key, fingerprint: first.fingerprint }, answer)
    });
    let account = AccountId::parse(&stored.account)
        .map_err(|_| DecodeError::Field { field: "account", value: stored.account.clone() })?;
    Ok(Decision {
        account,
        first_seq: stored.first_seq,
        at: Timestamp(stored.time_ms),
        actor: stored.actor,
        correlation_id: stored.correlation_id,
        causation_seq: stored.causation_seq,
        events: stored.events.into_iter().map(decode::event).collect::<Result<_, _>>()?,
        marks: stored.marks.into_iter().map(decode::mark).collect::<Result<_, _>>()?,
        answered,
    })
}

/// A feed row's bytes.
pub(crate) fn encode_feed_row(decision: &Decision, index: LogIndex, cause_seq: u64, event: &Event) -> Vec<u8> {
    let stored = wire::FeedEvent {
        index: index.0,
        time_ms: decision.at.0,
        actor: decision.actor_of(event),
        correlation_id: decision.correlation_id.clone(),
        causation_seq: cause_seq,
        event: Some(encode::event(event)),
    };
    stored.encode_to_vec()
}

/// A feed row from its bytes.
pub(crate) fn decode_feed_row(seq: u64, bytes: Bytes) -> Result<FeedEntry, DecodeError> {
    let stored = wire::FeedEvent::decode(bytes)?;
    Ok(FeedEntry {
        seq,
        index: LogIndex(stored.index),
        at: Timestamp(stored.time_ms),
        actor: stored.actor,
        correlation_id: stored.correlation_id,
        causation_seq: stored.causation_seq,
        event: decode::event(stored.event.ok_or(DecodeError::UnknownKind)?)?,
    })
}

/// When the event of a feed row happened, without reading the rest.
pub(crate) fn time_of_feed_row(bytes: Bytes) -> Result<Timestamp, DecodeError> {
    Ok(Timestamp(wire::FeedEvent::decode(bytes)?.time_ms))
}

/// The entry that brought the event of a feed row.
pub(crate) fn index_of_feed_row(bytes: Bytes) -> Result<LogIndex, DecodeError> {
    Ok(LogIndex(wire::FeedEvent::decode(bytes)?.index))
}
