//! The accounts of many shards in the order of their ids, whichever shard each is in. The node lists them page by page.

use std::collections::{BTreeSet, VecDeque};

use steward_cluster::ids::ShardId;
use steward_cluster::store::{Direction, StateStore};

use super::rows::{Family, account_of, family_after, family_range};
use super::{ReadError, Reads};
use crate::domain::ids::AccountId;

/// Rows of a shard read at a time, at least; a page has about as many of each.
const ROWS_MIN: usize = 8;

/// One shard's accounts in their order, read as they are taken.
struct Line {
    shard: ShardId,
    after: Option<AccountId>,
    rows: usize,
    read: VecDeque<AccountId>,
    /// Whether there are none behind those that were read.
    is_read: bool,
}

impl Reads {
    /// The first accounts of these shards behind an id, by id. Fewer than `limit`: there are no others.
    pub fn accounts(
        &self,
        shards: &[ShardId],
        after: Option<&AccountId>,
        limit: usize,
    ) -> Result<Vec<AccountId>, ReadError> {
        let rows = (limit / shards.len().max(1)).max(ROWS_MIN);
        let line = |shard| Line { shard, after: after.cloned(), rows, read: VecDeque::new(), is_read: false };
        let mut lines: Vec<Line> = shards.iter().copied().map(line).collect();
        let mut firsts = BTreeSet::new();
        for (at, line) in lines.iter_mut().enumerate() {
            firsts.extend(line.next(self.store())?.map(|account| (account, at)));
        }
        let mut found = vec![];
        while found.len() < limit
            && let Some((account, at)) = firsts.pop_first()
        {
            firsts.extend(lines[at].next(self.store())?.map(|account| (account, at)));
            found.push(account);
        }
        Ok(found)
    }
}

impl Line {
    fn next(&mut self, store: &dyn StateStore) -> Result<Option<AccountId>, ReadError> {
        if self.read.is_empty() && !self.is_read {
            let range = match &self.after {
                Some(after) => family_after(self.shard, Family::Account, after),
                None => family_range(self.shard, Family::Account),
            };
            let rows = store.scan(&range, Direction::Forward, self.rows)?;
            self.is_read = rows.len() < self.rows;
            self.read.extend(rows.iter().filter_map(|(key, _)| account_of(key)));
            self.after = self.read.back().cloned();
        }
        Ok(self.read.pop_front())
    }
}
