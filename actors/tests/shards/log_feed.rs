//! Whole shards by their logs: every account's events once and in order, from any place, over restarts; and consumers of
//! everything that stay where they were.

use std::collections::BTreeMap;
use std::time::Duration;

use steward_actors::domain::account::Command;
use steward_actors::domain::ids::{AccountId, ConsumerId};
use steward_actors::domain::pattern::Pattern;
use steward_actors::log_feed::{LogItem, LogPage};
use steward_actors::shard::{AcknowledgeError, ExecuteError, Retention, Shards, ShardsConfig};
use steward_actors::supervisor::spawn;
use steward_cluster::clock::{ManualClock, Timestamp};
use steward_cluster::ids::{LogIndex, ShardId};

use crate::harness::{Setup, Started, asked, create, founded, until, webhook, zoom};

const SHARDS: u16 = 2;
const ACCOUNTS: u64 = 5;
const WEBHOOKS: u64 = 40;
/// Webhooks of each account that readers read as they come.
const READ_ALONG: u64 = 400;
const SOON: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

fn config() -> ShardsConfig {
    ShardsConfig { shards: SHARDS, ..ShardsConfig::default() }
}

async fn send(shards: Shards, name: String, deliveries: std::ops::Range<u64>) {
    let account = AccountId::parse(&name).unwrap();
    for n in deliveries {
        shards.execute(&account, asked(webhook(&format!("d-{n}")))).await.unwrap();
    }
}

/// Webhooks of all accounts at the same time.
async fn send_all(shards: &Shards, deliveries: std::ops::Range<u64>) {
    let name = |n| format!("account-{n}");
    let sending: Vec<_> =
        (0..ACCOUNTS).map(|n| spawn("test", send(shards.clone(), name(n), deliveries.clone()))).collect();
    for sent in sending {
        sent.await.unwrap();
    }
}

/// What is behind these places, to the end.
fn pages(shards: &Shards, places: &BTreeMap<ShardId, LogIndex>, patterns: Vec<Pattern>) -> Vec<LogPage> {
    let mut reader = shards.log_feed().reader(patterns);
    places.iter().for_each(|(shard, after)| reader.follow(*shard, *after));
    std::iter::from_fn(|| reader.try_next().unwrap()).collect()
}

fn beginning() -> BTreeMap<ShardId, LogIndex> {
    (0..SHARDS).map(|shard| (ShardId(shard), LogIndex(0))).collect()
}

/// Each account's numbers, in the order they came.
fn numbers(pages: &[LogPage]) -> BTreeMap<String, Vec<u64>> {
    let mut numbers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for item in pages.iter().flat_map(|page| &page.items) {
        match item {
            LogItem::Event { account, entry } => numbers.entry(account.to_string()).or_default().push(entry.seq),
            LogItem::Gap { .. } => panic!("nothing was forgotten: {item:?}"),
        }
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn every_account_comes_once_and_in_order_from_any_place() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup { config: config(), ..Setup::default() }.start(folder.path()).await;
    for n in 0..ACCOUNTS {
        founded(&shards, &format!("account-{n}")).await;
    }
    send_all(&shards, 0..WEBHOOKS / 2).await;
    shards.crash().await;
    let shards = Setup { config: config(), ..Setup::default() }.start(folder.path()).await;
    send_all(&shards, WEBHOOKS / 2..WEBHOOKS).await;

    let all = pages(&shards, &beginning(), vec![]);
    let whole: Vec<u64> = (1..=2 + WEBHOOKS).collect();
    let expected: BTreeMap<_, _> = (0..ACCOUNTS).map(|n| (format!("account-{n}"), whole.clone())).collect();
    assert_eq!(numbers(&all), expected);

    // In the order of the log, and whoever goes on behind any entry gets exactly the rest.
    for shard in (0..SHARDS).map(ShardId) {
        let items = all.iter().filter(|page| page.shard == shard).flat_map(|page| &page.items);
        let at = |item: &LogItem| match item {
            LogItem::Event { entry, .. } => entry.index,
            LogItem::Gap { .. } => panic!("nothing was forgotten"),
        };
        let items: Vec<&LogItem> = items.collect();
        assert!(items.iter().is_sorted_by_key(|item| at(item)));
        let last = at(items[items.len() - 1]);
        for after in (0..=last.0).map(LogIndex) {
            let rest = pages(&shards, &[(shard, after)].into(), vec![]);
            let rest: Vec<&LogItem> = rest.iter().flat_map(|page| &page.items).collect();
            let wanted: Vec<&LogItem> = items.iter().copied().filter(|item| at(item) > after).collect();
            assert_eq!(rest, wanted);
        }
    }
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_miss_nothing_while_events_come() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup { config: config(), ..Setup::default() }.start(folder.path()).await;
    for n in 0..ACCOUNTS {
        founded(&shards, &format!("account-{n}")).await;
    }
    let read_along = |shards: &Shards| {
        let mut reader = shards.log_feed().reader(vec![]);
        beginning().into_iter().for_each(|(shard, after)| reader.follow(shard, after));
        spawn("test", async move {
            let mut pages = vec![];
            let mut events = 0;
            while events < ACCOUNTS * (2 + READ_ALONG) {
                let page = reader.next().await.unwrap();
                events += u64::try_from(page.items.len()).unwrap();
                pages.push(page);
            }
            numbers(&pages)
        })
    };
    let readers: Vec<_> = (0..4).map(|_| read_along(&shards)).collect();
    send_all(&shards, 0..READ_ALONG).await;
    let whole: Vec<u64> = (1..=2 + READ_ALONG).collect();
    for reader in readers {
        let seen = tokio::time::timeout(SOON, reader).await.expect("everything comes").unwrap();
        assert!(seen.values().all(|seqs| *seqs == whole), "{seen:?}");
    }
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_told_of_what_happens_and_gets_what_it_wants() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup { config: config(), ..Setup::default() }.start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    let mut reader = shards.log_feed().reader(vec![Pattern::parse("webhook.**").unwrap()]);
    let shard = shards.shard_of(&acme);
    reader.follow(shard, shards.log_feed().tip(shard));
    let reading = spawn("test", async move {
        loop {
            let page = reader.next().await.unwrap();
            if !page.items.is_empty() {
                return page;
            }
        }
    });
    shards.execute(&acme, asked(Command::DeleteSource { source: zoom() })).await.unwrap();
    shards.execute(&acme, asked(crate::harness::create_source())).await.unwrap();
    send((*shards).clone(), "acme".to_owned(), 0..1).await;
    let page = reading.await.unwrap();
    assert_eq!(numbers(&[page]), [("acme".to_owned(), vec![5])].into());
    shards.stop().await;
}

#[tokio::test]
async fn what_retention_took_is_named_to_those_who_missed_it() {
    let folder = tempfile::tempdir().unwrap();
    let retention = Retention { events_max: 10, age_max: YEAR };
    let config = ShardsConfig { retention, ..config() };
    let clock = std::sync::Arc::new(ManualClock::new(Timestamp(1 << 40)));
    let shards = Setup { config, clock: clock.clone(), ..Setup::default() }.start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    let shard = shards.shard_of(&acme);
    send((*shards).clone(), "acme".to_owned(), 0..18).await;
    let up_to_date = shards.log_feed().tip(shard);
    let reads = shards.reads();
    let bounds = || {
        clock.advance(Duration::from_secs(1));
        reads.bounds(&acme).unwrap()
    };
    until("the feed is trimmed", || bounds() == (11, 20)).await;
    let from = |after| pages(&shards, &[(shard, after)].into(), vec![]).into_iter().flat_map(|page| page.items);
    let mut items = from(LogIndex(0));
    assert_eq!(items.next(), Some(LogItem::Gap { account: acme.clone(), last_lost_seq: 10 }));
    let seqs: Vec<u64> = items
        .map(|item| match item {
            LogItem::Event { entry, .. } => entry.seq,
            LogItem::Gap { .. } => panic!("it was named before"),
        })
        .collect();
    assert_eq!(seqs, (11..=20).collect::<Vec<u64>>());
    assert_eq!(from(up_to_date).next(), None, "it had read what is gone");
    shards.stop().await;
}

async fn acknowledge(shards: &Started, index: u64) -> Result<(), AcknowledgeError> {
    shards.acknowledge(ShardId(0), &ConsumerId::parse("ledger").unwrap(), LogIndex(index)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_everything_is_durable_and_costs_nothing_where_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let setup = || Setup { config: ShardsConfig { shards: 1, ..config() }, ..Setup::default() };
    let shards = setup().start(folder.path()).await;
    founded(&shards, "acme").await;
    let tip = shards.log_feed().tip(ShardId(0));
    let ledger = ConsumerId::parse("ledger").unwrap();
    assert_eq!(shards.reads().shard_consumer(ShardId(0), &ledger).unwrap(), None);
    let refused = acknowledge(&shards, tip.0 + 1).await.unwrap_err();
    assert!(matches!(refused, AcknowledgeError::Ahead { .. }), "{refused}");
    acknowledge(&shards, tip.0).await.unwrap();
    let noted = shards.log_feed().tip(ShardId(0));
    assert!(noted > tip);
    acknowledge(&shards, tip.0).await.unwrap();
    assert_eq!(shards.log_feed().tip(ShardId(0)), noted, "nothing was logged");
    acknowledge(&shards, 1).await.unwrap();
    shards.crash().await;
    let shards = setup().start(folder.path()).await;
    assert_eq!(shards.reads().shard_consumer(ShardId(0), &ledger).unwrap(), Some(LogIndex(1)));
    shards.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_consumers_of_everything_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let shards =
        Setup { config: ShardsConfig { shards: 1, ..config() }, ..Setup::default() }.start(folder.path()).await;
    shards.execute(&AccountId::parse("acme").unwrap(), asked(create())).await.unwrap();
    let named = |n: u32| ConsumerId::parse(&format!("consumer-{n}")).unwrap();
    for n in 0..256 {
        shards.acknowledge(ShardId(0), &named(n), LogIndex(1)).await.unwrap();
    }
    let refused = shards.acknowledge(ShardId(0), &named(256), LogIndex(1)).await.unwrap_err();
    assert!(matches!(refused, AcknowledgeError::TooMany), "{refused}");
    shards.acknowledge(ShardId(0), &named(0), LogIndex(0)).await.unwrap();
    let nowhere = shards.acknowledge(ShardId(9), &named(0), LogIndex(0)).await.unwrap_err();
    assert!(matches!(nowhere, AcknowledgeError::Execute(ExecuteError::NotLed { .. })), "{nowhere}");
    shards.stop().await;
}
