//! When a schedule ticks: a cron expression read in a time zone.
//!
//! # Decisions
//! - An hour that the clocks skip, or go through twice, changes no tick of a schedule that names its hours: a local time
//!   that is skipped is taken at the end of the gap, one that comes twice is taken the first time. A schedule with `*` for
//!   the hours is a rate: it follows the time that passes, and so ticks in both passes. Local times alone would leave it
//!   silent for an hour.

use std::sync::LazyLock;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp as Moment};
use steward_cluster::clock::Timestamp;

/// Characters of an expression.
const EXPRESSION_CHARS_MAX: usize = 128;
/// Local times that are looked at for one tick: all those of a day that comes twice, and of the day before.
const LOCAL_TIMES_MAX: usize = 2 * 24 * 60;

/// The zones of the release. What a machine has installed would differ between nodes.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Rhythm {
    cron: Cron,
    zone: TimeZone,
    /// Every hour: it follows the time that passes.
    is_rate: bool,
}

/// Why there is no rhythm: which of the two is wrong, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct RhythmError {
    pub field: &'static str,
    pub rule: String,
}

impl Rhythm {
    /// Reads an expression of five fields, or a name such as `@daily`. An empty zone is UTC.
    pub fn parse(expression: &str, zone: &str) -> Result<Self, RhythmError> {
        let wrong = |rule: String| RhythmError { field: "expression", rule };
        if expression.chars().count() > EXPRESSION_CHARS_MAX {
            return Err(wrong(format!("must have at most {EXPRESSION_CHARS_MAX} characters")));
        }
        let fields = expression.split_whitespace().count();
        if fields != 5 && !(fields == 1 && expression.trim().starts_with('@')) {
            let five = "must have five fields (minute, hour, day of month, month, day of week) or be a name such as";
            return Err(wrong(format!("{five} @daily; it ticks once a minute at most")));
        }
        // The name of a restart is none of a time.
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| wrong(format!("must be a cron expression: {error}")))?;
        let is_rate = cron.as_str().split_whitespace().nth(1) == Some("*");
        let zone = if zone.is_empty() { TimeZone::UTC } else { Self::zone(zone)? };
        Ok(Self { cron, zone, is_rate })
    }

    fn zone(name: &str) -> Result<TimeZone, RhythmError> {
        let rule = "must be the IANA name of a time zone, such as Europe/Berlin; empty means UTC".to_owned();
        ZONES.get(name).map_err(|_| RhythmError { field: "time_zone", rule })
    }

    /// The name of the zone as the database writes it.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The first tick after a time; none when there is none in the time that can be told.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = Moment::from_millisecond(i64::try_from(after.0).ok()?).ok()?;
        let local = after.to_zoned(self.zone.clone());
        if self.is_rate {
            let tick = self.cron.find_next_occurrence(&local, false).ok()?;
            return timestamp(tick.timestamp());
        }
        let mut local = local.datetime();
        for _ in 0..LOCAL_TIMES_MAX {
            local = self.cron.find_next_occurrence(&local, false).ok()?;
            // In the second pass of an hour its local times have been taken already.
            let tick = self.moment_of(local)?;
            if tick > after {
                return timestamp(tick);
            }
        }
        None
    }

    /// A time as the clocks of the zone show it, with what it is ahead of UTC.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> String {
        let at = i64::try_from(at.0).ok().and_then(|ms| Moment::from_millisecond(ms).ok()).unwrap_or_default();
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// When the clocks show a time first, or skip it.
    fn moment_of(&self, local: DateTime) -> Option<Moment> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
            AmbiguousOffset::Gap { .. } => {
                // So far behind the gap as the local time is behind its beginning.
                let behind = ambiguous.later().ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
                let gap = self.zone.preceding(behind).next()?;
                Some(gap.timestamp())
            }
        }
    }
}

fn timestamp(moment: Moment) -> Option<Timestamp> {
    u64::try_from(moment.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
#[path = "rhythm_tests.rs"]
mod tests;
