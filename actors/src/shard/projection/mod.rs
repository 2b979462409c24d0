//! Events into rows. The applier fills one projection per batch; it holds no rule: states come from `evolve`.
//!
//! Most events are blind writes. Only events of jobs, endpoints, sources and schedules change a row that is there; those rows are kept in
//! hand until the batch ends, so that several events on one of them are right. What an entry changes goes into the
//! shard's digest at once.

mod endpoints;
mod schedules;
mod sources;

use std::collections::HashMap;

use steward_cluster::clock::Timestamp;
use steward_cluster::format::Format;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::store::{Direction, StateStore, WriteBatch};

use super::digest::{Digest, Digests};
use super::lost::Lost;
use super::rows::{Family, Head, Place, Remembered, encode_answer, shard_key, shard_row_key};
use super::wake::{first_seq, index_of_event};
use super::{Document, ReadError};
use crate::codec::{Barrier, Decision, Runs, ShardAcked, encode_feed_row};
use crate::domain::account::{
    Account, Endpoint, EndpointChange, Event, JobChange, Mark, Pending, Source, WebhookAccepted,
};
use crate::domain::budget::BudgetChange;
use crate::domain::ids::{AccountId, ConsumerId, EndpointId, JobId, ScheduleId, SourceId};
use crate::domain::job::{Job, JobState};
use crate::domain::schedule::Schedule;

/// The changes of one batch.
pub(crate) struct Projection<'s> {
    store: &'s dyn StateStore,
    batch: WriteBatch,
    digests: Digests,
    jobs: HashMap<(AccountId, JobId), (ShardId, Option<Job>)>,
    /// None: deleted.
    endpoints: HashMap<(AccountId, EndpointId), (ShardId, Option<Endpoint>)>,
    /// None: deleted.
    sources: HashMap<(AccountId, SourceId), Option<Source>>,
    /// None: deleted.
    schedules: HashMap<(AccountId, ScheduleId), Option<Schedule>>,
    floors: HashMap<AccountId, u64>,
    formats: HashMap<ShardId, Format>,
    /// Keys of numbered rows of endpoints and sources that this batch wrote.
    owned: Vec<Vec<u8>>,
    runs: Runs,
    lost: HashMap<ShardId, Lost>,
}

/// What every event of one decision shares.
struct Moment<'a> {
    place: Place<'a>,
    seq: u64,
    at: Timestamp,
    cause_seq: u64,
}

impl<'s> Projection<'s> {
    pub(crate) fn new(store: &'s dyn StateStore) -> Self {
        let (jobs, endpoints, sources, schedules) = (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        let (floors, formats) = (HashMap::new(), HashMap::new());
        let (batch, digests) = (WriteBatch::default(), Digests::new());
        let (owned, runs, lost) = (vec![], Runs::default(), HashMap::new());
        Self { store, batch, digests, jobs, endpoints, sources, schedules, floors, formats, owned, runs, lost }
    }

    /// Adds what one decision changes.
    pub(crate) fn add(&mut self, shard: ShardId, index: LogIndex, decision: &Decision) -> Result<(), ReadError> {
        let place = Place { shard, account: &decision.account };
        for mark in &decision.marks {
            self.mark(place, index, mark)?;
        }
        for (seq, cause_seq, event) in decision.numbered() {
            let beside = self.beside(place, seq, event);
            let row = encode_feed_row(decision, index, cause_seq, beside.as_ref().unwrap_or(event));
            self.put(place.seq_key(Family::Feed, seq), row);
            self.event(&Moment { place, seq, at: decision.at, cause_seq }, event)?;
        }
        self.runs.add(decision);
        if let Some((asked, answer)) = &decision.answered {
            self.put(place.answer_key(&asked.key), encode_answer(decision.at, asked, answer));
        }
        Ok(())
    }

    /// Puts the format of a barrier in force, unless a higher one is.
    pub(crate) fn raise(&mut self, shard: ShardId, barrier: &Barrier) -> Result<(), ReadError> {
        let in_force = match self.formats.get(&shard) {
            Some(format) => *format,
            None => Barrier::read(self.store, shard)?.map_or(Format::FIRST, |barrier| barrier.format),
        };
        if barrier.format > in_force {
            self.put(shard_key(shard, Family::Format).to_vec(), barrier.row());
            self.formats.insert(shard, barrier.format);
        }
        Ok(())
    }

    /// A consumer of everything has come further in a shard.
    pub(crate) fn acknowledge_shard(&mut self, shard: ShardId, acked: &ShardAcked) {
        let key = shard_row_key(shard, Family::ShardConsumer, acked.consumer.as_str().as_bytes());
        self.put(key, acked.index.0.to_be_bytes().to_vec());
    }

    /// An entry ends: the shard's rows now hold everything up to here. Gives what the shard comes to.
    pub(crate) fn applied(&mut self, shard: ShardId, index: LogIndex, is_check: bool) -> Result<Digest, ReadError> {
        if let Some(row) = self.runs.take_row() {
            // No part of the digest: it says nothing that the feed rows do not say, and goes when they are gone.
            self.batch.put(shard_row_key(shard, Family::Entry, &index.0.to_be_bytes()), row);
        }
        self.batch.set_applied(shard, index);
        self.digests.end_entry(self.store, shard, index, is_check)
    }

    /// Removes a row, unless a decision added later writes it anew.
    pub(crate) fn forget(&mut self, key: Vec<u8>) {
        self.batch.delete(key);
    }

    /// The batch, with the rows that were in hand.
    pub(crate) fn finish(mut self) -> WriteBatch {
        for ((account, job), (shard, state)) in self.jobs {
            if let Some(state) = state {
                self.batch
                    .put(Place { shard, account: &account }.key(Family::Job, job.as_str().as_bytes()), json(&state));
            }
        }
        for ((account, endpoint), (shard, state)) in self.endpoints {
            let key = Place { shard, account: &account }.key(Family::Endpoint, endpoint.as_str().as_bytes());
            match state {
                Some(state) => self.batch.put(key, json(&state)),
                None => self.batch.delete(key),
            }
        }
        for (shard, lost) in self.lost {
            self.batch.put(shard_row_key(shard, Family::Lost, &[]), lost.encode());
        }
        self.digests.finish(&mut self.batch);
        self.batch
    }

    fn event(&mut self, moment: &Moment<'_>, event: &Event) -> Result<(), ReadError> {
        let place = moment.place;
        match event {
            Event::AccountCreated { display_name, wrapped_key } => {
                let (display_name, wrapped_key) = (display_name.clone(), wrapped_key.clone());
                self.put_json(place, Family::Account, "", &Head { created_at: moment.at, display_name, wrapped_key });
            }
            Event::ApiKeyCreated(_) | Event::PlaybookPut { .. } | Event::SourceCreated(_) => {
                self.setting(moment, event)
            }
            Event::ApiKeyRevoked { key } => self.delete(place, Family::Key, key.as_str()),
            Event::PlaybookDeleted { playbook } => self.delete(place, Family::Playbook, playbook.as_str()),
            Event::SourceDeleted { source } => {
                self.delete(place, Family::Source, source.as_str());
                self.forget_source(place, source)?;
                self.keep_source(place, source, None);
            }
            Event::SourceChanged { source, .. } => self.change_source(moment, source, event)?,
            Event::WebhookAccepted(webhook) => self.webhook(moment, webhook),
            Event::EndpointCreated(created) => self.change_endpoint(moment, &created.endpoint, event)?,
            Event::EndpointDeleted { endpoint } => {
                self.digests.delete(&place.key(Family::Endpoint, endpoint.as_str().as_bytes()));
                self.forget_endpoint(place, endpoint)?;
                self.endpoints.insert((place.account.clone(), endpoint.clone()), (place.shard, None));
            }
            Event::EndpointDisabled { endpoint, .. } => self.change_endpoint(moment, endpoint, event)?,
            Event::EndpointChanged { endpoint, change } => {
                if let EndpointChange::Requeued { seqs } = change {
                    self.requeued(place, endpoint, seqs);
                }
                self.change_endpoint(moment, endpoint, event)?;
            }
            Event::DeliverySucceeded { endpoint, event_seq, .. }
            | Event::DeliveryFailed { endpoint, event_seq, .. } => {
                self.attempted(moment, endpoint, *event_seq, event)?;
                self.change_endpoint(moment, endpoint, event)?;
            }
            Event::JobRequested { .. } => self.requested(moment, event),
            Event::JobSucceeded { job } | Event::JobFailed { job, .. } | Event::JobCancelled { job } => {
                self.change_job(moment, job, event)?;
                self.delete(place, Family::OpenJob, job.as_str());
            }
            Event::TaskLimitsSet { limits } => self.put_json(place, Family::TaskLimits, "", limits),
            Event::ScheduleChanged { schedule, change } => self.change_schedule(moment, schedule, change)?,
            Event::JobChanged { job, .. } => {
                self.change_job(moment, job, event)?;
                self.reopen(place, job, event);
            }
            Event::TaskSucceeded { job, blobs, .. } => {
                self.change_job(moment, job, event)?;
                blobs.iter().for_each(|blob| self.put(place.key(Family::Blob, blob.as_bytes()), vec![]));
            }
            Event::BlobUploaded(uploaded) => self.put(place.key(Family::Blob, uploaded.hash.as_bytes()), vec![]),
            Event::TaskStarted { job, .. }
            | Event::TaskProgressed { job, .. }
            | Event::TaskCheckpointed { job, .. }
            | Event::TaskFailed { job, .. }
            | Event::TaskReleased { job, .. } => self.change_job(moment, job, event)?,
            Event::DocumentIndexed { document, title, blob, chunks } => {
                let (name, title, blob) = (document.clone(), title.clone(), blob.clone());
                let indexed = Document { document: name, title, blob, chunks: *chunks, indexed_at: moment.at };
                self.put(place.key(Family::Blob, indexed.blob.as_bytes()), vec![]);
                self.put_json(place, Family::Document, document, &indexed);
            }
            Event::BudgetChanged(BudgetChange::Set(budgets)) => self.put_json(place, Family::Budgets, "", budgets),
            Event::AiCalled { job, call, .. } if call.number > 0 => self.change_job(moment, job, event)?,
            Event::PlaybookFailed { .. } | Event::AiCalled { .. } | Event::BudgetChanged(BudgetChange::Reached(_)) => {} // On the feed only.
        }
        Ok(())
    }

    fn mark(&mut self, place: Place<'_>, index: LogIndex, mark: &Mark) -> Result<(), ReadError> {
        match mark {
            Mark::ConsumerAcked { consumer, seq } => self.acknowledge(place, consumer, *seq),
            Mark::EndpointMoved { endpoint, pending, .. } => {
                self.mark_endpoint(place, endpoint, mark)?;
                pending.iter().for_each(|seq| self.pending(place, endpoint, *seq, Pending::default()));
            }
            Mark::EndpointSkipped { endpoint, .. } => self.mark_endpoint(place, endpoint, mark)?,
            Mark::FeedTrimmed { first_seq } => self.trim(place, index, *first_seq)?,
            Mark::RequestRefused(refused) => self.refused(place, refused, mark)?,
            Mark::RefusedForgotten { source, numbers } => self.forget_refused(place, source, numbers),
            Mark::BudgetSpent(ledger) => self.put_json(place, Family::Ledger, "", ledger),
        }
        Ok(())
    }

    fn acknowledge(&mut self, place: Place<'_>, consumer: &ConsumerId, seq: u64) {
        self.put(place.key(Family::Consumer, consumer.as_str().as_bytes()), seq.to_be_bytes().to_vec());
    }

    /// Lets an account with nothing in it evolve, and writes what it then has.
    fn setting(&mut self, moment: &Moment<'_>, event: &Event) {
        let mut scratch = Account::absent(moment.place.account.clone());
        scratch.evolve(moment.seq, moment.at, moment.cause_seq, event);
        for (key, state) in &scratch.keys {
            self.put_json(moment.place, Family::Key, key.as_str(), state);
        }
        for (playbook, state) in &scratch.playbooks {
            self.put_json(moment.place, Family::Playbook, playbook.as_str(), state);
        }
        for (source, state) in &scratch.sources {
            self.put_json(moment.place, Family::Source, source.as_str(), state);
            self.keep_source(moment.place, source, Some(state.clone()));
        }
    }

    fn webhook(&mut self, moment: &Moment<'_>, webhook: &WebhookAccepted) {
        let remembered = Remembered { at: moment.at, seq: moment.seq }.encode();
        for id in &webhook.delivery_ids {
            let key = moment.place.delivery_key(webhook.source.as_str(), id);
            self.put(key, remembered.clone());
        }
    }

    fn requested(&mut self, moment: &Moment<'_>, event: &Event) {
        let Event::JobRequested { job, kind, input, options, .. } = event else { return };
        let place = moment.place;
        let requested = Job::requested(*kind, input.clone(), moment.seq, moment.cause_seq, moment.at);
        let state = requested.with_options(*options);
        self.digests.put_json(&place.key(Family::Job, job.as_str().as_bytes()), &state);
        self.jobs.insert((place.account.clone(), job.clone()), (place.shard, Some(state)));
        self.put(place.seq_key(Family::JobBySeq, moment.seq), job.as_str().into());
        self.put(place.key(Family::OpenJob, job.as_str().as_bytes()), vec![]);
    }

    /// Lists a job as open again that was restarted.
    fn reopen(&mut self, place: Place<'_>, job: &JobId, event: &Event) {
        let is_restart = matches!(event, Event::JobChanged { change: JobChange::Restarted { .. }, .. });
        let state = self.jobs.get(&(place.account.clone(), job.clone()));
        if is_restart && state.is_some_and(|(_, state)| state.is_some()) {
            self.put(place.key(Family::OpenJob, job.as_str().as_bytes()), vec![]);
        }
    }

    fn change_job(&mut self, moment: &Moment<'_>, job: &JobId, event: &Event) -> Result<(), ReadError> {
        let place = moment.place;
        let name = (place.account.clone(), job.clone());
        if !self.jobs.contains_key(&name) {
            let stored = place.read::<Job>(self.store, Family::Job, job.as_str())?;
            self.jobs.insert(name.clone(), (place.shard, stored));
        }
        let state = self.jobs.get_mut(&name).and_then(|(_, state)| state.as_mut());
        if let Some(state) = state {
            state.evolve(moment.at, event);
            self.digests.put_json(&place.key(Family::Job, job.as_str().as_bytes()), state);
        }
        Ok(())
    }

    /// Forgets events, and with them the ended jobs they asked for.
    fn trim(&mut self, place: Place<'_>, index: LogIndex, to: u64) -> Result<(), ReadError> {
        let from = match self.floors.get(place.account) {
            Some(floor) => *floor,
            None => first_seq(self.store, place)?,
        };
        // An event of this very batch is not in the store yet: then what was forgotten is as new as its forgetting.
        let newest = index_of_event(self.store, place, to.saturating_sub(1))?.unwrap_or(index);
        self.note_lost(place, Lost { newest, at: index })?;
        let floor_key = place.key(Family::Floor, &[]);
        self.digests.trim(&floor_key, from, to);
        (from..to).for_each(|seq| self.batch.delete(place.seq_key(Family::Feed, seq)));
        self.forget_attempts(place, to)?;
        self.forget_requests(place, from, to)?;
        let asked = place.seqs(Family::JobBySeq, 0, to);
        for (key, job) in self.store.scan(&asked, Direction::Forward, usize::MAX)? {
            let job: JobId = place.id(Family::JobBySeq, &job)?;
            if self.has_ended(place, &job)? {
                self.batch.delete(key);
                self.jobs.insert((place.account.clone(), job.clone()), (place.shard, None));
                self.batch.delete(place.key(Family::Job, job.as_str().as_bytes()));
            }
        }
        self.floors.insert(place.account.clone(), to);
        self.batch.put(floor_key, to.to_be_bytes().to_vec());
        Ok(())
    }

    /// No part of the digest, like the index of entries it is about.
    fn note_lost(&mut self, place: Place<'_>, lost: Lost) -> Result<(), ReadError> {
        self.batch.put(place.key(Family::Lost, &[]), lost.encode());
        let before = match self.lost.get(&place.shard) {
            Some(before) => *before,
            None => Lost::of_shard(self.store, place.shard)?,
        };
        self.lost.insert(place.shard, Lost { newest: lost.newest.max(before.newest), at: lost.at });
        Ok(())
    }

    fn has_ended(&self, place: Place<'_>, job: &JobId) -> Result<bool, ReadError> {
        let ended = |job: &Job| job.state != JobState::Running;
        match self.jobs.get(&(place.account.clone(), job.clone())) {
            Some((_, state)) => Ok(state.as_ref().is_none_or(ended)),
            None => Ok(place.read::<Job>(self.store, Family::Job, job.as_str())?.as_ref().is_none_or(ended)),
        }
    }

    fn put_json(&mut self, place: Place<'_>, family: Family, rest: &str, state: &impl serde::Serialize) {
        self.put(place.key(family, rest.as_bytes()), json(state));
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.digests.put(&key, &value);
        self.batch.put(key, value);
    }

    fn delete(&mut self, place: Place<'_>, family: Family, rest: &str) {
        let key = place.key(family, rest.as_bytes());
        self.digests.delete(&key);
        self.batch.delete(key);
    }
}

fn json(state: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(state).expect("states are plain data with text keys")
}
