//! How much work an account may have, and how much of it runs at a time, beside that of others.

use std::collections::BTreeMap;

use super::TaskKind;

/// The most turns an account gets where another gets one.
pub const WEIGHT_MAX: u32 = 100;
/// The highest number of tasks that a limit may allow.
pub const RUNNING_MAX_MAX: u32 = 100_000;
/// Open jobs of an account that was given no limit of its own.
pub const OPEN_JOBS_MAX: u32 = 1_000;
/// The highest number of open jobs that a limit may allow: whoever leads the account has them all in memory.
pub const OPEN_JOBS_MAX_MAX: u32 = 10_000;

/// What the operator sets for an account. A node that leads it keeps to them wherever its tasks run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TaskLimits {
    /// Tasks it gets in a turn, at least one.
    pub weight: u32,
    /// Its tasks that run at a time; none: no limit.
    pub running_max: Option<u32>,
    /// The same for single kinds.
    pub running_max_by_kind: BTreeMap<TaskKind, u32>,
    /// Its jobs that have not ended; none: [`OPEN_JOBS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_jobs_max: Option<u32>,
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self { weight: 1, running_max: None, running_max_by_kind: BTreeMap::new(), open_jobs_max: None }
    }
}

impl TaskLimits {
    /// Whether nothing was set.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Whether any number of its tasks may run at a time.
    #[must_use]
    pub fn runs_freely(&self) -> bool {
        self.running_max.is_none() && self.running_max_by_kind.is_empty()
    }

    /// Jobs that may be open.
    #[must_use]
    pub fn open_jobs(&self) -> usize {
        usize::try_from(self.open_jobs_max.unwrap_or(OPEN_JOBS_MAX)).unwrap_or(usize::MAX)
    }

    /// The kind whose limit a task counts for: pieces of a recording count for `normalize`, whose work they are, unless they
    /// have a limit of their own.
    #[must_use]
    pub fn counted_as(&self, kind: TaskKind) -> TaskKind {
        if kind.is_piece() && !self.running_max_by_kind.contains_key(&kind) { TaskKind::Normalize } else { kind }
    }

    /// The limit that is reached for one more task of a kind, with so many of the account and of the kind running.
    #[must_use]
    pub fn reached(&self, kind: TaskKind, running: usize, running_of_kind: usize) -> Option<Reached> {
        let is_reached = |max: u32, running: usize| u32::try_from(running).is_ok_and(|running| running >= max);
        if let Some(max) = self.running_max.filter(|max| is_reached(*max, running)) {
            return Some(Reached { kind: None, max });
        }
        let of_kind = self.running_max_by_kind.get(&kind).filter(|max| is_reached(**max, running_of_kind));
        of_kind.map(|max| Reached { kind: Some(kind), max: *max })
    }
}

/// A limit that leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// None: of all kinds together.
    pub kind: Option<TaskKind>,
    pub max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_all_and_that_of_a_kind_both_count() {
        let by_kind = BTreeMap::from([(TaskKind::Normalize, 1)]);
        let limits = TaskLimits { running_max: Some(3), running_max_by_kind: by_kind, ..TaskLimits::default() };
        let reached = |kind, running, of_kind| limits.reached(kind, running, of_kind).map(|reached| reached.max);
        assert_eq!(limits.counted_as(TaskKind::Sound), TaskKind::Normalize, "a piece is the work of `normalize`");
        assert_eq!(limits.counted_as(TaskKind::Fetch), TaskKind::Fetch);
        let own = TaskLimits { running_max_by_kind: BTreeMap::from([(TaskKind::Encode, 3)]), ..limits.clone() };
        assert_eq!(own.counted_as(TaskKind::Encode), TaskKind::Encode);
        assert_eq!(reached(TaskKind::Normalize, 0, 0), None);
        assert_eq!(reached(TaskKind::Normalize, 1, 1), Some(1));
        assert_eq!(reached(TaskKind::Fetch, 2, 2), None);
        assert_eq!(reached(TaskKind::Fetch, 3, 0), Some(3));
        assert_eq!(TaskLimits::default().reached(TaskKind::Fetch, usize::MAX, usize::MAX), None);
    }
}
