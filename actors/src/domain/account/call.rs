//! A call of a model that an attempt reports, and what it counts for.

use crate::domain::budget::Amounts;

/// A call of a model.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AiCalled {
    pub operation: String,
    pub provider: String,
    pub model: String,
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub latency_ms: u64,
    /// What it cost, in millionths of the currency of the settings.
    #[serde(default)]
    pub cost_micros: u64,
    /// Its place among those of its attempt, from 1 up, so that a report that comes again is known; 0: none was given.
    #[serde(default)]
    pub number: u32,
}

impl AiCalled {
    /// What it used of the account's budgets.
    #[must_use]
    pub fn used(&self) -> Amounts {
        let tokens = self.input_tokens.saturating_add(self.output_tokens);
        Amounts { money_micros: self.cost_micros, tokens, video_ms: 0 }
    }
}
