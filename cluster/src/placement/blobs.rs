//! Holds a change of voters up until those who are to hold the shard have its blobs: what entries name and the log does
//! not hold. The executor asks before it takes such a step; a task of its own asks the nodes.
//!
//! # Invariants
//! - **B1 asked lately**: a change goes on only on answers younger than [`ANSWER_AGE_MAX`], each from a replica that had
//!   applied everything committed when it was asked.
//! - **B2 never for ever**: when no blob has come for [`STALLED_MAX`] the change goes on without, and says so: what no
//!   node has any more would keep every shard that names it where it is.
//!
//! # Decisions
//! - Counted anew at each question rather than kept up to date: only the few shards that move are asked about, and what a
//!   folder holds is believed by looking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::metrics;
use crate::clock::Clock;
use crate::ids::{LogIndex, NodeId, ShardId};

/// How often nodes are asked.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long a node may take to look through a large shard.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// An answer that is older says nothing.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(1);
/// A change waits for so long without a blob having come; a recording of the largest kind takes this over a slow network.
const STALLED_MAX: Duration = Duration::from_secs(5 * 60);

/// Knows which blobs are where. Implemented by `node/`, over the connections between nodes.
pub trait BlobCount: Send + Sync + 'static {
    /// How many blobs that the shard names a node lacks. None when it does not say, or its replica has not applied the
    /// entry at `index`.
    fn missing(&self, node: NodeId, shard: ShardId, index: LogIndex) -> BoxFuture<'_, Option<u64>>;
}

/// What is asked of some nodes about one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// Those that are to have the blobs.
    pub(super) nodes: Vec<NodeId>,
    /// They must have applied this entry.
    pub(super) index: LogIndex,
}

/// What each node said: how many it lacks, or nothing.
pub(super) type Answers = BTreeMap<NodeId, Option<u64>>;

/// Whether a change may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Free,
    /// A node lacks some.
    Lacks {
        node: NodeId,
        blobs: u64,
    },
    /// Somebody has not said.
    Open,
}

/// One shard that waits.
struct Wait {
    question: Question,
    answers: Answers,
    answered: Option<Duration>,
    /// The fewest blobs that were missing, and since when.
    fewest: Option<u64>,
    since: Duration,
    is_given_up: bool,
    /// In this pass.
    is_looked_at: bool,
}

/// The shards that wait for blobs. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Waits(Arc<Mutex<BTreeMap<ShardId, Wait>>>);

impl Wait {
    fn new(question: Question, now: Duration) -> Self {
        let answers = Answers::new();
        Self { question, answers, answered: None, fewest: None, since: now, is_given_up: false, is_looked_at: true }
    }

    fn hear(&mut self, answers: Answers, now: Duration) {
        let missing: Option<u64> = answers.values().copied().sum();
        if missing.is_some_and(|missing| self.fewest.is_none_or(|fewest| missing < fewest)) {
            (self.fewest, self.since) = (missing, now);
        }
        (self.answers, self.answered) = (answers, Some(now));
    }

    fn verdict(&self, now: Duration) -> Verdict {
        if self.is_given_up {
            return Verdict::Free;
        }
        let lacks = self.answers.iter().find_map(|(node, missing)| Some((*node, missing.filter(|count| *count > 0)?)));
        if let Some((node, blobs)) = lacks {
            return Verdict::Lacks { node, blobs };
        }
        let is_fresh = self.answered.is_some_and(|at| now.saturating_sub(at) <= ANSWER_AGE_MAX);
        let all = |node: &NodeId| self.answers.get(node).is_some_and(Option::is_some);
        if is_fresh && self.question.nodes.iter().all(all) { Verdict::Free } else { Verdict::Open }
    }
}

impl Waits {
    /// Whether a change of the shard may go on by what is known; from now on its nodes are asked.
    pub(super) fn look(&self, shard: ShardId, question: Question, now: Duration) -> Verdict {
        let mut waits = self.0.lock();
        let wait = waits.entry(shard).or_insert_with(|| Wait::new(question.clone(), now));
        if wait.question.nodes != question.nodes {
            *wait = Wait::new(question.clone(), now);
        }
        (wait.question, wait.is_looked_at) = (question, true);
        if !wait.is_given_up && now.saturating_sub(wait.since) >= STALLED_MAX {
            wait.is_given_up = true;
            metrics::moved_without_blobs();
            tracing::error!(%shard, missing = ?wait.answers, "a shard changes its voters although blobs are missing: none came");
        }
        wait.verdict(now)
    }

    /// A pass is over: forgets the shards that were not looked at in it, for they wait for nothing any more. Whether any
    /// waits.
    pub(super) fn end_pass(&self) -> bool {
        let mut waits = self.0.lock();
        waits.retain(|_, wait| std::mem::take(&mut wait.is_looked_at));
        !waits.is_empty()
    }

    /// Who lacks how many blobs of a shard that waits.
    pub(super) fn missing(&self, shard: ShardId) -> BTreeMap<NodeId, u64> {
        let waits = self.0.lock();
        let answers = waits.get(&shard).into_iter().flat_map(|wait| &wait.answers);
        answers.filter_map(|(node, missing)| Some((*node, missing.filter(|count| *count > 0)?))).collect()
    }

    /// How many blobs all shards together wait for.
    pub(super) fn missing_in_all(&self) -> u64 {
        self.0.lock().values().flat_map(|wait| wait.answers.values().flatten()).sum()
    }

    /// Asks for ever.
    pub(super) async fn ask(self, blobs: Arc<dyn BlobCount>, clock: Arc<dyn Clock>) {
        loop {
            sleep(ASK_EVERY).await;
            let questions: Vec<(ShardId, Question)> =
                self.0.lock().iter().map(|(shard, wait)| (*shard, wait.question.clone())).collect();
            let asked = questions.into_iter().map(async |(shard, question)| {
                let began = clock.monotonic();
                let asked = question.nodes.iter().map(async |node| {
                    let missing = timeout(ANSWER_MAX, blobs.missing(*node, shard, question.index)).await;
                    (*node, missing.ok().flatten())
                });
                let answers: Answers = join_all(asked).await.into_iter().collect();
                if let Some(wait) = self.0.lock().get_mut(&shard)
                    && wait.question.nodes == question.nodes
                {
                    wait.hear(answers, began);
                }
            });
            join_all(asked).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn question(nodes: &[u64]) -> Question {
        Question { nodes: nodes.iter().copied().map(NodeId).collect(), index: LogIndex(7) }
    }

    fn hear(waits: &Waits, answers: &[(u64, Option<u64>)], now: Duration) {
        let answers = answers.iter().map(|(node, missing)| (NodeId(*node), *missing)).collect();
        waits.0.lock().get_mut(&SHARD).unwrap().hear(answers, now);
    }

    fn look(waits: &Waits, now: Duration) -> Verdict {
        waits.look(SHARD, question(&[1, 2]), now)
    }

    #[test]
    fn a_change_goes_on_when_everybody_said_lately_that_nothing_is_missing() {
        let waits = Waits::default();
        assert_eq!(look(&waits, at(0)), Verdict::Open, "nobody was asked");
        hear(&waits, &[(1, Some(0)), (2, None)], at(1));
        assert_eq!(look(&waits, at(1)), Verdict::Open, "one did not say");
        hear(&waits, &[(1, Some(0)), (2, Some(3))], at(2));
        assert_eq!(look(&waits, at(2)), Verdict::Lacks { node: NodeId(2), blobs: 3 });
        assert_eq!((waits.missing(SHARD), waits.missing_in_all()), ([(NodeId(2), 3)].into(), 3));
        hear(&waits, &[(1, Some(0)), (2, Some(0))], at(3));
        assert_eq!(look(&waits, at(3)), Verdict::Free);
        assert_eq!(look(&waits, at(5)), Verdict::Open, "much may have been named since");
        let others = waits.look(SHARD, question(&[1, 3]), at(3));
        assert_eq!(others, Verdict::Open, "others are to hold it now");
        hear(&waits, &[(1, Some(1))], at(3));
        assert!(waits.end_pass());
        assert_eq!(waits.missing_in_all(), 1);
        assert!(!waits.end_pass());
        assert_eq!(waits.missing_in_all(), 0, "it waits no more");
    }

    #[test]
    fn what_nobody_has_holds_a_change_up_for_a_while_only() {
        let waits = Waits::default();
        look(&waits, at(0));
        let limit = STALLED_MAX.as_secs();
        hear(&waits, &[(1, Some(2)), (2, Some(0))], at(1));
        hear(&waits, &[(1, Some(1)), (2, Some(0))], at(limit));
        assert_eq!(look(&waits, at(2 * limit - 1)), Verdict::Lacks { node: NodeId(1), blobs: 1 }, "one came meanwhile");
        hear(&waits, &[(1, Some(1)), (2, Some(0))], at(2 * limit - 1));
        assert_eq!(look(&waits, at(2 * limit)), Verdict::Free);
        assert_eq!(look(&waits, at(2 * limit + 1)), Verdict::Free, "it was given up");
    }
}
