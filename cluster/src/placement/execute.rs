//! Brings the shards this node leads to where they should be. The composition root starts one per node.
//!
//! Each pass looks at everything anew: what the driver says, what is wanted, and takes the next step of `step.rs`. A
//! step that did not work is simply taken again.
//!
//! # Invariants
//! - **E1 few at a time**: at most [`CHANGES_PER_PASS_MAX`] changes begin in a pass and [`TRANSFERS_MAX`] leaderships
//!   are on their way, so that the other shards go on.
//! - **E2 calm**: a shard is not moved to its preferred leader before it was led here for [`SETTLED_AFTER`]: a node that
//!   gives its shards up does not get them back at once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::blobs::{BlobCount, Question, Verdict, Waits};
use super::leaving::Leaving;
use super::metrics;
use super::reports::Reports;
use super::standing::ShardStanding;
use super::step::{self, Led, Step};
use crate::answer::answer;
use crate::clock::Clock;
use crate::ids::{NodeId, ShardId, Term};
use crate::membership::{Membership, OwnWord, View};
use crate::peers::Peers;
use crate::raft::{ChangeError, DriverHandle, Role, ShardDetail};
use crate::spawn::spawn;

/// How often it looks without a reason.
const PASS_EVERY: Duration = Duration::from_millis(200);
/// The same while every shard here sleeps and the last pass took no step.
const CALM_PASS_EVERY: Duration = Duration::from_secs(1);
/// How soon it looks again while leaderships are on their way, and at the earliest after any pass.
const PASS_REST: Duration = Duration::from_millis(20);
/// Changes of members begun in one pass.
const CHANGES_PER_PASS_MAX: usize = 8;
/// Leaderships on their way at a time. Each stops the writes of its shard for a round trip.
const TRANSFERS_MAX: usize = 8;
/// A transfer that takes so long has failed: the library gives it up after an election time.
const TRANSFER_MAX: Duration = Duration::from_millis(700);
/// How long a shard stays with a leader that is merely not the preferred one.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// A disk with space again counts as nearly full for so long, so that a node at the limit is not given leaderships and
/// robbed of them all the time.
const DISK_LOW_LINGERS: Duration = Duration::from_secs(10);

/// Brings shards to their places until it is dropped.
pub struct Executor {
    gives_up: watch::Sender<bool>,
    standing: watch::Receiver<Standing>,
    tasks: [JoinHandle<()>; 3],
}

/// What the last pass saw.
#[derive(Default)]
struct Standing {
    shards: Vec<ShardStanding>,
    /// Shards led here that others vote in, too, and those given away that nobody is known to lead yet.
    shared_leads: usize,
}

impl Executor {
    /// Starts on this node. `blobs` knows what the nodes lack that are to hold a shard.
    #[must_use]
    pub fn start(
        driver: DriverHandle,
        membership: &Membership,
        peers: Peers,
        blobs: Arc<dyn BlobCount>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (node, view) = (membership.node(), membership.view());
        let (gives_up, gives_up_here) = watch::channel(false);
        let (published, standing) = watch::channel(Standing::default());
        let leaving = Leaving {
            node,
            driver: driver.clone(),
            peers,
            view: view.clone(),
            clock: Arc::clone(&clock),
            unknown_since: BTreeMap::new(),
        };
        let waits = Waits::default();
        let asking = waits.clone().ask(blobs, Arc::clone(&clock));
        let executing = Executing {
            node,
            driver,
            view,
            clock,
            waits,
            gives_up: gives_up_here,
            reports: Reports::new(node, Arc::clone(membership.announcements())),
            own_word: membership.own_word().clone(),
            disk_low_until: Duration::ZERO,
            led_since: BTreeMap::new(),
            transfers: BTreeMap::new(),
            published,
        };
        let tasks = [spawn("executor", executing.run()), spawn("leaving", leaving.run()), spawn("blob_waits", asking)];
        Self { gives_up, standing, tasks }
    }

    /// How every shard held here stands beside what is wanted.
    #[must_use]
    pub fn standing(&self) -> Vec<ShardStanding> {
        self.standing.borrow().shards.clone()
    }

    /// Moves every leadership to another voter, from now on until this is dropped, and waits until others lead them or
    /// the time is over. Shards that nobody else votes in stay. Call [`Membership::leave`] before, so that nobody moves
    /// them back; one that was on its way here moves on when it has come. Answers how many nobody else leads yet.
    pub async fn give_up_leads(&self, limit: Duration) -> usize {
        let mut standing = self.standing.clone();
        standing.mark_unchanged();
        self.gives_up.send_replace(true);
        let given_up = async {
            // The pass before may have been the first of all, and seen nothing.
            standing.changed().await.ok();
            standing.wait_for(|standing| standing.shared_leads == 0).await.map(drop).ok();
        };
        timeout(limit, given_up).await.ok();
        self.standing.borrow().shared_leads
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Executing {
    node: NodeId,
    driver: DriverHandle,
    view: watch::Receiver<Arc<View>>,
    clock: Arc<dyn Clock>,
    /// Shards led here whose voters do not change before others have their blobs.
    waits: Waits,
    gives_up: watch::Receiver<bool>,
    reports: Reports,
    own_word: OwnWord,
    /// Until when the disk counts as nearly full.
    disk_low_until: Duration,
    /// In which term this node leads, and since when.
    led_since: BTreeMap<ShardId, (Term, Duration)>,
    /// Leaderships on their way, and since when: until another leader is known.
    transfers: BTreeMap<ShardId, Duration>,
    published: watch::Sender<Standing>,
}

impl Executing {
    async fn run(mut self) {
        loop {
            let is_calm = self.pass().await;
            sleep(PASS_REST).await;
            if self.transfers.is_empty() && !*self.gives_up.borrow() {
                tokio::select! {
                    () = sleep(if is_calm { CALM_PASS_EVERY } else { PASS_EVERY }) => {}
                    Ok(()) = self.view.changed() => {}
                    Ok(()) = self.gives_up.changed() => {}
                }
            }
        }
    }

    /// Whether nothing moved and nothing is under way.
    async fn pass(&mut self) -> bool {
        let Some(details) = answer(|told| self.driver.inspect(told)).await else { return false };
        let view = Arc::clone(&self.view.borrow_and_update());
        let now = self.clock.monotonic();
        self.note_leads(&details, now);
        self.note_disk(now);
        self.reports.tell(&details, &view, &self.waits, now);
        let mut waits: BTreeMap<ShardId, Cow<'static, str>> = BTreeMap::new();
        let mut steps = vec![];
        let mut changes = 0;
        for detail in details.iter().filter(|detail| self.led_since.contains_key(&detail.shard)) {
            let (step, waits_for) = self.next(detail, &view, now);
            let is_free = match step {
                Step::Stay => true,
                Step::Change { .. } => changes < CHANGES_PER_PASS_MAX,
                Step::Transfer { .. } => self.transfers.len() < TRANSFERS_MAX,
            };
            waits.insert(detail.shard, if is_free { waits_for } else { "other shards, for few move at a time".into() });
            match step {
                Step::Change { voters, learners } if is_free => {
                    changes += 1;
                    steps.push((detail.shard, Step::Change { voters, learners }));
                }
                Step::Transfer { to } if is_free => {
                    self.transfers.insert(detail.shard, now);
                    steps.push((detail.shard, Step::Transfer { to }));
                }
                Step::Stay | Step::Change { .. } | Step::Transfer { .. } => {}
            }
        }
        let waits_for_blobs = self.waits.end_pass();
        let is_asleep = details.iter().all(|detail| detail.status.is_asleep);
        let is_calm = steps.is_empty() && !waits_for_blobs && is_asleep;
        let taken = join_all(steps.into_iter().map(|(shard, step)| take(&self.driver, shard, step))).await;
        for (shard, refusal) in taken.into_iter().filter_map(|(shard, taken)| Some((shard, taken.err()?))) {
            self.transfers.remove(&shard);
            waits.insert(shard, refusal.into());
        }
        self.publish(&details, &view, &waits);
        is_calm
    }

    /// Tells the others when they should lead in this node's place.
    fn note_disk(&mut self, now: Duration) {
        if self.driver.is_space_low() {
            self.disk_low_until = now.saturating_add(DISK_LOW_LINGERS);
        }
        self.own_word.disk_low(now < self.disk_low_until);
    }

    /// Notes which shards are led here, and forgets the transfers that worked or failed.
    fn note_leads(&mut self, details: &[ShardDetail], now: Duration) {
        let led: BTreeMap<ShardId, Term> = details.iter().filter_map(led).collect();
        self.led_since.retain(|shard, (term, _)| led.get(shard) == Some(term));
        for (shard, term) in led {
            self.led_since.entry(shard).or_insert((term, now));
        }
        let unled = |detail: &&ShardDetail| matches!(detail.status.role, Role::Follower { leader: None });
        let unled: BTreeSet<ShardId> = details.iter().filter(unled).map(|detail| detail.shard).collect();
        let led = &self.led_since;
        self.transfers.retain(|shard, began| {
            (led.contains_key(shard) || unled.contains(shard)) && now.saturating_sub(*began) < TRANSFER_MAX
        });
    }

    /// The next step and what the shard waits for.
    fn next(&self, detail: &ShardDetail, view: &View, now: Duration) -> (Step, Cow<'static, str>) {
        if self.transfers.contains_key(&detail.shard) {
            return (Step::Stay, "the new leader to take over".into());
        }
        let since = self.led_since.get(&detail.shard).map_or(now, |(_, since)| *since);
        let led = Led {
            this: self.node,
            detail,
            placement: step::placement(view, detail.shard),
            view,
            gives_up: *self.gives_up.borrow(),
            is_settled: now.saturating_sub(since) >= SETTLED_AFTER,
        };
        let (step, waits_for) = step::next(&led);
        let nodes = if let Step::Change { voters, .. } = &step { led.keepers(voters) } else { vec![] };
        if nodes.is_empty() {
            return (step, waits_for.into());
        }
        match self.waits.look(detail.shard, Question { nodes, index: detail.status.committed }, now) {
            Verdict::Free => (step, waits_for.into()),
            Verdict::Lacks { node, blobs } => (Step::Stay, format!("{blobs} blobs at {node}").into()),
            Verdict::Open => (Step::Stay, "word from those who are to hold it whether they have its blobs".into()),
        }
    }

    fn publish(&self, details: &[ShardDetail], view: &View, waits: &BTreeMap<ShardId, Cow<'static, str>>) {
        let standing =
            |detail: &ShardDetail| ShardStanding::new(self.node, detail, view, waits.get(&detail.shard).cloned());
        let is_shared = |detail: &&ShardDetail| {
            let is_led =
                matches!(detail.status.role, Role::Leader { .. }) || self.transfers.contains_key(&detail.shard);
            is_led && detail.members.voters.iter().any(|node| *node != self.node)
        };
        let shared_leads = details.iter().filter(is_shared).count();
        metrics::standing(details.len(), details.iter().map(step::lag).max().unwrap_or(0));
        metrics::missing_blobs(self.waits.missing_in_all());
        self.published.send_replace(Standing { shards: details.iter().map(standing).collect(), shared_leads });
    }
}

/// The term this node leads the shard in, if it does and is ready to.
fn led(detail: &ShardDetail) -> Option<(ShardId, Term)> {
    match detail.status.role {
        Role::Leader { term, ready: true } => Some((detail.shard, term)),
        Role::Leader { ready: false, .. } | Role::Follower { .. } => None,
    }
}

/// Takes a step; a refusal says what to wait for.
async fn take(driver: &DriverHandle, shard: ShardId, step: Step) -> (ShardId, Result<(), &'static str>) {
    let taken = match step {
        Step::Stay => Some(Ok(())),
        Step::Change { voters, learners } => {
            tracing::info!(%shard, ?voters, ?learners, "changing who holds a shard");
            metrics::step("change");
            answer(|told| driver.change(shard, voters, learners, told)).await
        }
        Step::Transfer { to } => {
            tracing::info!(%shard, to = to.0, "moving the leadership of a shard");
            metrics::step("transfer");
            answer(|told| driver.transfer(shard, to, told)).await
        }
    };
    let refusal = match taken {
        Some(Ok(())) => return (shard, Ok(())),
        Some(Err(refusal)) => {
            tracing::debug!(%shard, %refusal, "a step of a shard waits");
            match refusal {
                ChangeError::Busy { .. } => "an earlier change to take effect",
                ChangeError::Behind { .. } => "new replicas to catch up",
                ChangeError::NotLeader { .. } | ChangeError::NoSuchShard { .. } => "another leader",
                ChangeError::LeaderLeaves { .. } => "a wanted replica to lead",
            }
        }
        None => "the driver, which has much to do",
    };
    (shard, Err(refusal))
}
