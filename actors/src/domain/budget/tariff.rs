//! What models cost and which are used by default: the node's settings, as far as rules need them.

use std::collections::BTreeMap;

/// Tokens that a price is for.
const PRICED_TOKENS: u128 = 1_000_000;

/// What a million tokens of a model cost, in millionths of the currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub input_micros: u64,
    pub output_micros: u64,
}

/// Prices of models. One without a price costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    pub currency: String,
    /// Models of tasks that name none.
    pub default_chat: String,
    pub default_embed: String,
    /// By `provider/model`.
    pub prices: BTreeMap<String, Price>,
}

impl Tariff {
    /// What a call costs, rounded up.
    #[must_use]
    pub fn cost(&self, model: &str, input_tokens: u64, output_tokens: u64) -> u64 {
        let Some(price) = self.prices.get(model) else { return 0 };
        let part = |tokens: u64, micros: u64| u128::from(tokens).saturating_mul(micros.into());
        let whole = part(input_tokens, price.input_micros).saturating_add(part(output_tokens, price.output_micros));
        u64::try_from(whole.div_ceil(PRICED_TOKENS)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_its_tokens_rounded_up() {
        let price = Price { input_micros: 150_000, output_micros: 600_000 };
        let prices = BTreeMap::from([
            ("p/m".to_owned(), price),
            ("p/dear".to_owned(), Price { input_micros: u64::MAX, output_micros: 1 }),
        ]);
        let tariff = Tariff { prices, ..Tariff::default() };
        assert_eq!(tariff.cost("p/m", 1_000_000, 1_000_000), 750_000);
        assert_eq!(tariff.cost("p/m", 1, 0), 1, "never too little");
        assert_eq!((tariff.cost("p/m", 0, 0), tariff.cost("p/other", 9, 9)), (0, 0));
        assert_eq!(tariff.cost("p/dear", u64::MAX, u64::MAX), u64::MAX);
    }
}
