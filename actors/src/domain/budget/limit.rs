//! The budgets an operator sets, and the periods they are for.

use jiff::tz::TimeZone;
use jiff::{Timestamp as Moment, ToSpan as _, Zoned};
use steward_cluster::clock::Timestamp;

use super::Unit;

/// The most that a budget may be: sums of it stay far from the end of the numbers.
pub const BUDGET_MAX: u64 = 1_000_000_000_000_000;
/// Characters of the name of a currency.
pub const CURRENCY_CHARS_MAX: usize = 16;

/// After what time a budget begins anew, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Never.
    Total,
    /// With each calendar month.
    Month,
    /// With each day.
    Day,
}

/// Every period.
pub const PERIODS: [Period; 3] = [Period::Total, Period::Month, Period::Day];

impl Period {
    /// The name clients know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Month => "month",
            Self::Day => "day",
        }
    }

    /// The period with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        PERIODS.into_iter().find(|period| period.as_str() == name)
    }

    /// When the one began that a time is in.
    #[must_use]
    pub fn start(self, at: Timestamp) -> Timestamp {
        let start = || {
            let date = zoned(at)?.date();
            let first = match self {
                Self::Total => return None,
                Self::Month => date.first_of_month(),
                Self::Day => date,
            };
            timestamp(&first.to_zoned(TimeZone::UTC).ok()?)
        };
        start().unwrap_or_default()
    }

    /// When the one ends that began then; none: it does not.
    #[must_use]
    pub fn end(self, start: Timestamp) -> Option<Timestamp> {
        let span = match self {
            Self::Total => return None,
            Self::Month => 1.month(),
            Self::Day => 1.day(),
        };
        timestamp(&zoned(start)?.checked_add(span).ok()?)
    }
}

fn zoned(at: Timestamp) -> Option<Zoned> {
    Some(Moment::from_millisecond(i64::try_from(at.0).ok()?).ok()?.to_zoned(TimeZone::UTC))
}

fn timestamp(zoned: &Zoned) -> Option<Timestamp> {
    u64::try_from(zoned.timestamp().as_millisecond()).ok().map(Timestamp)
}

/// How much may be used of a unit in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Budget {
    pub max: u64,
    pub period: Period,
}

/// The budgets of an account; of what has none, there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Budgets {
    /// What money is counted in; empty without a budget of money.
    pub currency: String,
    pub money: Option<Budget>,
    pub tokens: Option<Budget>,
    pub video: Option<Budget>,
}

impl Budgets {
    /// The budget of a unit.
    #[must_use]
    pub fn of(&self, unit: Unit) -> Option<Budget> {
        match unit {
            Unit::Money => self.money,
            Unit::Tokens => self.tokens,
            Unit::Video => self.video,
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.money.is_none() && self.tokens.is_none() && self.video.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_days_and_calendar_months_of_utc() {
        let at = |text: &str| Timestamp(u64::try_from(text.parse::<Moment>().unwrap().as_millisecond()).unwrap());
        let table = [
            (Period::Day, "2028-02-29T23:59:59.999Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2028-02-29T23:59:59.999Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Day, "2026-12-31T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
        ];
        for (period, moment, start, end) in table {
            assert_eq!(period.start(at(moment)), at(start), "{moment}");
            assert_eq!(period.end(at(start)), Some(at(end)), "{moment}");
        }
        assert_eq!(Period::Total.start(Timestamp(u64::MAX)), Timestamp(0));
        assert_eq!(Period::Total.end(Timestamp(0)), None);
        assert_eq!(Period::Day.start(Timestamp(u64::MAX)), Timestamp(0), "a time nobody can tell is in no period");
        assert_eq!(PERIODS.map(|period| Period::parse(period.as_str())), PERIODS.map(Some));
    }
}
