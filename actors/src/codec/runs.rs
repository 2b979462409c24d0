//! The row that says whose events a log entry holds. The projection writes it, readers of whole shards read it.

use bytes::Bytes;
use prost::Message as _;
use steward_proto::record::v1 as wire;

use super::Decision;
use super::decode::DecodeError;
use crate::domain::ids::AccountId;

/// Events of one account that one entry brought and that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) account: AccountId,
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
}

/// The runs of one entry, in its order.
#[derive(Debug, Default)]
pub(crate) struct Runs(wire::EntryEvents);

impl Runs {
    /// Adds what one decision brings; it continues the last run where it can.
    pub(crate) fn add(&mut self, decision: &Decision) {
        let count = u64::try_from(decision.events.len()).expect("a decision has a few events");
        if count == 0 {
            return;
        }
        let account = decision.account.as_str();
        match self.0.runs.last_mut() {
            Some(last) if last.account == account && last.first_seq + last.count == decision.first_seq => {
                last.count += count;
            }
            Some(_) | None => {
                let (account, first_seq) = (account.to_owned(), decision.first_seq);
                self.0.runs.push(wire::EventRun { account, first_seq, count });
            }
        }
    }

    /// The row of the entry that ends, if it brings any event; the next entry begins.
    pub(crate) fn take_row(&mut self) -> Option<Vec<u8>> {
        let entry = std::mem::take(&mut self.0);
        (!entry.runs.is_empty()).then(|| entry.encode_to_vec())
    }

    /// The runs of a row.
    pub(crate) fn decode(row: Bytes) -> Result<Vec<Run>, DecodeError> {
        let run = |stored: wire::EventRun| {
            let account = AccountId::parse(&stored.account)
                .map_err(|_| DecodeError::Field { field: "account", value: stored.account.clone() })?;
            Ok(Run { account, first_seq: stored.first_seq, count: stored.count })
        };
        wire::EntryEvents::decode(row)?.runs.into_iter().map(run).collect()
    }
}
