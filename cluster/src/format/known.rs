//! The formats this binary knows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Format(pub u16);

impl Format {
    /// What every shard begins with.
    pub const FIRST: Self = Self(1);
    /// Check entries, at which replicas are compared. Who does not know them would come to another hash.
    pub const CHECKS: Self = Self(2);
    /// What became of sources and endpoints after they were made, and deliveries that overtake each other.
    pub const WEBHOOKS: Self = Self(3);
    /// Jobs that wait for a time, have a priority or a deadline, are paused, and are restarted.
    pub const JOBS: Self = Self(4);
    /// Tasks in parts, schedules, and uploads.
    pub const WORK: Self = Self(5);
    /// Budgets, quotas of providers, and blobs that go.
    pub const BUDGETS: Self = Self(6);
    /// The highest one this binary knows. With the feature `previous` it is one less: tests take that build for the
    /// release before this one.
    pub const NEWEST: Self = if cfg!(feature = "previous") { Self::WORK } else { Self::BUDGETS };
}

impl Default for Format {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "format {}", self.0)
    }
}
