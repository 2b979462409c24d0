//! Budgets of an account: what it may use of money, tokens and recordings in a period, what is reserved and what is spent.
//!
//! `decide` reserves before a task starts and settles when it reports; the board keeps to the same rules so that it does not
//! ask in vain.
//!
//! # Invariants
//! - **B1 kept**: no task starts whose estimate does not fit beside what is spent and reserved. So a budget is exceeded only
//!   by what running attempts use beyond their estimates.
//! - **B2 derived**: what is reserved stands in the running tasks and nowhere else, so it ends with the lease.
//! - **B3 once**: each use is counted by the report of a running attempt; a report that comes again changes nothing.

mod amounts;
mod estimate;
mod ledger;
mod limit;
mod tariff;

pub use amounts::{Amounts, UNITS, Unit};
pub use estimate::{Call, Needs, estimate_tokens};
pub use ledger::{Ledger, Line, Purse, Reached, Short};
pub use limit::{BUDGET_MAX, Budget, Budgets, CURRENCY_CHARS_MAX, PERIODS, Period};
pub use tariff::{Price, Tariff};

pub(crate) use estimate::{
    ANSWER_TOKENS_DEFAULT, ANSWER_TOKENS_MAX, NOTES_TOKENS_MAX, REMOTE_TEXT_TOKENS_MAX, SHORT_ANSWER_TOKENS,
};

/// What happened to the budgets of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetChange {
    /// The operator set them, all anew.
    Set(Budgets),
    /// So much of one is spent.
    Reached(Reached),
}
