//! Which endpoints may have something to send.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::domain::account::{EndpointChange, Event, Mark};
use crate::domain::ids::{AccountId, EndpointId};
use crate::shard::Observer;

/// One endpoint of one account.
pub(super) type EndpointKey = (AccountId, EndpointId);

#[derive(Default)]
struct State {
    shards: Vec<ShardId>,
    endpoints: HashMap<AccountId, HashSet<EndpointId>>,
    /// Those with news that no sender has taken yet.
    woken: HashSet<EndpointKey>,
    /// Those a sender works for, with what stops it.
    busy: HashMap<EndpointKey, Signals>,
}

impl State {
    fn forget(&mut self, key: &EndpointKey) {
        if let Some(endpoints) = self.endpoints.get_mut(&key.0) {
            endpoints.remove(&key.1);
            if endpoints.is_empty() {
                self.endpoints.remove(&key.0);
            }
        }
        self.woken.remove(key);
    }
}

/// What the task that works for an endpoint is told.
#[derive(Clone, Default)]
pub(super) struct Signals {
    pub(super) cancel: CancellationToken,
    /// There is news on the account's feed.
    pub(super) news: Arc<Notify>,
}

/// The endpoints of the shards this node leads. An [`Observer`]; the sender reads it.
#[derive(Default)]
pub struct DeliveryBoard {
    state: Mutex<State>,
    changed: Notify,
}

impl DeliveryBoard {
    /// An empty board.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn take_shards(&self) -> Vec<ShardId> {
        std::mem::take(&mut self.state.lock().shards)
    }

    /// Adds an endpoint, and wakes it: it may be behind.
    pub(super) fn add(&self, key: EndpointKey) {
        let mut state = self.state.lock();
        state.endpoints.entry(key.0.clone()).or_default().insert(key.1.clone());
        state.woken.insert(key);
    }

    /// Takes the woken endpoints that nobody works for yet.
    pub(super) fn take_woken(&self) -> Vec<(EndpointKey, Signals)> {
        let mut state = self.state.lock();
        let free: Vec<_> = state.woken.iter().filter(|key| !state.busy.contains_key(*key)).cloned().collect();
        free.into_iter()
            .map(|key| {
                state.woken.remove(&key);
                let signals = Signals::default();
                state.busy.insert(key.clone(), signals.clone());
                (key, signals)
            })
            .collect()
    }

    /// A sender is about to look for news: what came until now is not told again.
    pub(super) fn looks(&self, key: &EndpointKey) {
        let mut state = self.state.lock();
        // One that is told to end leaves the news to whoever comes after it.
        if state.busy.get(key).is_none_or(|signals| !signals.cancel.is_cancelled()) {
            state.woken.remove(key);
        }
    }

    /// Nothing can be sent there until the endpoint changes, which adds it again: events of its account wake nobody.
    pub(super) fn rests(&self, key: &EndpointKey) {
        let mut state = self.state.lock();
        // One that is told to end may know less than whoever comes after it.
        if state.busy.get(key).is_some_and(|signals| !signals.cancel.is_cancelled()) {
            state.forget(key);
        }
    }

    /// A sender found nothing more to do. News that came meanwhile wake the endpoint again.
    pub(super) fn done(&self, key: &EndpointKey) {
        let mut state = self.state.lock();
        state.busy.remove(key);
        let again = state.woken.contains(key);
        drop(state);
        if again {
            self.changed.notify_one();
        }
    }

    fn wake_all(&self, account: &AccountId) {
        let mut state = self.state.lock();
        let Some(endpoints) = state.endpoints.get(account) else { return };
        let keys: Vec<_> = endpoints.iter().map(|endpoint| (account.clone(), endpoint.clone())).collect();
        let mut is_free = false;
        for key in keys {
            match state.busy.get(&key) {
                Some(signals) => signals.news.notify_one(),
                None => is_free = true,
            }
            state.woken.insert(key);
        }
        drop(state);
        if is_free {
            self.changed.notify_one();
        }
    }

    /// A sender works by what it read when it began: it is to begin anew. What senders report themselves they know.
    fn endpoint_changed(&self, account: &AccountId, endpoint: &EndpointId, change: &EndpointChange) {
        match change {
            EndpointChange::Updated { .. }
            | EndpointChange::SecretRotated { .. }
            | EndpointChange::Paused
            | EndpointChange::Resumed
            | EndpointChange::Recovering { .. }
            | EndpointChange::Requeued { .. } => {
                let key = (account.clone(), endpoint.clone());
                if let Some(signals) = self.state.lock().busy.get(&key) {
                    signals.cancel.cancel();
                }
                self.add(key);
                self.changed.notify_one();
            }
            EndpointChange::Failing { .. } | EndpointChange::CircuitOpened { .. } | EndpointChange::CircuitClosed => {}
        }
    }

    fn remove(&self, account: &AccountId, endpoint: &EndpointId) {
        let mut state = self.state.lock();
        let key = (account.clone(), endpoint.clone());
        state.forget(&key);
        if let Some(signals) = state.busy.get(&key) {
            signals.cancel.cancel();
        }
    }
}

impl Observer for DeliveryBoard {
    fn applied(&self, account: &AccountId, _seq: u64, _at: Timestamp, event: &Event) {
        match event {
            Event::EndpointCreated(created) => self.add((account.clone(), created.endpoint.clone())),
            Event::EndpointDeleted { endpoint } | Event::EndpointDisabled { endpoint, .. } => {
                self.remove(account, endpoint);
            }
            Event::EndpointChanged { endpoint, change } => self.endpoint_changed(account, endpoint, change),
            Event::DeliverySucceeded { .. } | Event::DeliveryFailed { .. } => {}
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
            | Event::JobRequested { .. }
            | Event::JobChanged { .. }
            | Event::TaskLimitsSet { .. }
            | Event::BudgetChanged(_)
            | Event::BlobUploaded(_)
            | Event::ScheduleChanged { .. }
            | Event::JobSucceeded { .. }
            | Event::JobFailed { .. }
            | Event::JobCancelled { .. }
            | Event::TaskStarted { .. }
            | Event::TaskProgressed { .. }
            | Event::TaskCheckpointed { .. }
            | Event::TaskSucceeded { .. }
            | Event::TaskFailed { .. }
            | Event::TaskReleased { .. }
            | Event::AiCalled { .. }
            | Event::DocumentIndexed { .. } => self.wake_all(account),
        }
    }

    fn followed(&self, _account: &AccountId, _event: &Event) {}

    fn marked(&self, _account: &AccountId, _mark: &Mark) {}

    fn led(&self, shard: ShardId) {
        self.state.lock().shards.push(shard);
        self.changed.notify_one();
    }

    /// The next leader delivers from here on.
    fn yielded(&self, is_of_shard: &dyn Fn(&AccountId) -> bool) {
        let mut state = self.state.lock();
        state.endpoints.retain(|account, _| !is_of_shard(account));
        state.woken.retain(|(account, _)| !is_of_shard(account));
        state
            .busy
            .iter()
            .filter(|((account, _), _)| is_of_shard(account))
            .for_each(|(_, signals)| signals.cancel.cancel());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn key() -> EndpointKey {
        (AccountId::parse("acme").unwrap(), EndpointId::parse("crm").unwrap())
    }

    fn news(board: &DeliveryBoard, account: &AccountId) {
        let event = Event::JobSucceeded { job: crate::domain::ids::JobId::parse("call-1").unwrap() };
        board.applied(account, 1, Timestamp(0), &event);
    }

    #[test]
    fn one_sender_at_a_time_and_no_news_lost() {
        let board = DeliveryBoard::new();
        board.add(key());
        assert_eq!(board.take_woken().len(), 1);
        news(&board, &key().0); // While the sender works.
        assert_eq!(board.take_woken().len(), 0, "a second sender would double");
        board.done(&key());
        assert_eq!(board.take_woken().len(), 1, "the news came after the sender looked");
    }

    #[test]
    fn news_for_an_endpoint_that_nobody_works_for_is_announced() {
        let board = DeliveryBoard::new();
        board.add(key());
        news(&board, &key().0);
        assert!(board.changed().now_or_never().is_some(), "it was woken before, and nobody came");
        let (_, signals) = board.take_woken().remove(0);
        news(&board, &key().0);
        assert!(signals.news.notified().now_or_never().is_some(), "who works for it is told");
    }

    #[test]
    fn a_change_is_not_lost_on_a_sender_that_is_told_to_end() {
        let board = DeliveryBoard::new();
        board.add(key());
        board.take_woken();
        let change = EndpointChange::Resumed;
        board.applied(&key().0, 1, Timestamp(0), &Event::EndpointChanged { endpoint: key().1, change });
        board.looks(&key()); // Before it notices.
        board.done(&key());
        assert_eq!(board.take_woken().len(), 1, "nobody works by the new settings");
    }

    #[test]
    fn a_deleted_endpoint_stops_its_sender() {
        let board = DeliveryBoard::new();
        board.add(key());
        let (_, signals) = board.take_woken().remove(0);
        board.applied(&key().0, 2, Timestamp(0), &Event::EndpointDeleted { endpoint: key().1 });
        assert!(signals.cancel.is_cancelled());
        board.done(&key());
        news(&board, &key().0);
        assert_eq!(board.take_woken().len(), 0);
    }

    #[test]
    fn an_endpoint_that_rests_is_woken_by_a_change_only() {
        let board = DeliveryBoard::new();
        board.add(key());
        board.take_woken();
        board.rests(&key());
        board.done(&key());
        news(&board, &key().0);
        assert_eq!(board.take_woken().len(), 0, "it is paused");
        let resumed = Event::EndpointChanged { endpoint: key().1, change: EndpointChange::Resumed };
        board.applied(&key().0, 2, Timestamp(0), &resumed);
        assert_eq!(board.take_woken().len(), 1);
        board.applied(&key().0, 3, Timestamp(0), &resumed); // While a sender is still looking.
        board.rests(&key());
        board.done(&key());
        assert_eq!(board.take_woken().len(), 1, "it was resumed meanwhile");
    }

    #[test]
    fn accounts_without_endpoints_cost_nothing() {
        let board = DeliveryBoard::new();
        news(&board, &key().0);
        assert_eq!(board.take_woken().len(), 0);
    }
}
