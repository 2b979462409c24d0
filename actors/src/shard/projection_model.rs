//! What rows are held against: a plain fold of the events of an account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use steward_cluster::clock::Timestamp;
use steward_cluster::store::StateStore;

use super::rows::Place;
use super::{Reads, shard_of, wake};
use crate::blob::BlobHash;
use crate::codec::Decision;
use crate::domain::account::limits::{REFUSED_MAX, REQUEST_INLINE_BYTES_MAX};
use crate::domain::account::{
    Account, Asked, Command, Decided, EndpointChange, Event, Facts, JobChange, KeptRequest, Mark, RefusedRequest,
    WebhookAccepted, decide,
};
use crate::domain::ids::{AccountId, EndpointId, JobId, SourceId};
use crate::domain::job::Job;

pub(super) const SHARDS: u16 = 64;

/// What a plain fold of the events holds.
pub(super) struct Model {
    pub(super) account: Account,
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// Events given up at endpoints.
    pub(super) dead: BTreeSet<(EndpointId, u64)>,
    /// Requests refused by sources, and those that were forgotten since.
    pub(super) refused: BTreeMap<SourceId, BTreeMap<u64, RefusedRequest>>,
    pub(super) events: Vec<Event>,
}

/// An event as it is to stand there.
fn on_feed(event: &Event) -> Event {
    if let Event::WebhookAccepted(webhook) = event
        && let KeptRequest::Here(sealed) = &webhook.kept
        && sealed.len() > REQUEST_INLINE_BYTES_MAX
    {
        return Event::WebhookAccepted(WebhookAccepted { kept: KeptRequest::Beside, ..webhook.clone() });
    }
    event.clone()
}

impl Model {
    pub(super) fn new(name: AccountId) -> Self {
        Self {
            account: Account::absent(name),
            jobs: BTreeMap::new(),
            dead: BTreeSet::new(),
            refused: BTreeMap::new(),
            events: vec![],
        }
    }

    pub(super) fn decide(&self, command: Command, at: Timestamp) -> Option<Decision> {
        let asked = Asked {
            command,
            actor: "test".to_owned(),
            correlation_id: String::new(),
            causation_seq: 0,
            idempotency: None,
        };
        let mut ended_job = None;
        if let Command::RestartJob { job, .. } = &asked.command
            && !self.account.jobs.contains_key(job)
        {
            ended_job = self.jobs.get(job).cloned();
        }
        let facts = Facts { ended_job, ..Facts::default() };
        let Decided { events, marks, .. } = decide(&self.account, &facts, &asked, at).ok()?;
        Some(Decision {
            account: self.account.id.clone(),
            first_seq: self.account.last_seq + 1,
            at,
            actor: asked.actor,
            correlation_id: asked.correlation_id,
            causation_seq: 0,
            events,
            marks,
            answered: None,
        })
    }

    pub(super) fn fold(&mut self, decision: &Decision) {
        for mark in &decision.marks {
            self.account.mark(mark);
            self.note_refused(mark);
        }
        for (seq, cause_seq, event) in decision.numbered() {
            self.note_dead(event);
            if let Event::SourceDeleted { source } = event {
                self.refused.remove(source);
            }
            if let Event::JobChanged { job, change: JobChange::Restarted { .. } } = event {
                self.account.jobs.insert(job.clone(), self.jobs[job].clone());
            }
            self.account.evolve(seq, decision.at, cause_seq, event);
            for (job, state) in &self.account.jobs {
                self.jobs.insert(job.clone(), state.clone());
            }
            if let Event::JobSucceeded { job } | Event::JobFailed { job, .. } | Event::JobCancelled { job } = event {
                self.jobs.get_mut(job).unwrap().evolve(decision.at, event);
            }
            self.events.push(on_feed(event));
        }
    }

    fn note_refused(&mut self, mark: &Mark) {
        if let Mark::RequestRefused(refused) = mark {
            let of_source = self.refused.entry(refused.source.clone()).or_default();
            of_source.insert(refused.number, refused.clone());
            let next = refused.number + u64::from(refused.places);
            of_source.retain(|number, _| *number + REFUSED_MAX >= next);
        } else if let Mark::RefusedForgotten { source, numbers } = mark {
            let of_source = self.refused.entry(source.clone()).or_default();
            of_source.retain(|number, _| !numbers.contains(number));
        }
    }

    fn note_dead(&mut self, event: &Event) {
        let in_order = |endpoint: &EndpointId, seq: u64| self.account.endpoints[endpoint].cursor < seq;
        if let Event::DeliveryFailed { endpoint, event_seq, retry_at: None, .. } = event
            && !in_order(endpoint, *event_seq)
        {
            self.dead.insert((endpoint.clone(), *event_seq));
        } else if let Event::DeliverySucceeded { endpoint, event_seq, .. } = event {
            self.dead.remove(&(endpoint.clone(), *event_seq));
        } else if let Event::EndpointDeleted { endpoint } = event {
            self.dead.retain(|(of, _)| of != endpoint);
        } else if let Event::EndpointChanged { endpoint, change: EndpointChange::Requeued { seqs } } = event {
            self.dead.retain(|(of, seq)| of != endpoint || !seqs.contains(seq));
        }
    }

    #[track_caller]
    pub(super) fn check(&self, store: &Arc<dyn StateStore>) {
        let name = &self.account.id;
        let place = Place { shard: shard_of(name, SHARDS), account: name };
        let (account, _) = wake(&**store, place).unwrap();
        assert_eq!(account, self.account);
        let reads = Reads::new(Arc::clone(store), SHARDS);
        for endpoint in self.account.endpoints.keys() {
            let from = self.account.first_seq; // Rows before it go with a later trim.
            let stored = reads.dead(name, endpoint, from, u64::MAX - 1, usize::MAX).unwrap();
            let known = self.dead.iter().filter(|(of, seq)| of == endpoint && *seq >= from).map(|(_, seq)| *seq);
            assert_eq!(stored, known.collect::<Vec<_>>(), "what {endpoint} was not given");
        }
        for (source, state) in &self.account.sources {
            let stored = reads.refused(name, (source, state), 0, usize::MAX, Timestamp(0)).unwrap();
            let known = self.refused.get(source).into_iter().flat_map(BTreeMap::values);
            let stored: Vec<_> = stored.into_iter().map(|one| (one.number, one.at, one.sealed_request)).collect();
            let known: Vec<_> = known.map(|one| (one.number, one.at, one.sealed_request.clone())).collect();
            assert_eq!(stored, known, "what {source} refused");
        }
        for (seq, event) in (1..).zip(&self.events) {
            let is_beside = matches!(event, Event::WebhookAccepted(WebhookAccepted { kept: KeptRequest::Beside, .. }));
            let is_kept = is_beside && seq >= self.account.first_seq;
            assert_eq!(reads.request_beside(name, seq).unwrap().is_some(), is_kept, "beside {seq}");
        }
        for event in &self.events {
            if let Event::BlobUploaded(uploaded) = event {
                assert!(reads.owns_blob(name, &BlobHash::parse(&uploaded.hash).unwrap()).unwrap(), "{uploaded:?}");
            }
        }
        for (job, state) in &self.jobs {
            match reads.job(name, job).unwrap() {
                Some(stored) => assert_eq!(&stored, state, "{job}"),
                None => assert!(state.seq < self.account.first_seq && !self.account.jobs.contains_key(job)),
            }
        }
        let kept: Vec<Event> = reads.events(name, 0, usize::MAX).unwrap().into_iter().map(|e| e.event).collect();
        let forgotten = usize::try_from(self.account.first_seq - 1).unwrap();
        assert_eq!(kept, self.events[forgotten..]);
    }
}
