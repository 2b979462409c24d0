//! Which other nodes have tasks to spare, as they said themselves. The service between nodes notes it, the puller acts on it.
//!
//! # Invariants
//! - **H1 soft**: a hint is no promise. It may be lost, since the node that has tasks says it again and again; it may be
//!   old, since it is forgotten after [`HINT_VALID`] or when the node had nothing after all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steward_cluster::clock::Clock;
use steward_cluster::ids::NodeId;
use tokio::sync::Notify;

use crate::domain::task::{TaskClass, TaskKind};

/// How long a hint counts: several announcements may be lost meanwhile.
const HINT_VALID: Duration = Duration::from_secs(5);
/// Nodes whose hints are kept; more of them have no room and say it again.
const HINTS_MAX: usize = 64;

struct Hint {
    node: NodeId,
    kinds: Vec<TaskKind>,
    heard_at: Duration,
}

/// Who has tasks to spare. Nodes are asked in turn.
pub struct Hints {
    clock: Arc<dyn Clock>,
    said: Mutex<VecDeque<Hint>>,
    news: Notify,
}

impl Hints {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, said: Mutex::default(), news: Notify::new() }
    }

    /// A node says that tasks of these kinds wait there without a slot.
    pub fn heard(&self, node: NodeId, kinds: Vec<TaskKind>) {
        let heard_at = self.clock.monotonic();
        let mut said = self.said.lock();
        if let Some(hint) = said.iter_mut().find(|hint| hint.node == node) {
            (hint.kinds, hint.heard_at) = (kinds, heard_at);
        } else if said.len() < HINTS_MAX {
            said.push_back(Hint { node, kinds, heard_at });
        }
        drop(said);
        self.look();
    }

    /// A slot may have become free.
    pub(super) fn look(&self) {
        self.news.notify_one();
    }

    /// Waits until somebody has something to spare, or a slot may be free for it.
    pub(super) async fn worth_a_look(&self) {
        self.news.notified().await;
    }

    /// The next node that has tasks of one of these kinds.
    pub(super) fn next(&self, kinds: &[TaskKind]) -> Option<NodeId> {
        let now = self.clock.monotonic();
        let mut said = self.said.lock();
        said.retain(|hint| now.saturating_sub(hint.heard_at) < HINT_VALID);
        let place = said.iter().position(|hint| hint.kinds.iter().any(|kind| kinds.contains(kind)))?;
        let hint = said.remove(place)?;
        let node = hint.node;
        said.push_back(hint);
        Some(node)
    }

    /// A node had no task of this class after all.
    pub(super) fn forget(&self, node: NodeId, class: TaskClass) {
        for hint in self.said.lock().iter_mut().filter(|hint| hint.node == node) {
            hint.kinds.retain(|kind| kind.class() != class);
        }
    }
}

#[cfg(test)]
mod tests {
    use steward_cluster::clock::{ManualClock, Timestamp};

    use super::*;

    const CPU: [TaskKind; 2] = [TaskKind::Normalize, TaskKind::Chat];

    fn hints() -> (Hints, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp(1)));
        (Hints::new(clock.clone()), clock)
    }

    #[test]
    fn nodes_are_asked_in_turn_for_what_they_have() {
        let (hints, _) = hints();
        hints.heard(NodeId(1), vec![TaskKind::Normalize]);
        hints.heard(NodeId(2), vec![TaskKind::Fetch]);
        hints.heard(NodeId(3), vec![TaskKind::Fetch, TaskKind::Chat]);
        assert_eq!([0; 3].map(|_| hints.next(&CPU).unwrap().0), [1, 3, 1]);
        hints.forget(NodeId(1), TaskClass::Cpu);
        assert_eq!([0; 2].map(|_| hints.next(&CPU).unwrap().0), [3, 3]);
        hints.forget(NodeId(3), TaskClass::Cpu);
        assert_eq!(hints.next(&CPU), None);
        assert!(hints.next(&[TaskKind::Fetch]).is_some(), "the other class is another matter");
        hints.heard(NodeId(1), vec![TaskKind::Chat]);
        assert_eq!(hints.next(&CPU), Some(NodeId(1)), "it says it again");
    }

    #[test]
    fn a_hint_that_is_not_repeated_is_forgotten() {
        let (hints, clock) = hints();
        hints.heard(NodeId(1), CPU.to_vec());
        hints.heard(NodeId(2), CPU.to_vec());
        clock.advance(Duration::from_secs(4));
        hints.heard(NodeId(2), CPU.to_vec());
        clock.advance(Duration::from_secs(1));
        assert_eq!([0; 2].map(|_| hints.next(&CPU).unwrap().0), [2, 2]);
        clock.advance(Duration::from_secs(4));
        assert_eq!(hints.next(&CPU), None);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let (hints, _) = hints();
        (1..=100).for_each(|node| hints.heard(NodeId(node), CPU.to_vec()));
        assert_eq!(hints.said.lock().len(), HINTS_MAX);
    }
}
