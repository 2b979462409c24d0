//! What work uses, in the units that budgets are kept in.

/// What a budget limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Unit {
    /// Millionths of the currency in the settings.
    Money,
    /// Tokens of all models, in and out.
    Tokens,
    /// Milliseconds of recordings that tasks work through.
    Video,
}

/// Every unit.
pub const UNITS: [Unit; 3] = [Unit::Money, Unit::Tokens, Unit::Video];

impl Unit {
    /// The name clients know it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Money => "money_micros",
            Self::Tokens => "tokens",
            Self::Video => "video_ms",
        }
    }
}

/// So much of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Amounts {
    pub money_micros: u64,
    pub tokens: u64,
    pub video_ms: u64,
}

impl Amounts {
    /// Nothing of any.
    pub const NONE: Self = Self { money_micros: 0, tokens: 0, video_ms: 0 };

    /// Whether it is nothing at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// How much of one unit.
    #[must_use]
    pub fn of(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Money => self.money_micros,
            Unit::Tokens => self.tokens,
            Unit::Video => self.video_ms,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// What is left of it, at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    /// All of several.
    pub fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::NONE, Self::plus)
    }

    fn with(self, other: Self, both: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            money_micros: both(self.money_micros, other.money_micros),
            tokens: both(self.tokens, other.tokens),
            video_ms: both(self.video_ms, other.video_ms),
        }
    }
}
