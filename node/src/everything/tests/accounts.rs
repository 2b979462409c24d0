//! Accounts are listed by id, each once, whoever leads their shards; and not at all while nobody leads one of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::shard_of;
use steward_cluster::ids::{NodeId, ShardId};
use steward_proto::account::v1::Account;

use super::super::Everything;
use super::super::accounts::{AccountPage, Listed, by_shard, fitting, merge};
use super::world::{Around, Node, Port, SHARDS, everything};
use crate::gateway::error::Code;
use crate::gateway::forward::Leader;

const A: NodeId = NodeId(11);
const B: NodeId = NodeId(12);
const ACCOUNTS: u64 = 12;

fn account(id: &str) -> Account {
    Account { account_id: id.to_owned(), ..Account::default() }
}

fn shard(id: &str) -> ShardId {
    shard_of(&AccountId::parse(id).unwrap(), SHARDS)
}

/// What a node says that leads these shards.
fn listed(accounts: &BTreeSet<String>, shards: &[ShardId], after: &str, limit: usize) -> Listed {
    let here = accounts.iter().filter(|id| id.as_str() > after && shards.contains(&shard(id)));
    let mut here: Vec<Account> = here.map(|id| account(id)).collect();
    let more = here.len() > limit;
    here.truncate(limit);
    Listed { shards: shards.to_vec(), accounts: here, more }
}

fn ids(page: &AccountPage) -> Vec<&str> {
    page.accounts.iter().map(|account| account.account_id.as_str()).collect()
}

proptest! {
    #[test]
    fn pages_have_everything_whoever_leads_and_however_little_each_says(
        accounts in prop::collection::btree_set("[a-z][a-z0-9]{0,3}", 0..80),
        limit in 1..20_usize,
        // Of each shard who leads it, and of each node how much it says at most.
        leaders in prop::collection::vec(0..3_usize, usize::from(SHARDS)),
        says in prop::collection::vec(1..20_usize, 3),
    ) {
        let led_by = |node: usize| -> Vec<ShardId> {
            (0..SHARDS).map(ShardId).filter(|shard| leaders[usize::from(shard.0)] == node).collect()
        };
        let (mut found, mut after) = (vec![], String::new());
        loop {
            let said = (0..3).map(|node| listed(&accounts, &led_by(node), &after, limit.min(says[node])));
            let told = said.flat_map(|listed| by_shard(listed, SHARDS)).map(|(_, of_shard)| of_shard);
            let page = merge(told.collect(), limit);
            prop_assert!(page.accounts.len() <= limit);
            found.extend(page.accounts.into_iter().map(|account| account.account_id));
            match page.next {
                Some(next) => {
                    prop_assert!(next > after, "it does not go on");
                    after = next;
                }
                None => break,
            }
        }
        prop_assert_eq!(found, accounts.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_page_ends_before_it_is_too_large_for_a_message() {
    let large = |id: &str| Account { quarantine_reason: "x".repeat(700_000), ..account(id) };
    assert_eq!(fitting(&[account("a"), large("b"), large("c")], 9), 2);
    assert_eq!(fitting(&[large("a"), large("b")], 9), 1);
    assert_eq!(fitting(&[Account { quarantine_reason: "x".repeat(2 << 20), ..account("a") }], 9), 1, "it must go on");
    assert_eq!(fitting(&[account("a"), account("b")], 1), 1);
    assert_eq!(fitting(&[], 9), 0);
}

#[test]
fn what_nobody_asked_for_and_what_says_not_how_far_it_got_counts_for_nothing() {
    let foreign = Listed { shards: vec![shard("a")], accounts: vec![account("a"), account("b")], more: false };
    assert_ne!(shard("a"), shard("b"));
    let told = by_shard(foreign, SHARDS).into_iter().map(|(_, of_shard)| of_shard);
    assert_eq!(ids(&merge(told.collect(), 9)), ["a"]);
    assert_eq!(by_shard(Listed { shards: vec![ShardId(0)], accounts: vec![], more: true }, SHARDS), []);
}

#[test]
fn a_page_on_which_nothing_counts_is_not_the_last() {
    let foreign = Listed { shards: vec![shard("a")], accounts: vec![account("b")], more: true };
    let told = by_shard(foreign, SHARDS).into_iter().map(|(_, of_shard)| of_shard);
    assert_eq!(merge(told.collect(), 9), AccountPage { accounts: vec![], next: Some("b".to_owned()) });
}

/// A node in the middle that leads nothing, and two that lead half of the shards each.
struct World {
    _middle: Node,
    halves: [Node; 2],
    around: Arc<Around>,
    _doors: [Port; 2],
    everything: Everything,
}

/// Which of the two leads an account.
fn half(id: &str) -> usize {
    usize::from(shard(id).0 >= SHARDS / 2)
}

impl World {
    async fn start() -> Self {
        let (middle, halves) = (Node::start().await, [Node::start().await, Node::start().await]);
        let doors = [Port::open(&halves[0].shards).await, Port::open(&halves[1].shards).await];
        let around = Arc::new(Around::default());
        around.is_at(A, &doors[0]);
        around.is_at(B, &doors[1]);
        (0..SHARDS).map(ShardId).for_each(|shard| {
            around.leads(shard, Leader::At(if shard.0 < SHARDS / 2 { A } else { B }));
        });
        let everything = everything(&middle, &around);
        Self { _middle: middle, halves, around, _doors: doors, everything }
    }

    /// An account comes to be where its shard is led.
    async fn founded(&self, id: &str) {
        self.halves[half(id)].happens(id).await;
    }

    /// All pages of this size.
    async fn pages(&self, size: usize) -> Vec<Account> {
        let (mut found, mut after) = (vec![], None);
        loop {
            let page = self.everything.accounts(after.as_ref(), size).await.unwrap();
            assert!(page.accounts.len() <= size);
            found.extend(page.accounts);
            match page.next {
                Some(next) => after = Some(AccountId::parse(&next).unwrap()),
                None => return found,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_other_nodes_are_listed_page_by_page() {
    let world = World::start().await;
    assert_eq!(world.everything.accounts(None, 5).await.unwrap(), AccountPage::default());
    let mut wanted: Vec<String> = (0..ACCOUNTS).map(|account| format!("account-{account}")).collect();
    for id in &wanted {
        world.founded(id).await;
    }
    wanted.sort();
    assert!([0, 1].into_iter().all(|of| wanted.iter().any(|id| half(id) == of)), "both lead some");
    for size in [1, 5, wanted.len(), 500] {
        let found = world.pages(size).await;
        assert_eq!(
            found.iter().map(|account| &account.account_id).collect::<Vec<_>>(),
            wanted.iter().collect::<Vec<_>>()
        );
        assert!(found.iter().all(|account| account.last_seq == 1 && account.created_at_ms > 0), "{found:?}");
    }
    // What a node has of shards that another one leads is not asked for.
    world.halves[1 - half("stray")].happens("stray").await;
    assert_eq!(world.pages(5).await.len(), wanted.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_waits_for_leaders_and_is_refused_rather_than_partial() {
    let world = World::start().await;
    world.founded("acme").await;
    let (led, leader) = (shard("acme"), Leader::At([A, B][half("acme")]));
    world.around.leads(led, Leader::Unknown);
    let waiting = world.everything.clone();
    let asked = steward_actors::supervisor::spawn("test", async move { waiting.accounts(None, 5).await });
    world.around.leads(led, leader);
    assert_eq!(ids(&asked.await.unwrap().unwrap()), ["acme"]);

    (0..2).map(ShardId).for_each(|shard| world.around.leads(shard, Leader::Unknown));
    let refused = world.everything.accounts(None, 5).await.unwrap_err();
    assert_eq!(refused.code, Code::NotLed);
    assert!(refused.message.contains("leads 2 of 4 shards just now, such as shard 0"), "{refused}");
}
