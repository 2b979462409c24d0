//! What the shards tell a board: which jobs to look at again, and what to stop.

use steward_cluster::clock::Timestamp;
use steward_cluster::ids::ShardId;

use super::board::{State, TaskBoard};
use crate::domain::account::{Event, JobChange, Mark};
use crate::domain::budget::BudgetChange;
use crate::domain::ids::AccountId;
use crate::shard::Observer;

impl Observer for TaskBoard {
    fn applied(&self, account: &AccountId, _seq: u64, _at: Timestamp, event: &Event) {
        match event {
            Event::JobRequested { job, .. }
            | Event::JobSucceeded { job }
            | Event::JobChanged {
                job,
                change: JobChange::Resumed | JobChange::Split(_) | JobChange::Restarted { .. },
            }
            | Event::TaskSucceeded { job, .. }
            | Event::TaskFailed { job, .. }
            | Event::TaskReleased { job, .. } => self.look_at(account, job, false),
            // By a worker of another node: its lease wants watching.
            Event::TaskStarted { job, task, .. } if !self.runs(account, job, *task) => {
                self.look_at(account, job, false);
            }
            Event::TaskLimitsSet { .. } | Event::BudgetChanged(BudgetChange::Set(_)) => self.limits_changed(account),
            Event::JobFailed { job, .. }
            | Event::JobCancelled { job }
            | Event::JobChanged { job, change: JobChange::Paused } => self.look_at(account, job, true),
            Event::AccountCreated { .. }
            | Event::ApiKeyCreated(_)
            | Event::ApiKeyRevoked { .. }
            | Event::PlaybookPut { .. }
            | Event::PlaybookDeleted { .. }
            | Event::PlaybookFailed { .. }
            | Event::SourceCreated(_)
            | Event::SourceDeleted { .. }
            | Event::WebhookAccepted(_)
            | Event::SourceChanged { .. }
            | Event::EndpointCreated(_)
            | Event::EndpointDeleted { .. }
            | Event::EndpointDisabled { .. }
            | Event::EndpointChanged { .. }
            | Event::DeliverySucceeded { .. }
            | Event::DeliveryFailed { .. }
            | Event::ScheduleChanged { .. }
            | Event::TaskProgressed { .. }
            | Event::TaskCheckpointed { .. }
            | Event::TaskStarted { .. }
            | Event::AiCalled { .. }
            | Event::BlobUploaded(_)
            | Event::BudgetChanged(BudgetChange::Reached(_))
            | Event::DocumentIndexed { .. } => {}
        }
    }

    /// A job that another node leads may run here, and its files lie here.
    fn followed(&self, account: &AccountId, event: &Event) {
        if let Event::JobSucceeded { job }
        | Event::JobFailed { job, .. }
        | Event::JobCancelled { job }
        | Event::JobChanged { job, change: JobChange::Paused } = event
        {
            self.look_at(account, job, !matches!(event, Event::JobSucceeded { .. }));
        }
    }

    fn marked(&self, account: &AccountId, mark: &Mark) {
        if let Mark::BudgetSpent(_) = mark {
            self.limits_changed(account);
        }
    }

    fn led(&self, shard: ShardId) {
        self.look_at_shard(shard);
    }

    /// What waits is the next leader's to give out. What runs goes on, and reports to it.
    fn yielded(&self, is_of_shard: &dyn Fn(&AccountId) -> bool) {
        let State { in_hand, census, .. } = &mut *self.state.lock();
        in_hand.forget_all(is_of_shard);
        census.forget(is_of_shard);
        self.leases.forget(is_of_shard);
    }
}
