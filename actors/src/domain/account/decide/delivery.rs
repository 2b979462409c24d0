//! What became of the attempts at deliveries: retries, the circuit breaker, and the end of an endpoint that stays away.
//!
//! # Decisions
//! - The circuit opens after [`CIRCUIT_FAILURES`] failures in a row, whichever events they were about. While it is open
//!   one attempt is made whenever its wait is over; the events behind it keep their attempts.
//! - An endpoint is disabled when it has failed for [`FAILING_MS_MAX`] without a success, and says so three times before.

use std::collections::BTreeSet;

use steward_cluster::clock::Timestamp;

use super::endpoint::find;
use super::{Decided, Decision, jitter_ms};
use crate::domain::account::command::{DeliveryOutcome, Moved, Reported};
use crate::domain::account::event::{EndpointChange, Event, Mark};
use crate::domain::account::limits::{
    CIRCUIT_FAILURES, CIRCUIT_WAIT_MS_MAX, CIRCUIT_WAIT_MS_MIN, DELIVERY_RETRY_MS, FAILING_MS_MAX, FAILING_WARNINGS,
};
use crate::domain::account::state::{Account, Circuit, Endpoint, Health, Pending};
use crate::domain::ids::EndpointId;

/// The attempt at an event that was given up without another one.
const NOT_TRIED: u32 = 0;

/// One attempt on the event behind the cursor, where deliveries may not overtake each other. An attempt on an event that
/// is done with already came from a sender that was replaced: it changes nothing.
pub(super) fn report_one(account: &Account, endpoint: EndpointId, reported: Reported, now: Timestamp) -> Decision {
    let found = find(account, &endpoint)?;
    if reported.event_seq <= found.cursor || found.disabled.is_some() {
        return Ok(Decided::default());
    }
    let before = Pending { failed_attempts: found.failed_attempts, ..Pending::default() };
    let id = endpoint.to_string();
    let event = attempted(account, &endpoint, reported, before, now);
    Ok(Decided::one(event, &id))
}

/// Many attempts, and how far the sender has come.
pub(super) fn report(
    account: &Account,
    endpoint: EndpointId,
    moved: Vec<Moved>,
    outcomes: Vec<Reported>,
    now: Timestamp,
) -> Decision {
    let found = find(account, &endpoint)?;
    if found.disabled.is_some() {
        return Ok(Decided::default());
    }
    let mut report = Report { account, endpoint: &endpoint, now, health: found.health.clone(), events: vec![] };
    let (mut seen, mut left) = (BTreeSet::new(), vec![]);
    for reported in outcomes {
        let seq = reported.event_seq;
        let is_new = moved.iter().any(|moved| is_news(found, moved, seq));
        let before = found.pending.get(&seq).copied().or_else(|| is_new.then(Pending::default));
        let Some(before) = before.filter(|_| seen.insert(seq)) else { continue };
        if !report.is_over() {
            report.take(reported, before);
        }
        // Once the endpoint has ended, what was reported for it is still to be delivered.
        left.extend((is_new && report.is_over()).then_some(seq));
    }
    let events = report.events;
    let mark = |moved: Moved| {
        let left = left.iter().copied().filter(|seq| is_news(found, &moved, *seq));
        Mark::EndpointMoved {
            endpoint: endpoint.clone(),
            is_recovery: moved.is_recovery,
            through_seq: moved.through_seq.min(account.last_seq),
            pending: left.chain(moved.pending.iter().copied()).collect(),
        }
    };
    let marks = moved.into_iter().filter(|moved| moved.through_seq > cursor(found, moved)).map(mark).collect();
    let answer = super::Answer { id: endpoint.to_string(), ..super::Answer::default() };
    Ok(Decided { events, marks, answer })
}

/// One report being decided.
struct Report<'a> {
    account: &'a Account,
    endpoint: &'a EndpointId,
    now: Timestamp,
    /// As the events so far leave it.
    health: Health,
    events: Vec<Event>,
}

impl Report<'_> {
    fn take(&mut self, reported: Reported, before: Pending) {
        let outcome = reported.outcome.clone();
        self.events.push(attempted(self.account, self.endpoint, reported, before, self.now));
        match outcome {
            DeliveryOutcome::Delivered { .. } => {
                if self.health.circuit.is_some() {
                    self.change(EndpointChange::CircuitClosed);
                }
                self.health = Health::default();
            }
            DeliveryOutcome::Failed { .. } => self.failed(),
            // Neither says anything about an attempt.
            DeliveryOutcome::Gone | DeliveryOutcome::Forgotten => {}
        }
    }

    fn failed(&mut self) {
        self.health.failures_in_row = self.health.failures_in_row.saturating_add(1);
        let since = *self.health.failing_since.get_or_insert(self.now);
        let trials = match self.health.circuit {
            None => (self.health.failures_in_row >= CIRCUIT_FAILURES).then_some(0),
            // Attempts that were under way when it opened say nothing new.
            Some(circuit) => (self.now >= circuit.until).then_some(circuit.trials + 1),
        };
        if let Some(trials) = trials {
            let wait_ms = CIRCUIT_WAIT_MS_MIN.saturating_mul(1 << trials.min(20)).min(CIRCUIT_WAIT_MS_MAX);
            let until = Timestamp(self.now.0 + jitter_ms(wait_ms, self.account, u64::from(trials)));
            self.health.circuit = Some(Circuit { until, trials });
            self.change(EndpointChange::CircuitOpened { until, trials });
        }
        let failing_ms = self.now.0.saturating_sub(since.0);
        if failing_ms >= FAILING_MS_MAX {
            let reason = format!("no delivery succeeded for {} hours", FAILING_MS_MAX / 3_600_000);
            self.events.push(Event::EndpointDisabled { endpoint: self.endpoint.clone(), reason });
            return;
        }
        let percent = u32::try_from(failing_ms * 100 / FAILING_MS_MAX).expect("below a hundred");
        let due = FAILING_WARNINGS.iter().rev().find(|warning| percent >= **warning);
        if let Some(due) = due.filter(|due| **due > self.health.warned_percent) {
            self.health.warned_percent = *due;
            let disabled_at = Timestamp(since.0.saturating_add(FAILING_MS_MAX));
            self.change(EndpointChange::Failing { percent: *due, since, disabled_at });
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.events.last(), Some(Event::EndpointDisabled { .. }))
    }

    fn change(&mut self, change: EndpointChange) {
        self.events.push(Event::EndpointChanged { endpoint: self.endpoint.clone(), change });
    }
}

fn attempted(account: &Account, endpoint: &EndpointId, reported: Reported, before: Pending, now: Timestamp) -> Event {
    let (endpoint, attempt) = (endpoint.clone(), before.failed_attempts + 1);
    let event_seq = reported.event_seq;
    match reported.outcome {
        DeliveryOutcome::Delivered { status, latency_ms, response } => {
            Event::DeliverySucceeded { endpoint, event_seq, attempt, status, latency_ms, response }
        }
        DeliveryOutcome::Gone => {
            let reason = "the receiver answered 410 Gone".to_owned();
            Event::EndpointDisabled { endpoint, reason }
        }
        DeliveryOutcome::Forgotten => {
            let error = "the event, and what was not delivered before it, is no longer kept".to_owned();
            let (status, retry_at, latency_ms, attempt, response) = (None, None, 0, NOT_TRIED, String::new());
            Event::DeliveryFailed { endpoint, event_seq, attempt, status, error, retry_at, latency_ms, response }
        }
        DeliveryOutcome::Failed { status, error, retry_after_ms, latency_ms, response } => {
            let retry_at = retry_at(account, event_seq, before.failed_attempts, retry_after_ms, now);
            Event::DeliveryFailed { endpoint, event_seq, attempt, status, error, retry_at, latency_ms, response }
        }
    }
}

fn retry_at(account: &Account, salt: u64, tried: u32, asked_ms: Option<u64>, now: Timestamp) -> Option<Timestamp> {
    let wait_ms = DELIVERY_RETRY_MS.get(usize::try_from(tried).expect("attempts are few"))?;
    let longest = DELIVERY_RETRY_MS[DELIVERY_RETRY_MS.len() - 1];
    let wait_ms = asked_ms.unwrap_or(0).min(longest).max(jitter_ms(*wait_ms, account, salt));
    Some(Timestamp(now.0.saturating_add(wait_ms)))
}

/// Where the endpoint stands in what it moves through.
fn cursor(endpoint: &Endpoint, moved: &Moved) -> u64 {
    if moved.is_recovery { endpoint.recovery.map_or(u64::MAX, |recovery| recovery.cursor) } else { endpoint.cursor }
}

/// An event that the endpoint moves over with this very report.
fn is_news(endpoint: &Endpoint, moved: &Moved, seq: u64) -> bool {
    (cursor(endpoint, moved).saturating_add(1)..=moved.through_seq).contains(&seq)
}
