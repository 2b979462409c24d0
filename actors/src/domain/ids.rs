//! Names of the things an account owns. Parsed once at the edge, then trusted everywhere.

use std::fmt;

/// The longest id a client may choose.
pub const ID_LEN_MAX: usize = 64;

/// Why a text is not an id. Names the rule, for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to {ID_LEN_MAX} characters of a-z, 0-9, '-' and '_', starting with a letter or a digit")]
pub struct InvalidId;

fn check(text: &str) -> Result<(), InvalidId> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let starts_well = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if starts_well && text.len() <= ID_LEN_MAX && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(InvalidId)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the text against the rule of ids.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text).map(|()| Self(text.into()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A customer account: the unit of order, isolation and placement.
    AccountId
);
id!(
    /// Where inbound webhooks come from.
    SourceId
);
id!(
    /// Where outbound webhooks go.
    EndpointId
);
id!(
    /// A rule "when this event, do this job".
    PlaybookId
);
id!(
    /// Work a client or a playbook asked for.
    JobId
);
id!(
    /// A named subscriber whose cursor the shard keeps.
    ConsumerId
);
id!(
    /// An API key, without its secret.
    KeyId
);

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
