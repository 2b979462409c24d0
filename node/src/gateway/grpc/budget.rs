//! Budgets as clients set and see them. `AccountService` calls it.

use steward_actors::domain::account::Account;
use steward_actors::domain::budget::{Budget, Budgets, Period, UNITS, Unit};
use steward_cluster::clock::Timestamp;
use steward_proto::account::v1 as pb;

use super::view::or_zero;
use crate::gateway::error::Refused;

/// What is asked for, each unit at most once.
pub(super) fn budgets(request: &pb::SetBudgetsRequest) -> Result<Budgets, Refused> {
    let mut budgets = Budgets { currency: request.currency.clone(), ..Budgets::default() };
    for asked in &request.budgets {
        let unit = UNITS.into_iter().find(|unit| unit.as_str() == asked.unit);
        let unit = unit.ok_or_else(|| Refused::field("budgets.unit", "must be money_micros, tokens or video_ms"))?;
        let period = Period::parse(&asked.period);
        let period = period.ok_or_else(|| Refused::field("budgets.period", "must be total, month or day"))?;
        let place = match unit {
            Unit::Money => &mut budgets.money,
            Unit::Tokens => &mut budgets.tokens,
            Unit::Video => &mut budgets.video,
        };
        if place.replace(Budget { max: asked.max, period }).is_some() {
            return Err(Refused::field("budgets", format!("must have one budget of {}", unit.as_str())));
        }
    }
    Ok(budgets)
}

/// The budgets of an account, and what has become of them.
pub(super) fn states(account: &Account, now: Timestamp) -> Vec<pb::BudgetState> {
    let reserved = account.reserved();
    let state = |unit: Unit| {
        let (budget, line) = account.purse.line(unit, now)?;
        let (reserved, period) = (reserved.of(unit), budget.period.as_str().to_owned());
        Some(pb::BudgetState {
            budget: Some(pb::Budget { unit: unit.as_str().to_owned(), max: budget.max, period }),
            reserved,
            spent: line.spent,
            left: budget.max.saturating_sub(line.spent).saturating_sub(reserved),
            since_ms: line.start.0,
            until_ms: or_zero(budget.period.end(line.start)),
        })
    };
    UNITS.into_iter().filter_map(state).collect()
}
