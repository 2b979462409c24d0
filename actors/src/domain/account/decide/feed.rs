//! Named consumers and retention.

use super::{Decided, Decision, Rejection};
use crate::domain::account::event::Mark;
use crate::domain::account::state::Account;
use crate::domain::ids::ConsumerId;

/// Going back is allowed: the consumer wants a replay.
pub(super) fn acknowledge(account: &Account, consumer: ConsumerId, seq: u64) -> Decision {
    if seq > account.last_seq {
        let rule = format!("must be at most {}, the number of the newest event", account.last_seq);
        return Err(Rejection::Invalid { field: "seq", rule });
    }
    Ok(Decided::mark(Mark::ConsumerAcked { consumer, seq }))
}

/// The newest event always stays: it tells where the feed is.
pub(super) fn trim(account: &Account, first_seq: u64) -> Decision {
    let first_seq = first_seq.min(account.last_seq);
    if first_seq <= account.first_seq {
        return Ok(Decided::default());
    }
    Ok(Decided::mark(Mark::FeedTrimmed { first_seq }))
}
