//! A schedule and what happens to it.

use serde_json::Value;
use steward_cluster::clock::Timestamp;

use crate::domain::ids::{AccountId, JobId, ScheduleId};
use crate::domain::job::{JobKind, Priority};

/// What becomes of ticks that were missed: the node was down, the cluster had no leader, or the schedule was paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Each makes a job, as far as the limit goes.
    All,
    /// The last one makes a job.
    Latest,
    None,
}

/// What a tick does while the job of the one before is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    Allow,
    Skip,
}

/// What was asked of a schedule.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ScheduleSettings {
    /// Five fields of cron.
    pub expression: String,
    /// IANA name.
    pub time_zone: String,
    pub job: JobKind,
    pub input: Value,
    pub priority: Priority,
    /// A job fails so long after its tick was taken, unless it has ended; 0: never.
    pub within_ms: u64,
    pub missed: Missed,
    pub overlap: Overlap,
    /// Ticks are taken at a fixed place in this time behind them.
    pub smoothing_ms: u64,
}

impl ScheduleSettings {
    /// How long behind each tick it is taken.
    #[must_use]
    pub fn offset_ms(&self, account: &AccountId, schedule: &ScheduleId) -> u64 {
        smoothing_offset_ms(account, schedule, self.smoothing_ms)
    }
}

/// The place of a schedule in its window: it follows from the names alone, so that schedules with one expression are
/// spread and each keeps its rhythm. The first eight bytes of BLAKE3 of `account · 0 · schedule`, big-endian, modulo the
/// window.
#[must_use]
pub fn smoothing_offset_ms(account: &AccountId, schedule: &ScheduleId, smoothing_ms: u64) -> u64 {
    let name = [account.as_str(), "\0", schedule.as_str()].concat();
    let hash = blake3::hash(name.as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk::<8>().expect("a hash has 32 bytes");
    u64::from_be_bytes(*first).checked_rem(smoothing_ms).unwrap_or_default()
}

/// A tick, and when it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Planned {
    pub tick: Timestamp,
    pub due: Timestamp,
}

/// A tick that made a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub tick: Timestamp,
    pub job: JobId,
}

/// Why ticks made no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// They were missed, and the policy or the limit leaves them out.
    Missed,
    /// The job of the tick before was open.
    Overlap,
    /// The account had as many open jobs as it may.
    OpenJobs,
    /// This release does not know the time zone.
    Unreadable,
}

/// Every reason.
pub(crate) const SKIP_REASONS: [SkipReason; 4] =
    [SkipReason::Missed, SkipReason::Overlap, SkipReason::OpenJobs, SkipReason::Unreadable];

impl SkipReason {
    /// The name that clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Overlap => "overlap",
            Self::OpenJobs => "open_jobs",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Ticks that made no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub reason: SkipReason,
    /// At most [`SKIPPED_COUNTED_MAX`](crate::domain::account::limits::SKIPPED_COUNTED_MAX), and more are not counted.
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
}

/// What became of the ticks that were due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Their jobs are requested by the events that follow, in this order.
    pub taken: Vec<Taken>,
    pub skipped: Vec<Skipped>,
    pub next: Option<Planned>,
}

/// What happened to a schedule.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleChange {
    Created { settings: ScheduleSettings, next: Option<Planned> },
    Updated { settings: ScheduleSettings, next: Option<Planned> },
    Paused,
    Resumed { next: Option<Planned> },
    Deleted,
    Ticked(Ticked),
}

impl ScheduleChange {
    /// When the schedule is next due, after it.
    pub(crate) fn next(&self) -> Option<Planned> {
        match self {
            Self::Created { next, .. } | Self::Updated { next, .. } | Self::Resumed { next } => *next,
            Self::Ticked(ticked) => ticked.next,
            Self::Paused | Self::Deleted => None,
        }
    }
}

/// Makes a job at each of its ticks.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    pub settings: ScheduleSettings,
    pub created_at: Timestamp,
    pub is_paused: bool,
    /// The first tick that is not decided yet.
    pub next: Option<Planned>,
    /// The last tick that made a job, and the job.
    pub last_tick: Option<Timestamp>,
    pub last_job: Option<JobId>,
    /// Ticks that made a job, and that made none, since it was created.
    pub taken: u64,
    pub skipped: u64,
}

impl Schedule {
    /// Applies a change; none when the schedule is gone.
    pub(crate) fn changed(before: Option<Self>, at: Timestamp, change: &ScheduleChange) -> Option<Self> {
        if let ScheduleChange::Created { settings, next } = change {
            return Some(Self {
                settings: settings.clone(),
                created_at: at,
                is_paused: false,
                next: *next,
                last_tick: None,
                last_job: None,
                taken: 0,
                skipped: 0,
            });
        }
        let mut schedule = before?;
        match change {
            ScheduleChange::Created { .. } => {}
            ScheduleChange::Updated { settings, next } => {
                schedule.settings.clone_from(settings);
                schedule.next = *next;
            }
            ScheduleChange::Paused => schedule.is_paused = true,
            ScheduleChange::Resumed { .. } => schedule.is_paused = false,
            ScheduleChange::Deleted => return None,
            ScheduleChange::Ticked(ticked) => schedule.ticked(ticked),
        }
        Some(schedule)
    }

    fn ticked(&mut self, ticked: &Ticked) {
        self.next = ticked.next;
        if let Some(last) = ticked.taken.last() {
            self.last_tick = Some(last.tick);
            self.last_job = Some(last.job.clone());
        }
        self.taken += u64::try_from(ticked.taken.len()).expect("ticks of a decision are few");
        self.skipped += ticked.skipped.iter().map(|skipped| skipped.count).sum::<u64>();
    }
}
