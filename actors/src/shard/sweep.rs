//! Retention: one slow walk over the shards that trims the feeds of those led here, and drops what is too old to remember.

use std::time::Duration;

use steward_cluster::clock::Timestamp;
use steward_cluster::ids::{LogIndex, ShardId};
use steward_cluster::store::Direction;

use super::entries::STEP_ENTRIES_MAX;
use super::node::Node;
use super::remembered::{self, STEP_ROWS_MAX};
use super::rows::{Family, Place, account_of, family_after, family_range};
use super::wake::{first_seq, newest, time_of};
use super::{ExecuteError, ReadError};
use crate::domain::account::{Asked, Command};
use crate::domain::ids::AccountId;

/// Accounts looked at in one step.
const ACCOUNTS_MAX: usize = 64;
/// Steps taken at a time. The first one that finds anything is the last, so that the walk never takes a core for itself.
const STEPS_MAX: usize = 16;
/// Events one command forgets, so that the batch that deletes them stays small.
const TRIM_EVENTS_MAX: u64 = 1_000;
/// Commands for one account at a time; the next round goes on.
const TRIMS_MAX: usize = 16;
/// The rest between two rounds.
const REST: Duration = Duration::from_secs(60);

/// Where the walk stands.
#[derive(Debug)]
pub(crate) struct Sweep {
    shard: u16,
    stage: Stage,
    rests_until: Duration,
}

#[derive(Debug)]
enum Stage {
    Feeds {
        after: Option<AccountId>,
    },
    Deliveries(remembered::Place),
    Answers(remembered::Place),
    Refused(remembered::Place),
    /// After this entry.
    Entries(LogIndex),
}

impl Sweep {
    pub(crate) fn new() -> Self {
        Self { shard: 0, stage: Stage::Feeds { after: None }, rests_until: Duration::ZERO }
    }

    /// Whether there is nothing to do for now.
    pub(crate) fn rests(&self, now: Duration) -> bool {
        now < self.rests_until
    }

    /// Goes on for a bounded time.
    pub(crate) async fn go_on(&mut self, node: &Node) -> Result<(), ReadError> {
        for _ in 0..STEPS_MAX {
            if self.rests(node.clock.monotonic()) || self.step(node).await? > 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Says how many rows it looked at.
    async fn step(&mut self, node: &Node) -> Result<usize, ReadError> {
        let shard = ShardId(self.shard);
        let now = node.clock.now();
        match &mut self.stage {
            Stage::Feeds { after } if node.is_led(shard) => {
                let range = after.as_ref().map_or_else(
                    || family_range(shard, Family::Account),
                    |account| family_after(shard, Family::Account, account),
                );
                let rows = node.store.scan(&range, Direction::Forward, ACCOUNTS_MAX)?;
                let accounts: Vec<AccountId> = rows.iter().filter_map(|(key, _)| account_of(key)).collect();
                *after = accounts.last().cloned();
                let done = rows.len() < ACCOUNTS_MAX;
                for account in accounts {
                    trim(node, shard, &account).await?;
                }
                if done {
                    self.stage = Stage::Deliveries(remembered::Place::default());
                }
                Ok(rows.len())
            }
            Stage::Feeds { .. } => {
                self.stage = Stage::Entries(LogIndex(0)); // All that is left to a replica that another one leads.
                Ok(0)
            }
            Stage::Deliveries(place) => {
                let looked = node.remembered.look(&*node.store, (shard, Family::Delivery), place, now)?;
                if looked < STEP_ROWS_MAX {
                    self.stage = Stage::Answers(remembered::Place::default());
                }
                Ok(looked)
            }
            Stage::Answers(place) => {
                let looked = node.remembered.look(&*node.store, (shard, Family::Answer), place, now)?;
                if looked < STEP_ROWS_MAX {
                    self.stage = Stage::Refused(remembered::Place::default());
                }
                Ok(looked)
            }
            Stage::Refused(place) => {
                let looked = node.remembered.look(&*node.store, (shard, Family::Refused), place, now)?;
                if looked < STEP_ROWS_MAX {
                    self.stage = Stage::Entries(LogIndex(0));
                }
                Ok(looked)
            }
            Stage::Entries(after) => {
                let looked = node.bygone.look(&*node.store, shard, after)?;
                if looked < STEP_ENTRIES_MAX {
                    self.next_shard(node);
                }
                Ok(looked)
            }
        }
    }

    fn next_shard(&mut self, node: &Node) {
        self.stage = Stage::Feeds { after: None };
        self.shard += 1;
        if self.shard >= node.config.shards {
            self.shard = 0;
            self.rests_until = node.clock.monotonic() + REST;
        }
    }
}

/// Trims one feed to its retention.
async fn trim(node: &Node, shard: ShardId, account: &AccountId) -> Result<(), ReadError> {
    for _ in 0..TRIMS_MAX {
        let Some(first_seq) = floor_wanted(node, Place { shard, account })? else { return Ok(()) };
        let asked = Asked {
            command: Command::TrimFeed { first_seq },
            actor: "system".to_owned(),
            correlation_id: "retention".to_owned(),
            causation_seq: 0,
            idempotency: None,
        };
        if let Err(error) = execute(node, account, asked).await {
            tracing::debug!(account = account.as_str(), error = %error, "feed not trimmed this time");
            return Ok(());
        }
    }
    Ok(())
}

/// Asks the account and waits for the answer.
pub(crate) async fn execute(node: &Node, account: &AccountId, asked: Asked) -> Result<(), ExecuteError> {
    let shard = super::shard_of(account, node.config.shards);
    let answer = node.send(account, asked)?.await;
    answer.unwrap_or(Err(ExecuteError::OutcomeUnknown { shard })).map(drop)
}

/// Where the feed should begin, when that is later than it does.
fn floor_wanted(node: &Node, place: Place<'_>) -> Result<Option<u64>, ReadError> {
    let retention = node.config.retention;
    let floor = first_seq(&*node.store, place)?;
    let Some((last, _)) = newest(&*node.store, place)? else { return Ok(None) };
    let by_count = (last + 1).saturating_sub(retention.events_max);
    let age_ms = u64::try_from(retention.age_max.as_millis()).unwrap_or(u64::MAX);
    let oldest = Timestamp(node.clock.now().0.saturating_sub(age_ms));
    let by_age = match time_of(&*node.store, place, floor)? {
        Some(time) if time < oldest => node.reads().seek_time(place.account, oldest)?,
        Some(_) | None => floor, // Most feeds: nothing is too old.
    };
    let wanted = by_count.max(by_age).min(last).min(floor + TRIM_EVENTS_MAX);
    Ok((wanted > floor).then_some(wanted))
}
