//! Budgets and what is spent of them, to their stored form and back, and as subscribers see them.

use serde_json::{Value, json};
use steward_cluster::clock::Timestamp;
use steward_proto::record::v1 as wire;
use steward_proto::record::v1::budget_changed::Change;

use super::decode::{DecodeError, field, time};
use super::encode::ms;
use crate::domain::budget::{
    Amounts, Budget, BudgetChange, Budgets, Ledger, Line, PERIODS, Period, Reached, UNITS, Unit,
};

/// A change as it is stored.
pub(super) fn encode(change: &BudgetChange) -> wire::BudgetChanged {
    let change = match change {
        BudgetChange::Set(budgets) => Change::Set(wire::BudgetsSet {
            currency: budgets.currency.clone(),
            money: budgets.money.map(encode_budget),
            tokens: budgets.tokens.map(encode_budget),
            video: budgets.video.map(encode_budget),
        }),
        BudgetChange::Reached(reached) => Change::Reached(wire::BudgetReached {
            unit: number_of_unit(reached.unit),
            percent: reached.percent,
            spent: reached.spent,
            max: reached.max,
            until_ms: ms(reached.until),
        }),
    };
    wire::BudgetChanged { change: Some(change) }
}

/// A change from its stored form.
pub(super) fn decode(change: Change) -> Result<BudgetChange, DecodeError> {
    Ok(match change {
        Change::Set(e) => BudgetChange::Set(Budgets {
            currency: e.currency,
            money: e.money.map(|budget| decode_budget(&budget)).transpose()?,
            tokens: e.tokens.map(|budget| decode_budget(&budget)).transpose()?,
            video: e.video.map(|budget| decode_budget(&budget)).transpose()?,
        }),
        Change::Reached(e) => {
            let unit = UNITS.into_iter().find(|unit| number_of_unit(*unit) == e.unit);
            let unit = unit.ok_or_else(|| field("unit", &e.unit.to_string()))?;
            let (percent, spent, max) = (e.percent, e.spent, e.max);
            BudgetChange::Reached(Reached { unit, percent, spent, max, until: time(e.until_ms) })
        }
    })
}

fn encode_budget(budget: Budget) -> wire::Budget {
    wire::Budget { max: budget.max, period: number_of_period(budget.period) }
}

fn decode_budget(e: &wire::Budget) -> Result<Budget, DecodeError> {
    let period = PERIODS.into_iter().find(|period| number_of_period(*period) == e.period);
    Ok(Budget { max: e.max, period: period.ok_or_else(|| field("period", &e.period.to_string()))? })
}

fn number_of_period(period: Period) -> u32 {
    match period {
        Period::Total => 1,
        Period::Month => 2,
        Period::Day => 3,
    }
}

fn number_of_unit(unit: Unit) -> u32 {
    match unit {
        Unit::Money => 1,
        Unit::Tokens => 2,
        Unit::Video => 3,
    }
}

/// Amounts as they are stored; nothing has no bytes.
pub(super) fn encode_amounts(amounts: Amounts) -> Option<wire::Amounts> {
    let Amounts { money_micros, tokens, video_ms } = amounts;
    (!amounts.is_none()).then_some(wire::Amounts { money_micros, tokens, video_ms })
}

/// Amounts from their stored form.
pub(super) fn decode_amounts(e: Option<wire::Amounts>) -> Amounts {
    let of = |e: wire::Amounts| Amounts { money_micros: e.money_micros, tokens: e.tokens, video_ms: e.video_ms };
    e.map_or(Amounts::NONE, of)
}

/// What is spent, as it is stored.
pub(super) fn encode_ledger(ledger: &Ledger) -> wire::BudgetSpent {
    let line = |line: Line| {
        let Line { start, spent, told_percent } = line;
        (line != Line::default()).then_some(wire::BudgetLine { start_ms: start.0, spent, told_percent })
    };
    wire::BudgetSpent { money: line(ledger.money), tokens: line(ledger.tokens), video: line(ledger.video) }
}

/// What is spent, from its stored form.
pub(super) fn decode_ledger(e: &wire::BudgetSpent) -> Ledger {
    let line = |e: &Option<wire::BudgetLine>| {
        let of = |e: &wire::BudgetLine| {
            let (start, spent, told_percent) = (Timestamp(e.start_ms), e.spent, e.told_percent);
            Line { start, spent, told_percent }
        };
        e.as_ref().map(of).unwrap_or_default()
    };
    Ledger { money: line(&e.money), tokens: line(&e.tokens), video: line(&e.video) }
}

/// The name subscribers know a change by.
pub(super) fn change_type(change: &BudgetChange) -> &'static str {
    match change {
        BudgetChange::Set(_) => "account.budgets_set",
        BudgetChange::Reached(_) => "account.budget_reached",
    }
}

/// What subscribers see of it.
pub(super) fn change_json(change: &BudgetChange) -> Value {
    match change {
        BudgetChange::Set(budgets) => json!(budgets),
        BudgetChange::Reached(Reached { unit, percent, spent, max, until }) => {
            json!({"unit": unit.as_str(), "percent": percent, "spent": spent, "max": max, "until_ms": until})
        }
    }
}
