//! Event type patterns: which events a subscriber, an endpoint or a playbook wants.

/// The longest pattern.
pub const PATTERN_LEN_MAX: usize = 128;

/// A checked pattern: parts separated by dots, `*` for any one part, a trailing `**` for one or more parts.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Pattern(Box<str>);

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be 1 to {PATTERN_LEN_MAX} characters: parts of a-z, 0-9, '_' and '-' separated by '.', where a part may be '*' and the last one '**'"
)]
pub struct InvalidPattern;

impl Pattern {
    /// Checks the text.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let last = text.split('.').count() - 1;
        let part_ok = |(at, part): (usize, &str)| match part {
            "" => false,
            "*" => true,
            "**" => at == last,
            name => name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-'),
        };
        if text.len() <= PATTERN_LEN_MAX && text.split('.').enumerate().all(part_ok) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPattern)
        }
    }

    /// Whether an event of this type is wanted.
    #[must_use]
    pub fn matches(&self, event_type: &str) -> bool {
        let mut wanted = self.0.split('.');
        let mut have = event_type.split('.');
        loop {
            match (wanted.next(), have.next()) {
                (Some("**"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(want), Some(part)) if want == part => {}
                (Some(_) | None, _) => return false,
            }
        }
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_part_by_part() {
        let table = [
            ("job.requested", "job.requested", true),
            ("job.requested", "job", false),
            ("job", "job.requested", false),
            ("job.*", "job.requested", true),
            ("job.*", "job.requested.twice", false),
            ("webhook.**", "webhook.zoom.recording.completed", true),
            ("webhook.**", "webhook", false),
            ("webhook.*.recording.*", "webhook.zoom.recording.completed", true),
            ("**", "anything", true),
        ];
        for (pattern, event, want) in table {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(event), want, "{pattern} on {event}");
        }
    }

    #[test]
    fn refuses_what_is_no_pattern() {
        for bad in ["", ".", "a..b", "**.a", "a b", "A", "a.***", &"x".repeat(129)] {
            assert_eq!(Pattern::parse(bad), Err(InvalidPattern), "{bad:?}");
        }
    }
}
