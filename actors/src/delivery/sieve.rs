//! Which events an endpoint gets, and which of them stand in one line.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::Value;

use super::message;
use crate::domain::account::Endpoint;
use crate::domain::account::limits::FILTER_CHARS_MAX;
use crate::domain::ids::AccountId;
use crate::shard::{FeedEntry, ReadError, Reads};

/// The longest ordering key.
const POINTER_CHARS_MAX: usize = 256;
/// Events read from the feed at a time.
const PAGE_MAX: usize = 256;

/// An endpoint's filter and ordering key, ready for use.
#[derive(Default)]
pub(super) struct Sieve {
    filter: Option<jmespath::Expression<'static>>,
    ordering_key: String,
}

impl Sieve {
    /// An error when the expression was accepted once and is not any more.
    pub(super) fn new(filter: &str, ordering_key: &str) -> Result<Self, String> {
        let compiled = (!filter.is_empty()).then(|| jmespath::compile(filter)).transpose();
        let filter = compiled.map_err(|error| format!("the filter is no JMESPath: {}", error.reason))?;
        Ok(Self { filter, ordering_key: ordering_key.to_owned() })
    }

    /// Whether events stand in lines.
    pub(super) fn has_order(&self) -> bool {
        !self.ordering_key.is_empty()
    }

    /// Whether the filter lets it through. What the filter cannot be asked of is not wanted.
    pub(super) fn lets_through(&self, document: &Value) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.search(document).is_ok_and(|found| found.is_truthy()))
    }

    /// The line of an event; none when there is no order. Events without the key stand in one line of their own.
    pub(super) fn line(&self, document: &Value) -> Option<u64> {
        if self.ordering_key.is_empty() {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        document.pointer(&self.ordering_key).map(Value::to_string).hash(&mut hasher);
        Some(hasher.finish())
    }
}

/// Whether a filter and an ordering key can be used.
///
/// # Errors
/// The field and the rule it breaks.
pub fn check(filter: &str, ordering_key: &str) -> Result<(), (&'static str, String)> {
    if filter.chars().count() > FILTER_CHARS_MAX {
        return Err(("filter", format!("must have at most {FILTER_CHARS_MAX} characters")));
    }
    if !filter.is_empty()
        && let Err(error) = jmespath::compile(filter)
    {
        let (reason, at) = (error.reason, error.offset);
        return Err(("filter", format!("must be a JMESPath expression: {reason} at character {at}")));
    }
    let is_pointer = ordering_key.is_empty() || ordering_key.starts_with('/');
    if !is_pointer || ordering_key.chars().count() > POINTER_CHARS_MAX {
        let rule =
            format!("must be a JSON pointer such as /data/event/tenant, of at most {POINTER_CHARS_MAX} characters");
        return Err(("ordering_key", rule));
    }
    Ok(())
}

/// How many events between two numbers an endpoint wants: after the first, up to the second.
///
/// # Errors
/// When the feed cannot be read.
pub fn wanted_between(
    reads: &Reads,
    account: &AccountId,
    endpoint: &Endpoint,
    after_seq: u64,
    through_seq: u64,
) -> Result<u64, ReadError> {
    let settings = &endpoint.settings;
    let sieve = Sieve::new(&settings.filter, &settings.ordering_key).unwrap_or_default();
    let (mut after, mut count) = (after_seq, 0);
    while after < through_seq {
        let page = reads.events(account, after, PAGE_MAX)?;
        let Some(last) = page.last().map(|entry| entry.seq) else { break };
        let within = page.iter().filter(|entry| entry.seq <= through_seq);
        let wanted = |entry: &&FeedEntry| {
            message::wanted(endpoint, &entry.event)
                && (sieve.filter.is_none() || sieve.lets_through(&message::document(account, entry)))
        };
        count += u64::try_from(within.filter(wanted).count()).unwrap_or(u64::MAX);
        after = last;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_and_lines_read_what_is_posted() {
        let sieve = Sieve::new("data.event.amount > `100`", "/data/event/customer").unwrap();
        let posted = |amount: u64, customer: &str| json!({"data": {"event": {"amount": amount, "customer": customer}}});
        assert!(sieve.has_order() && sieve.lets_through(&posted(101, "a")) && !sieve.lets_through(&posted(100, "a")));
        assert_eq!(sieve.line(&posted(1, "a")), sieve.line(&posted(2, "a")));
        assert_ne!(sieve.line(&posted(1, "a")), sieve.line(&posted(1, "b")));
        assert_eq!(sieve.line(&json!({})), sieve.line(&json!({"data": 1})), "one line for all without the key");
        let none = Sieve::new("", "").unwrap();
        assert!(!none.has_order() && none.lets_through(&json!({})) && none.line(&posted(1, "a")).is_none());
        assert!(!Sieve::new("length(data)", "").unwrap().lets_through(&json!({"data": 1})), "a filter that fails");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert_eq!(check("data.x == 'a'", "/data"), Ok(()));
        assert_eq!(check("data[", "").unwrap_err().0, "filter");
        assert_eq!(check(&"a".repeat(FILTER_CHARS_MAX + 1), "").unwrap_err().0, "filter");
        assert_eq!(check("", "data").unwrap_err().0, "ordering_key");
    }
}
