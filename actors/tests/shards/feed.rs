//! The feed: gapless for every subscriber, over restarts, with a gap named where events were forgotten.

use std::time::Duration;

use crate::harness::{Setup, asked, founded, until, webhook};
use steward_actors::codec::event_type;
use steward_actors::domain::account::Command;
use steward_actors::domain::ids::{AccountId, ConsumerId};
use steward_actors::domain::pattern::Pattern;
use steward_actors::feed::{Feed, Item};
use steward_actors::shard::{Retention, Shards, ShardsConfig};
use steward_actors::supervisor::spawn;

const EVENTS: u64 = 300;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

async fn send(shards: &Shards, account: &AccountId, deliveries: std::ops::Range<u64>) {
    for n in deliveries {
        shards.execute(account, asked(webhook(&format!("d-{n}")))).await.unwrap();
    }
}

/// Reads numbers up to the last one wanted.
async fn numbers(feed: Feed, account: AccountId, after: u64, through: u64) -> Vec<u64> {
    let mut subscription = feed.subscribe(&account, after, vec![]);
    let mut numbers = vec![];
    while numbers.last() != Some(&through) {
        match subscription.next().await.unwrap() {
            Item::Event(entry) => numbers.push(entry.seq),
            Item::CaughtUp(seq) => assert_eq!(seq, numbers.last().copied().unwrap_or(after)),
            gap @ Item::Gap { .. } => panic!("{gap:?}"),
        }
    }
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_miss_nothing_while_events_come_and_nodes_go() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup::default().start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    let half = 2 + EVENTS / 2;
    let read = |shards: &Shards, after, through| {
        let (feed, acme) = (shards.feed(), acme.clone());
        spawn("test", numbers(feed, acme, after, through))
    };
    let readers: Vec<_> = (0..8).map(|after| read(&shards, after, half)).collect();
    send(&shards, &acme, 0..EVENTS / 2).await;
    for (after, reader) in (0..).zip(readers) {
        assert_eq!(reader.await.unwrap(), (after + 1..=half).collect::<Vec<u64>>());
    }
    shards.crash().await;
    let shards = Setup::default().start(folder.path()).await;
    let reader = read(&shards, half, 2 + EVENTS);
    send(&shards, &acme, EVENTS / 2..EVENTS).await;
    assert_eq!(reader.await.unwrap(), (half + 1..=2 + EVENTS).collect::<Vec<u64>>());
    shards.stop().await;
}

#[tokio::test]
async fn patterns_choose_and_the_cursor_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup::default().start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    send(&shards, &acme, 0..1).await;
    let pattern = Pattern::parse("webhook.zoom.**").unwrap();
    let mut subscription = shards.feed().subscribe(&acme, 0, vec![pattern]);
    let Item::Event(entry) = subscription.next().await.unwrap() else { panic!("an event comes first") };
    assert_eq!((entry.seq, event_type(&entry.event).as_str()), (3, "webhook.zoom.recording.completed"));
    assert_eq!(subscription.next().await.unwrap(), Item::CaughtUp(3));
    assert_eq!(subscription.try_next().unwrap(), None);
    shards.execute(&acme, asked(Command::DeleteSource { source: crate::harness::zoom() })).await.unwrap();
    assert_eq!(subscription.next().await.unwrap(), Item::CaughtUp(4));
    let since = shards.feed().seek_time(&acme, entry.at).unwrap();
    assert!((1..=3).contains(&since), "{since}");
    shards.stop().await;
}

#[tokio::test]
async fn acknowledged_cursors_are_durable() {
    let folder = tempfile::tempdir().unwrap();
    let shards = Setup::default().start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    let crm = ConsumerId::parse("crm").unwrap();
    assert_eq!(shards.reads().consumer(&acme, &crm).unwrap(), None);
    let ack = |seq| asked(Command::AckConsumer { consumer: crm.clone(), seq });
    shards.execute(&acme, ack(2)).await.unwrap();
    shards.execute(&acme, ack(3)).await.unwrap_err();
    shards.crash().await;
    let shards = Setup::default().start(folder.path()).await;
    assert_eq!(shards.reads().consumer(&acme, &crm).unwrap(), Some(2));
    shards.stop().await;
}

#[tokio::test]
async fn what_retention_took_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let retention = Retention { events_max: 10, age_max: YEAR };
    let config = ShardsConfig { retention, ..ShardsConfig::default() };
    let clock =
        std::sync::Arc::new(steward_cluster::clock::ManualClock::new(steward_cluster::clock::Timestamp(1 << 40)));
    let setup = Setup { config, clock: clock.clone(), ..Setup::default() };
    let shards = setup.start(folder.path()).await;
    let acme = founded(&shards, "acme").await;
    send(&shards, &acme, 0..18).await;
    let reads = shards.reads();
    // The walk rests between two rounds, so time must go on until it comes by.
    let bounds = || {
        clock.advance(Duration::from_secs(1));
        reads.bounds(&acme).unwrap()
    };
    until("the feed is trimmed", || bounds() == (11, 20)).await;
    let mut subscription = shards.feed().subscribe(&acme, 4, vec![]);
    assert_eq!(subscription.next().await.unwrap(), Item::Gap { first_lost_seq: 5, last_lost_seq: 10 });
    let Item::Event(entry) = subscription.next().await.unwrap() else { panic!("the feed goes on") };
    assert_eq!(entry.seq, 11);
    clock.advance(YEAR);
    until("only the newest event stays", || bounds() == (20, 20)).await;
    shards.stop().await;
}
