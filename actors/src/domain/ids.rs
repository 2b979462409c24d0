//! Names of the things an account owns. Parsed once at the edge, then trusted everywhere.

use std::fmt;
use std::marker::PhantomData;

/// The longest id a client may choose.
pub const ID_LEN_MAX: usize = 64;

/// Why a text is not an id. Names the rule, for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {ID_LEN_MAX} characters of a-z, 0-9, '-' and '_', starting with a letter or a digit")]
pub struct InvalidId;

fn check(text: &str) -> Result<(), InvalidId> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if starts_well && text.len() <= ID_LEN_MAX && text.bytes().all(allowed) { Ok(()) } else { Err(InvalidId) }
}

/// A checked name of some `Of`. The type parameter keeps an account's name from being used as a job's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<Of>(Box<str>, PhantomData<Of>);

impl<Of> Id<Of> {
    /// Checks the text against the rule of ids.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        check(text).map(|()| Self(text.into(), PhantomData))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<Of> serde::Serialize for Id<Of> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de, Of> serde::Deserialize<'de> for Id<Of> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl<Of> fmt::Display for Id<Of> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A customer account: the unit of order, isolation and placement.
pub type AccountId = Id<of::Account>;
/// Where inbound webhooks come from.
pub type SourceId = Id<of::Source>;
/// Where outbound webhooks go.
pub type EndpointId = Id<of::Endpoint>;
/// A rule "when this event, do this job".
pub type PlaybookId = Id<of::Playbook>;
/// Work a client or a playbook asked for.
pub type JobId = Id<of::Job>;
/// A named subscriber whose cursor the shard keeps.
pub type ConsumerId = Id<of::Consumer>;
/// A rule "at these times, do this job".
pub type ScheduleId = Id<of::Schedule>;
/// An API key, without its secret.
pub type KeyId = Id<of::Key>;

/// What an [`Id`] can be the name of.
pub mod of {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Account {}
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Source {}
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Endpoint {}
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Playbook {}
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Job {}
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Consumer {}
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Schedule {}
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Key {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_one_rule() {
        for good in ["a", "acme", "0-a_b", &"x".repeat(64)] {
            assert_eq!(AccountId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "_a", "Acme", "a b", "a/b", "a\0", "ä", &"x".repeat(65)] {
            assert_eq!(AccountId::parse(bad), Err(InvalidId), "{bad:?}");
        }
    }
}
