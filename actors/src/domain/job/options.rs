//! When a job runs, and how urgently: what its request says beside the work.

use steward_cluster::clock::Timestamp;

/// How urgent a job is: 1 to 5, and 1 comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Priority(u8);

/// Every priority, the most urgent first.
pub(crate) const PRIORITIES: [Priority; 5] = [Priority(1), Priority(2), Priority(3), Priority(4), Priority(5)];

impl Priority {
    /// What a job has that asks for none.
    pub const USUAL: Self = Self(3);

    /// The priority with this number.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        PRIORITIES.into_iter().find(|priority| priority.number() == number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        u32::from(self.0)
    }

    /// Its place among all, from 0 up.
    pub(crate) fn place(self) -> usize {
        usize::from(self.0).saturating_sub(1).min(PRIORITIES.len() - 1)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::USUAL
    }
}

/// What a request says about when its job runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct JobOptions {
    pub priority: Priority,
    /// None of its tasks starts before.
    pub start_at: Option<Timestamp>,
    /// It fails then, unless it has ended.
    pub deadline_at: Option<Timestamp>,
}

impl JobOptions {
    /// Whether nothing was asked for.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}
