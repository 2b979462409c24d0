//! Events into state. Total: an event is a fact, so applying it cannot fail and recovery is a plain fold.

use std::collections::BTreeMap;

use steward_cluster::clock::Timestamp;

use super::event::{
    ApiKeyCreated, EndpointChange, EndpointCreated, Event, JobChange, Mark, ReleaseReason, SourceChange, SourceCreated,
};
use super::state::{
    Account, ApiKey, Circuit, DeliveryCounts, Endpoint, EndpointSettings, Health, Pending, Recovery, Source,
    SourceSettings,
};
use crate::domain::budget::{Amounts, BudgetChange};
use crate::domain::ids::{EndpointId, JobId};
use crate::domain::job::{Failure, Job, JobState, Task, TaskState};
use crate::domain::schedule::Schedule;
use crate::domain::task::TaskId;

impl Account {
    /// Applies the account's next event. `cause_seq` is the event that caused it.
    pub fn evolve(&mut self, seq: u64, at: Timestamp, cause_seq: u64, event: &Event) {
        self.last_seq = seq;
        match event {
            Event::AccountCreated { display_name, wrapped_key } => {
                self.created_at = Some(at);
                self.display_name.clone_from(display_name);
                self.wrapped_key.clone_from(wrapped_key);
            }
            Event::ApiKeyCreated(created) => self.key_created(created, at),
            Event::ApiKeyRevoked { key } => drop(self.keys.remove(key)),
            Event::PlaybookPut { playbook, rule } => drop(self.playbooks.insert(playbook.clone(), rule.clone())),
            Event::PlaybookDeleted { playbook } => drop(self.playbooks.remove(playbook)),
            Event::SourceCreated(created) => self.source_created(created, at),
            Event::SourceDeleted { source } => drop(self.sources.remove(source)),
            Event::SourceChanged { source, change } => {
                if let Some(source) = self.sources.get_mut(source) {
                    source.changed(change);
                }
            }
            Event::EndpointCreated(created) => self.endpoint_created(created, seq, at),
            Event::EndpointDeleted { endpoint } => drop(self.endpoints.remove(endpoint)),
            Event::EndpointDisabled { endpoint, reason } => {
                self.change_endpoint(endpoint, |endpoint| endpoint.disabled = Some(reason.clone()));
            }
            Event::EndpointChanged { endpoint, change } => {
                self.change_endpoint(endpoint, |endpoint| endpoint.changed(change));
            }
            Event::DeliverySucceeded { endpoint, event_seq, .. } => {
                self.change_endpoint(endpoint, |endpoint| endpoint.succeeded(*event_seq, at));
            }
            Event::DeliveryFailed { endpoint, event_seq, attempt, retry_at, .. } => {
                self.change_endpoint(endpoint, |endpoint| endpoint.failed(*event_seq, *attempt, *retry_at, at));
            }
            Event::JobRequested { job, kind, input, options, .. } => {
                let requested = Job::requested(*kind, input.clone(), seq, cause_seq, at).with_options(*options);
                self.jobs.insert(job.clone(), requested);
            }
            Event::JobSucceeded { job } | Event::JobFailed { job, .. } | Event::JobCancelled { job } => {
                self.jobs.remove(job);
            }
            Event::TaskLimitsSet { limits } => self.task_limits.clone_from(limits),
            Event::BudgetChanged(BudgetChange::Set(budgets)) => self.purse.budgets.clone_from(budgets),
            Event::ScheduleChanged { schedule, change } => {
                if let Some(state) = Schedule::changed(self.schedules.remove(schedule), at, change) {
                    self.schedules.insert(schedule.clone(), state);
                }
            }
            Event::JobChanged { job, .. }
            | Event::TaskStarted { job, .. }
            | Event::TaskProgressed { job, .. }
            | Event::TaskCheckpointed { job, .. }
            | Event::TaskSucceeded { job, .. }
            | Event::TaskFailed { job, .. }
            | Event::TaskReleased { job, .. }
            | Event::AiCalled { job, .. } => self.change_job(job, |job| job.evolve(at, event)),
            // On the feed only: nothing decides by them.
            Event::PlaybookFailed { .. }
            | Event::WebhookAccepted(_)
            | Event::BlobUploaded(_)
            | Event::BudgetChanged(BudgetChange::Reached(_))
            | Event::DocumentIndexed { .. } => {}
        }
    }

    /// Applies a change that has no number.
    pub fn mark(&mut self, mark: &Mark) {
        match mark {
            Mark::ConsumerAcked { .. } => {} // Kept in the store only.
            Mark::EndpointSkipped { endpoint, through_seq } => {
                self.change_endpoint(endpoint, |endpoint| endpoint.move_to(*through_seq));
            }
            Mark::EndpointMoved { endpoint, is_recovery, through_seq, pending } => {
                self.change_endpoint(endpoint, |endpoint| endpoint.moved(*is_recovery, *through_seq, pending));
            }
            Mark::FeedTrimmed { first_seq } => self.first_seq = *first_seq,
            Mark::RequestRefused(refused) => {
                if let Some(source) = self.sources.get_mut(&refused.source) {
                    source.next_refused = refused.number + u64::from(refused.places);
                }
            }
            Mark::RefusedForgotten { .. } => {} // Kept in the store only.
            Mark::BudgetSpent(ledger) => self.purse.ledger = *ledger,
        }
    }

    fn key_created(&mut self, created: &ApiKeyCreated, at: Timestamp) {
        let ApiKeyCreated { key, role, label, hash, expires_at } = created.clone();
        self.keys.insert(key, ApiKey { role, label, hash, created_at: at, expires_at });
    }

    fn source_created(&mut self, created: &SourceCreated, at: Timestamp) {
        let SourceCreated { source, scheme, token, sealed_secrets, tolerance_s, public_url } = created.clone();
        let state = Source {
            scheme,
            token,
            sealed_secrets,
            tolerance_s,
            public_url,
            created_at: at,
            settings: SourceSettings::default(),
            is_paused: false,
            awaits_secret: false,
            next_refused: 0,
        };
        self.sources.insert(source, state);
    }

    fn endpoint_created(&mut self, created: &EndpointCreated, seq: u64, at: Timestamp) {
        let EndpointCreated { endpoint, url, patterns, sealed_secret } = created.clone();
        let state = Endpoint {
            url,
            patterns,
            sealed_secret,
            created_at: at,
            disabled: None,
            cursor: seq,
            failed_attempts: 0,
            retry_at: None,
            settings: EndpointSettings::default(),
            old_secret: None,
            is_paused: false,
            health: Health::default(),
            recovery: None,
            counts: DeliveryCounts::default(),
            pending: BTreeMap::new(),
        };
        self.endpoints.insert(endpoint, state);
    }

    fn change_endpoint(&mut self, id: &EndpointId, change: impl FnOnce(&mut Endpoint)) {
        if let Some(endpoint) = self.endpoints.get_mut(id) {
            change(endpoint);
        }
    }

    fn change_job(&mut self, id: &JobId, change: impl FnOnce(&mut Job)) {
        if let Some(job) = self.jobs.get_mut(id) {
            change(job);
        }
    }
}

impl Source {
    fn changed(&mut self, change: &SourceChange) {
        match change {
            SourceChange::Updated { tolerance_s, public_url, settings } => {
                self.tolerance_s = *tolerance_s;
                self.public_url.clone_from(public_url);
                self.settings.clone_from(settings);
            }
            SourceChange::SecretsChanged { sealed_secrets, awaits_secret } => {
                self.sealed_secrets.clone_from(sealed_secrets);
                self.awaits_secret = *awaits_secret;
            }
            SourceChange::Paused => self.is_paused = true,
            SourceChange::Resumed => self.is_paused = false,
        }
    }
}

impl Endpoint {
    fn move_to(&mut self, seq: u64) {
        self.cursor = self.cursor.max(seq);
        self.failed_attempts = 0;
        self.retry_at = None;
    }

    /// Up to the cursor it was pending; behind it deliveries do not overtake each other.
    fn succeeded(&mut self, event_seq: u64, at: Timestamp) {
        if event_seq > self.cursor {
            return self.move_to(event_seq);
        }
        self.pending.remove(&event_seq);
        self.health = Health::default();
        self.counts.delivered += 1;
        self.counts.last_success_at = Some(at);
    }

    /// Attempt 0: it was given up without having been tried again, which says nothing about the receiver.
    fn failed(&mut self, event_seq: u64, attempt: u32, retry_at: Option<Timestamp>, at: Timestamp) {
        if event_seq > self.cursor {
            if retry_at.is_none() {
                self.move_to(event_seq); // Given up.
            } else {
                self.failed_attempts += 1;
                self.retry_at = retry_at;
            }
            return;
        }
        if attempt > 0 {
            self.health.failures_in_row = self.health.failures_in_row.saturating_add(1);
            self.health.failing_since.get_or_insert(at);
            self.counts.failed_attempts += 1;
            self.counts.last_failure_at = Some(at);
        }
        if let Some(retry_at) = retry_at {
            let pending = self.pending.entry(event_seq).or_default();
            *pending = Pending { failed_attempts: pending.failed_attempts + 1, retry_at };
        } else {
            self.pending.remove(&event_seq);
            self.counts.dead += 1;
        }
    }

    fn moved(&mut self, is_recovery: bool, through_seq: u64, pending: &[u64]) {
        if is_recovery {
            let moved = self.recovery.map(|recovery| Recovery { cursor: through_seq, ..recovery });
            self.recovery = moved.filter(|recovery| recovery.cursor < recovery.through_seq);
        } else {
            self.move_to(through_seq);
        }
        for seq in pending {
            self.pending.entry(*seq).or_default();
        }
    }

    fn changed(&mut self, change: &EndpointChange) {
        match change {
            EndpointChange::Updated { url, patterns, settings } => {
                self.url.clone_from(url);
                self.patterns.clone_from(patterns);
                self.settings.clone_from(settings);
            }
            EndpointChange::SecretRotated { sealed_secret, old } => {
                self.sealed_secret.clone_from(sealed_secret);
                self.old_secret.clone_from(old);
            }
            EndpointChange::Paused => self.is_paused = true,
            EndpointChange::Resumed => {
                self.is_paused = false;
                self.disabled = None;
                self.health = Health::default();
            }
            EndpointChange::Failing { percent, .. } => self.health.warned_percent = *percent,
            EndpointChange::CircuitOpened { until, trials } => {
                self.health.circuit = Some(Circuit { until: *until, trials: *trials });
            }
            EndpointChange::CircuitClosed => self.health.circuit = None,
            EndpointChange::Recovering { after_seq, through_seq } => {
                self.recovery = Some(Recovery { cursor: *after_seq, through_seq: *through_seq });
            }
            EndpointChange::Requeued { seqs } => {
                self.pending.extend(seqs.iter().map(|seq| (*seq, Pending::default())));
            }
        }
    }
}

impl Job {
    /// Applies an event of this job. The store folds ended jobs by this too, so it knows every job event.
    pub fn evolve(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::JobSucceeded { .. } => self.end(JobState::Succeeded, at),
            Event::JobFailed { failure, .. } => {
                self.end(JobState::Failed, at);
                self.failure = Some(failure.clone());
            }
            Event::JobCancelled { .. } => self.end(JobState::Cancelled, at),
            Event::JobChanged { change, .. } => match change {
                JobChange::Paused => self.pause(),
                JobChange::Resumed => self.is_paused = false,
                JobChange::Split(split) => self.split(*split),
                JobChange::Restarted { from } => self.restart(*from),
            },
            Event::TaskStarted { task, attempt, worker, reserved, .. } => self.change_task(*task, |task| {
                task.state = TaskState::Running;
                task.attempt = *attempt;
                task.worker = Some(worker.clone());
                task.retry_at = None;
                (task.reserved, task.calls) = (*reserved, 0);
            }),
            // Without a number it is of a format in which jobs keep nothing of calls.
            Event::AiCalled { task, call, .. } if call.number > 0 => self.change_task(*task, |task| {
                task.reserved = task.reserved.minus(call.used());
                task.calls = call.number;
            }),
            Event::TaskProgressed { task, permille, note, .. } => self.change_task(*task, |task| {
                task.permille = *permille;
                task.note.clone_from(note);
            }),
            Event::TaskCheckpointed { task, state, .. } => {
                self.change_task(*task, |task| task.checkpoint = Some(state.clone()));
            }
            Event::TaskSucceeded { task, result, .. } => {
                self.change_task(*task, |task| task.succeeded(result.clone()));
                self.unblock();
            }
            Event::TaskFailed { task, failure, retry_at, .. } => {
                self.change_task(*task, |task| task.failed(failure.clone(), *retry_at));
            }
            Event::TaskReleased { task, reason, .. } => self.change_task(*task, |task| task.released(*reason)),
            Event::AccountCreated { .. }
            | Event::ApiKeyCreated(_)
            | Event::ApiKeyRevoked { .. }
            | Event::PlaybookPut { .. }
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
            | Event::JobRequested { .. }
            | Event::TaskLimitsSet { .. }
            | Event::BlobUploaded(_)
            | Event::ScheduleChanged { .. }
            | Event::BudgetChanged(_)
            | Event::AiCalled { .. }
            | Event::DocumentIndexed { .. } => {}
        }
    }

    fn change_task(&mut self, task: TaskId, change: impl FnOnce(&mut Task)) {
        if let Some(task) = self.tasks.get_mut(&task) {
            change(task);
        }
    }
}

impl Task {
    fn succeeded(&mut self, result: serde_json::Value) {
        self.state = TaskState::Succeeded;
        self.permille = 1000;
        self.result = Some(result);
        self.checkpoint = None;
        self.worker = None;
        self.failure = None;
        self.reserved = Amounts::NONE;
    }

    fn failed(&mut self, failure: Failure, retry_at: Option<Timestamp>) {
        self.state = if retry_at.is_some() { TaskState::BackingOff } else { TaskState::Failed };
        self.failures += 1;
        self.failure = Some(failure);
        self.retry_at = retry_at;
        self.worker = None;
        self.reserved = Amounts::NONE;
    }

    fn released(&mut self, reason: ReleaseReason) {
        self.state = TaskState::Ready;
        self.worker = None;
        self.reserved = Amounts::NONE;
        match reason {
            ReleaseReason::LeaseLost | ReleaseReason::Drained => {}
            ReleaseReason::BackOffOver | ReleaseReason::DelayOver => self.retry_at = None,
        }
    }
}
