//! What was decided and cannot be read from the store yet: the rest of an account's history is looked up there.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;

use crate::codec::Decision;
use crate::domain::account::{Account, Answer, Asked, Command, Event, Facts, Idempotency, WebhookAccepted};
use crate::domain::ids::JobId;
use crate::domain::job::Job;
use crate::shard::{Desk, Family, Place, REMEMBERED_FOR, ReadError, Ticket, Writer, decode_answer, remembered_seq};

/// Decided and not yet applied. Bounded by the permits of the commands that wait for it.
#[derive(Default)]
pub(super) struct Recent {
    /// By the keys of their rows.
    deliveries: HashMap<Vec<u8>, u64>,
    answers: HashMap<String, (Idempotency, Answer)>,
    /// As they ended, with the ticket of their end: a job may be restarted, and end again.
    ended_jobs: HashMap<JobId, (Ticket, Job)>,
    /// What each ticket added, oldest first.
    added: VecDeque<(Ticket, Added)>,
}

enum Added {
    Delivery(Vec<u8>),
    Answer(String),
    EndedJob(JobId),
}

impl Recent {
    /// Looks up what the history says about the command.
    pub(super) fn facts(
        &self,
        desk: &Desk,
        account: &Account,
        asked: &Asked,
        now: Timestamp,
    ) -> Result<Facts, ReadError> {
        let place = Place { shard: desk.shard, account: &account.id };
        let mut facts = Facts { tariff: Arc::clone(&desk.tariff), ..Facts::default() };
        if let Some(idempotency) = &asked.idempotency {
            facts.answered = self.answered(desk, place, &idempotency.key, now)?;
        }
        if let Command::AcceptWebhooks(webhooks) = &asked.command {
            for (at, webhook) in webhooks.iter().enumerate() {
                if let Some(seq) = self.delivered(desk, place, webhook, now)? {
                    facts.delivered.resize(at, None);
                    facts.delivered.push(Some(seq));
                }
            }
        } else if let Command::CancelJob { job } | Command::RestartJob { job, .. } = &asked.command
            && !account.jobs.contains_key(job)
        {
            facts.ended_job = match self.ended_jobs.get(job) {
                Some((_, ended)) => Some(ended.clone()),
                None => place.read(&*desk.store, Family::Job, job.as_str())?,
            };
        }
        Ok(facts)
    }

    /// Notes what the store will only know once the ticket is applied; among it the jobs that ended.
    pub(super) fn remember(&mut self, shard: ShardId, ticket: Ticket, decision: &Decision, ended: Vec<(JobId, Job)>) {
        let place = Place { shard, account: &decision.account };
        for (seq, _, event) in decision.numbered() {
            if let Event::WebhookAccepted(webhook) = event {
                for id in &webhook.delivery_ids {
                    let key = place.delivery_key(webhook.source.as_str(), id);
                    self.deliveries.insert(key.clone(), seq);
                    self.added.push_back((ticket, Added::Delivery(key)));
                }
            }
        }
        for (job, state) in ended {
            self.ended_jobs.insert(job.clone(), (ticket, state));
            self.added.push_back((ticket, Added::EndedJob(job)));
        }
        if let Some((asked, answer)) = &decision.answered {
            self.answers.insert(asked.key.clone(), (asked.clone(), answer.clone()));
            self.added.push_back((ticket, Added::Answer(asked.key.clone())));
        }
    }

    /// Drops what the store knows by now.
    pub(super) fn forget_applied(&mut self, writer: &Writer) {
        while let Some((ticket, _)) = self.added.front()
            && writer.is_applied(*ticket)
            && let Some((ticket, added)) = self.added.pop_front()
        {
            match added {
                Added::Delivery(key) => drop(self.deliveries.remove(&key)),
                Added::Answer(key) => drop(self.answers.remove(&key)),
                Added::EndedJob(job) => {
                    if self.ended_jobs.get(&job).is_some_and(|(ended, _)| *ended == ticket) {
                        self.ended_jobs.remove(&job);
                    }
                }
            }
        }
    }

    /// The event that accepted the webhook before, when it accepted every id of it.
    fn delivered(
        &self,
        desk: &Desk,
        place: Place<'_>,
        webhook: &WebhookAccepted,
        now: Timestamp,
    ) -> Result<Option<u64>, ReadError> {
        let mut first = None;
        for id in &webhook.delivery_ids {
            let key = place.delivery_key(webhook.source.as_str(), id);
            let known = match self.deliveries.get(&key) {
                Some(seq) => Some(*seq),
                None => remembered_seq(&*desk.store, place, &key, now)?,
            };
            let Some(seq) = known else { return Ok(None) };
            first.get_or_insert(seq);
        }
        Ok(first)
    }

    fn answered(
        &self,
        desk: &Desk,
        place: Place<'_>,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<(Idempotency, Answer)>, ReadError> {
        if let Some(known) = self.answers.get(key) {
            return Ok(Some(known.clone()));
        }
        let Some(value) = desk.store.get(&place.answer_key(key))? else { return Ok(None) };
        let damaged = || place.damaged(Family::Answer, "it is cut short");
        let (at, idempotency, answer) = decode_answer(key, &value).ok_or_else(damaged)?;
        Ok((now.since(at) < REMEMBERED_FOR).then_some((idempotency, answer)))
    }
}
