//! The accounts of the whole cluster by id, page by page: the leaders of all shards say what they have behind the place
//! where the page begins, and that is merged. The gateway lists accounts with it.
//!
//! # Invariants
//! - **B1 whole**: a page has every account between its start and its end, whatever shard that is in. While nobody leads a
//!   shard there is no page.
//! - **B2 led**: what a page has of a shard comes from a node that made sure to lead it, so an account that was there
//!   when the page was asked for is on it.
//! - **B3 public**: nodes tell each other what clients see of an account, and nothing else.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use prost::Message as _;
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::shard_of;
use steward_cluster::ids::{NodeId, ShardId};
use steward_proto::account::v1::Account;
use steward_proto::peer::v1 as pb;
use tokio::time::timeout;

use super::leaders::{ASK_MAX, Everything};
use super::{form, here};
use crate::gateway::error::Refused;

/// Bytes of accounts after which a page ends, however many were asked for; a message between nodes may have four times
/// as many.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What clients get.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AccountPage {
    pub(crate) accounts: Vec<Account>,
    /// Where the next page goes on; none on the last one.
    pub(crate) next: Option<String>,
}

/// What one node has of some shards.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Listed {
    /// Those it leads for sure.
    pub(super) shards: Vec<ShardId>,
    pub(super) accounts: Vec<Account>,
    /// Whether there are others behind the last one.
    pub(super) more: bool,
}

/// What one shard has on a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OfShard {
    accounts: Vec<Account>,
    /// Behind this id there may be others; none: that is all.
    through: Option<String>,
}

impl Everything {
    /// The next accounts behind an id, at most so many.
    pub(crate) async fn accounts(&self, after: Option<&AccountId>, limit: usize) -> Result<AccountPage, Refused> {
        let ask = |node: Option<NodeId>, shards: Vec<ShardId>| {
            let listed = match node {
                None => here::accounts(&self.shards, shards, after, limit).boxed(),
                Some(node) => self.accounts_at(node, shards, after, limit).boxed(),
            };
            listed.map(|listed| by_shard(listed, self.count)).boxed()
        };
        let told = self.at_leaders(self.all(), ask).await?;
        Ok(merge(told.into_values().collect(), limit))
    }

    async fn accounts_at(&self, node: NodeId, shards: Vec<ShardId>, after: Option<&AccountId>, limit: usize) -> Listed {
        let Some(mut leader) = self.client(node) else { return Listed::default() };
        let request = pb::ListShardAccountsRequest {
            shards: shards.iter().map(|shard| shard.0.into()).collect(),
            after: after.map_or_else(String::new, ToString::to_string),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let pb::ListShardAccountsResponse { shards: led, accounts, more } =
            match timeout(ASK_MAX, leader.list_shard_accounts(request)).await {
                Ok(Ok(answer)) => answer.into_inner(),
                Ok(Err(status)) => {
                    tracing::debug!(node = node.0, %status, "a node did not list accounts");
                    return Listed::default();
                }
                Err(_) => {
                    tracing::debug!(node = node.0, "a node did not list accounts in time");
                    return Listed::default();
                }
            };
        let led = led.into_iter().filter_map(|shard| form::shard(shard, self.count));
        Listed { shards: led.filter(|shard| shards.contains(shard)).collect(), accounts, more }
    }
}

/// How many of the accounts go on a page; at least one.
pub(super) fn fitting(accounts: &[Account], limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |account: &&Account| {
        bytes += account.encoded_len();
        bytes <= PAGE_BYTES_MAX
    };
    accounts.iter().take(limit).take_while(fits).count().max(1).min(accounts.len())
}

/// Deals out what a node said to the shards that it led.
pub(super) fn by_shard(listed: Listed, count: u16) -> Vec<(ShardId, OfShard)> {
    let Listed { shards, accounts, more } = listed;
    let through = accounts.last().filter(|_| more).map(|last| last.account_id.clone());
    if more && through.is_none() {
        return vec![]; // It does not say how far it got.
    }
    let of_shard = |shard| (shard, OfShard { accounts: vec![], through: through.clone() });
    let mut dealt: BTreeMap<ShardId, OfShard> = shards.into_iter().map(of_shard).collect();
    for account in accounts {
        let shard = AccountId::parse(&account.account_id).map(|id| shard_of(&id, count));
        if let Some(of_shard) = shard.ok().and_then(|shard| dealt.get_mut(&shard)) {
            of_shard.accounts.push(account);
        }
    }
    dealt.into_iter().collect()
}

/// What all shards have together, as far as every one of them was told.
pub(super) fn merge(shards: Vec<OfShard>, limit: usize) -> AccountPage {
    let through = shards.iter().filter_map(|of_shard| of_shard.through.clone()).min();
    let is_told = |account: &Account| through.as_ref().is_none_or(|through| account.account_id <= *through);
    let mut accounts: Vec<Account> =
        shards.into_iter().flat_map(|of_shard| of_shard.accounts).filter(is_told).collect();
    accounts.sort_by(|one, other| one.account_id.cmp(&other.account_id));
    let fits = fitting(&accounts, limit);
    let is_cut = fits < accounts.len();
    accounts.truncate(fits);
    // A page may be empty and not the last: those it was told of may be of shards that others have the word on by now.
    let next = if is_cut { accounts.last().map(|last| last.account_id.clone()) } else { through };
    AccountPage { accounts, next }
}
