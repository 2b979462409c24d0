//! What `ctl account budget` takes.

use clap::Args;
use steward_proto::account::v1 as pb;

const MS_PER_MINUTE: u64 = 60_000;

#[derive(Debug, Args)]
pub(super) struct BudgetArgs {
    pub(super) account: String,
    /// Millionths of the currency, such as 25000000/month; the period is total, month or day
    #[arg(long, value_name = "MICROS/PERIOD", value_parser = amount)]
    money: Option<Amount>,
    /// What money is counted in, as ai.currency of the nodes says
    #[arg(long, default_value = "USD")]
    currency: String,
    /// Tokens of all models, such as 2000000/day
    #[arg(long, value_name = "TOKENS/PERIOD", value_parser = amount)]
    tokens: Option<Amount>,
    /// Minutes of recordings, such as 600/month
    #[arg(long, value_name = "MINUTES/PERIOD", value_parser = amount)]
    video_minutes: Option<Amount>,
}

#[derive(Clone, Debug, PartialEq)]
struct Amount {
    max: u64,
    period: String,
}

fn amount(text: &str) -> Result<Amount, String> {
    let (max, period) = text.split_once('/').ok_or("must have the form AMOUNT/PERIOD, such as 600/month")?;
    let max = max.parse().map_err(|_| "AMOUNT must be a number")?;
    Ok(Amount { max, period: period.to_owned() })
}

impl BudgetArgs {
    /// What is asked for.
    pub(super) fn request(&self) -> pb::SetBudgetsRequest {
        let of = |unit: &str, amount: &Option<Amount>, each: u64| {
            let Amount { max, period } = amount.clone()?;
            Some(pb::Budget { unit: unit.to_owned(), max: max.saturating_mul(each), period })
        };
        let budgets = [
            of("money_micros", &self.money, 1),
            of("tokens", &self.tokens, 1),
            of("video_ms", &self.video_minutes, MS_PER_MINUTE),
        ];
        let currency = if self.money.is_some() { self.currency.clone() } else { String::new() };
        pb::SetBudgetsRequest {
            account_id: self.account.clone(),
            budgets: budgets.into_iter().flatten().collect(),
            currency,
        }
    }
}
