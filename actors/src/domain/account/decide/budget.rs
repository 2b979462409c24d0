//! Budgets: set by the operator, reserved before a task starts, settled by what its attempt reports.

use serde_json::Value;
use steward_cluster::clock::Timestamp;

use super::{Decided, Decision, Rejection};
use crate::domain::account::command::Facts;
use crate::domain::account::event::{Event, Mark};
use crate::domain::account::state::Account;
use crate::domain::budget::{Amounts, BUDGET_MAX, BudgetChange, Budgets, CURRENCY_CHARS_MAX, Needs, UNITS};
use crate::domain::ids::JobId;
use crate::domain::job::{Failure, Job, JobKind, Task, TaskState};
use crate::domain::task::TaskId;

/// The code of a job that needs more than a whole budget.
const TOO_LARGE: &str = "budget_too_small";

pub(super) fn set(account: &Account, facts: &Facts, budgets: Budgets, now: Timestamp) -> Decision {
    check(&budgets, &facts.tariff.currency)?;
    let id = account.id.to_string();
    if account.purse.budgets == budgets {
        return Ok(Decided::done_before(&id, account.last_seq));
    }
    let ledger = account.purse.reset(&budgets, now);
    let mut decided = Decided::one(Event::BudgetChanged(BudgetChange::Set(budgets)), &id);
    decided.marks.push(Mark::BudgetSpent(ledger));
    Ok(decided)
}

fn check(budgets: &Budgets, currency: &str) -> Result<(), Rejection> {
    for unit in UNITS {
        if budgets.of(unit).is_some_and(|budget| budget.max == 0 || budget.max > BUDGET_MAX) {
            let rule = format!("must be 1 to {BUDGET_MAX} {} in a period", unit.as_str());
            return Err(Rejection::Invalid { field: "budgets.max", rule });
        }
    }
    if budgets.currency.chars().count() > CURRENCY_CHARS_MAX {
        let rule = format!("must have at most {CURRENCY_CHARS_MAX} characters");
        return Err(Rejection::Invalid { field: "currency", rule });
    }
    if budgets.money.is_some() && budgets.currency != currency {
        let rule = format!("must be {currency:?}, as ai.currency of the settings says");
        return Err(Rejection::Invalid { field: "currency", rule });
    }
    Ok(())
}

/// Refuses a job that could never start, as far as its input tells.
pub(super) fn check_request(
    account: &Account,
    facts: &Facts,
    kind: JobKind,
    input: &Value,
    now: Timestamp,
) -> Result<(), Rejection> {
    if account.purse.budgets.is_empty() {
        return Ok(());
    }
    let needs = Needs::of_request(kind, input, &facts.tariff).amounts(&facts.tariff);
    let Some(short) = account.purse.never(needs, now) else { return Ok(()) };
    let rule = format!(
        "must need less: about {} {} is more than the account's whole budget of {}",
        short.needs,
        short.unit.as_str(),
        short.max
    );
    Err(Rejection::Invalid { field: "input_json", rule })
}

/// What a task may use that is about to start.
pub(super) fn reserve(
    account: &Account,
    facts: &Facts,
    job: &Job,
    task: TaskId,
    now: Timestamp,
) -> Result<Amounts, Rejection> {
    if account.purse.budgets.is_empty() {
        return Ok(Amounts::NONE);
    }
    let needs = Needs::of_task(job, task, &facts.tariff).amounts(&facts.tariff);
    match account.purse.short(account.reserved(), needs, now) {
        Some(short) => Err(Rejection::Budget(short)),
        None => Ok(account.purse.counted(needs)),
    }
}

/// Counts what was used, and tells the owner of a budget that comes to its end.
pub(super) fn spend(account: &Account, used: Amounts, now: Timestamp, decided: &mut Decided) {
    let used = account.purse.counted(used);
    if used.is_none() {
        return;
    }
    let (ledger, reached) = account.purse.spend(used, now);
    decided.marks.push(Mark::BudgetSpent(ledger));
    decided.events.extend(reached.into_iter().map(|reached| Event::BudgetChanged(BudgetChange::Reached(reached))));
}

/// What an attempt that succeeded has worked through of a recording: what it says itself, else what was reserved for it.
pub(super) fn worked_through(task: &Task, result: &Value) -> Amounts {
    if task.reserved.video_ms == 0 {
        return Amounts::NONE;
    }
    let said = result.get("duration_ms").and_then(Value::as_u64);
    Amounts { video_ms: said.unwrap_or(task.reserved.video_ms), ..Amounts::NONE }
}

/// Ends the job when a task is ready by these events that no period of a budget can hold.
pub(super) fn end_what_never_fits(
    account: &Account,
    facts: &Facts,
    (id, before): (JobId, &Job),
    now: Timestamp,
    decided: &mut Decided,
) {
    if account.purse.budgets.is_empty() {
        return;
    }
    let mut job = before.clone();
    decided.events.iter().for_each(|event| job.evolve(now, event));
    let is_new = |task: &TaskId| before.tasks.get(task).is_none_or(|before| before.state == TaskState::Blocked);
    let ready = job.tasks.iter().filter(|(id, task)| task.state == TaskState::Ready && is_new(id));
    let short = |task: TaskId| {
        let needs = Needs::of_task(&job, task, &facts.tariff).amounts(&facts.tariff);
        account.purse.never(needs, now).map(|short| (task, short))
    };
    let Some((task, short)) = ready.map(|(id, _)| *id).find_map(short) else { return };
    let failure = Failure { code: TOO_LARGE.to_owned(), message: short.to_string() };
    decided.events.push(Event::JobFailed { job: id, task, failure });
}
