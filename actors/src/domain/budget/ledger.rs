//! What is spent of budgets in their periods, and whether more fits.

use std::fmt;

use steward_cluster::clock::Timestamp;

use super::{Amounts, Budget, Budgets, UNITS, Unit};

/// Hundredths of a budget at which its owner is told.
const TOLD_AT: [u32; 2] = [80, 100];

/// What is spent of one budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// When the period began that it is about.
    pub start: Timestamp,
    pub spent: u64,
    /// What the owner was told last in this period, in hundredths.
    pub told_percent: u32,
}

/// What is spent of each budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ledger {
    pub money: Line,
    pub tokens: Line,
    pub video: Line,
}

impl Ledger {
    fn of(&self, unit: Unit) -> Line {
        match unit {
            Unit::Money => self.money,
            Unit::Tokens => self.tokens,
            Unit::Video => self.video,
        }
    }

    fn set(&mut self, unit: Unit, line: Line) {
        match unit {
            Unit::Money => self.money = line,
            Unit::Tokens => self.tokens = line,
            Unit::Video => self.video = line,
        }
    }
}

/// So much of a budget is spent that its owner is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    pub unit: Unit,
    pub percent: u32,
    pub spent: u64,
    pub max: u64,
    /// When it begins anew; none: never.
    pub until: Option<Timestamp>,
}

/// A budget that leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Short {
    pub unit: Unit,
    pub max: u64,
    pub spent: u64,
    pub reserved: u64,
    pub needs: u64,
    /// When the next period begins; none: there is none, or it leaves no room either.
    pub opens_at: Option<Timestamp>,
}

impl Short {
    /// Whether it would not even fit into the whole budget.
    #[must_use]
    pub fn is_for_ever(&self) -> bool {
        self.needs > self.max
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, max, spent, reserved, needs, opens_at } = self;
        let unit = unit.as_str();
        write!(
            f,
            "the account's budget of {max} {unit} has {spent} spent and {reserved} reserved; about {needs} are needed"
        )?;
        match (self.is_for_ever(), opens_at) {
            (true, _) => f.write_str(", more than the whole budget: the operator can raise it"),
            (false, Some(_)) => f.write_str(": the next period opens it, or the operator raises it"),
            (false, None) => {
                f.write_str(": an attempt that uses less than it reserved opens it, or the operator raises it")
            }
        }
    }
}

/// The budgets of an account and what is spent of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Purse {
    pub budgets: Budgets,
    pub ledger: Ledger,
}

impl Purse {
    /// What is spent of a unit in the period of a time. A clock that is put back brings no period back in which something
    /// was spent.
    #[must_use]
    pub fn line(&self, unit: Unit, now: Timestamp) -> Option<(Budget, Line)> {
        let (budget, line) = (self.budgets.of(unit)?, self.ledger.of(unit));
        let start = budget.period.start(now);
        Some((budget, if start > line.start { Line { start, ..Line::default() } } else { line }))
    }

    /// The part of an amount that is of budgets there are.
    #[must_use]
    pub fn counted(&self, amounts: Amounts) -> Amounts {
        let of = |unit: Unit| if self.budgets.of(unit).is_some() { amounts.of(unit) } else { 0 };
        Amounts { money_micros: of(Unit::Money), tokens: of(Unit::Tokens), video_ms: of(Unit::Video) }
    }

    /// The first budget that has no room for so much more, if there is one.
    #[must_use]
    pub fn short(&self, reserved: Amounts, needs: Amounts, now: Timestamp) -> Option<Short> {
        UNITS.into_iter().find_map(|unit| {
            let (budget, line) = self.line(unit, now)?;
            let (reserved, needs) = (reserved.of(unit), needs.of(unit));
            let taken = line.spent.saturating_add(reserved).saturating_add(needs);
            // What needs nothing of a unit does not wait for it.
            let opens_at = budget.period.end(line.start).filter(|_| needs <= budget.max);
            let short = Short { unit, max: budget.max, spent: line.spent, reserved, needs, opens_at };
            (needs > 0 && taken > budget.max).then_some(short)
        })
    }

    /// The first budget that could never hold so much, if there is one.
    #[must_use]
    pub fn never(&self, needs: Amounts, now: Timestamp) -> Option<Short> {
        self.short(Amounts::NONE, needs, now).filter(Short::is_for_ever)
    }

    /// The ledger after a use, and what its owner is to be told.
    #[must_use]
    pub fn spend(&self, used: Amounts, now: Timestamp) -> (Ledger, Vec<Reached>) {
        let (mut ledger, mut told) = (self.ledger, vec![]);
        for unit in UNITS {
            let Some((budget, mut line)) = self.line(unit, now) else { continue };
            line.spent = line.spent.saturating_add(used.of(unit));
            let percent = reached(budget, line.spent);
            if percent > line.told_percent {
                let until = budget.period.end(line.start);
                told.push(Reached { unit, percent, spent: line.spent, max: budget.max, until });
                line.told_percent = percent;
            }
            ledger.set(unit, line);
        }
        (ledger, told)
    }

    /// The ledger when budgets are set anew: what is spent counts on while the period stays the same.
    #[must_use]
    pub fn reset(&self, budgets: &Budgets, now: Timestamp) -> Ledger {
        let mut ledger = Ledger::default();
        for unit in UNITS {
            let Some(budget) = budgets.of(unit) else { continue };
            let goes_on = self.line(unit, now).filter(|(before, _)| before.period == budget.period);
            let line = goes_on.map_or(Line { start: budget.period.start(now), ..Line::default() }, |(_, line)| line);
            ledger.set(unit, Line { told_percent: reached(budget, line.spent), ..line });
        }
        ledger
    }
}

/// The highest step that is reached, 0 below all.
fn reached(budget: Budget, spent: u64) -> u32 {
    let is_reached = |percent: &u32| u128::from(spent) * 100 >= u128::from(budget.max) * u128::from(*percent);
    TOLD_AT.into_iter().filter(is_reached).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Period;
    use super::*;

    const DAY_MS: u64 = 24 * 3_600 * 1_000;

    fn purse(max: u64, period: Period) -> Purse {
        let budgets = Budgets { tokens: Some(Budget { max, period }), ..Budgets::default() };
        Purse { budgets, ledger: Ledger::default() }
    }

    fn tokens(tokens: u64) -> Amounts {
        Amounts { tokens, ..Amounts::NONE }
    }

    #[test]
    fn a_day_begins_anew_and_a_clock_that_is_put_back_brings_none_back() {
        let (noon, next) = (Timestamp(DAY_MS / 2), Timestamp(DAY_MS + 1));
        let mut purse = purse(100, Period::Day);
        purse.ledger = purse.spend(tokens(90), noon).0;
        let short = purse.short(tokens(5), tokens(6), noon).unwrap();
        assert_eq!((short.spent, short.reserved, short.opens_at), (90, 5, Some(Timestamp(DAY_MS))));
        assert_eq!(purse.short(tokens(5), tokens(5), noon), None, "it just fits");
        assert_eq!(purse.short(tokens(5), tokens(95), next), None);
        assert_eq!(purse.short(Amounts::NONE, tokens(101), next).unwrap().opens_at, None, "no period will do");
        purse.ledger = purse.spend(tokens(10), next).0;
        assert_eq!(purse.line(Unit::Tokens, noon).unwrap().1.spent, 10);
        assert_eq!(purse.short(Amounts::NONE, Amounts { money_micros: 9, ..Amounts::NONE }, noon), None);
    }

    #[test]
    fn the_owner_is_told_once_at_each_step_of_a_period() {
        let mut purse = purse(100, Period::Day);
        let mut steps = |used, at| {
            let (ledger, told) = purse.spend(tokens(used), Timestamp(at));
            purse.ledger = ledger;
            told.into_iter().map(|reached| (reached.percent, reached.spent)).collect::<Vec<_>>()
        };
        assert_eq!([steps(79, 1), steps(1, 1), steps(5, 1)], [vec![], vec![(80, 80)], vec![]]);
        assert_eq!([steps(30, 1), steps(9, 1)], [vec![(100, 115)], vec![]]);
        assert_eq!([steps(10, DAY_MS), steps(90, DAY_MS)], [vec![], vec![(100, 100)]]);
    }

    #[test]
    fn what_is_spent_counts_on_while_the_period_stays_the_same() {
        let now = Timestamp(5 * DAY_MS + 1);
        let mut before = purse(100, Period::Day);
        before.ledger = before.spend(tokens(85), now).0;
        let raised = before.reset(&purse(1_000, Period::Day).budgets, now);
        assert_eq!((raised.tokens.spent, raised.tokens.told_percent), (85, 0));
        let lowered = before.reset(&purse(50, Period::Day).budgets, now);
        assert_eq!((lowered.tokens.spent, lowered.tokens.told_percent), (85, 100));
        assert_eq!(before.reset(&purse(50, Period::Total).budgets, now).tokens.spent, 0);
        assert_eq!(before.reset(&Budgets::default(), now), Ledger::default());
    }
}
