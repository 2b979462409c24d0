//! A great many webhooks of six platforms, shuffled, doubled, forged and old, and a node that is killed among them. At the
//! end every one that was valid is on its account's feed once, as it was sent, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use steward_cluster::clock::{Clock as _, SystemClock};
use steward_proto::webhook::v1::ListSourcesRequest;
use steward_tests::harness::{Api, Node, Platform, data, eventually};
use tokio::task::JoinSet;

use crate::senders::{Answers, How, ITEMS, Senders, Shot, Source, delivery, item, text};

/// Different valid webhooks.
const WEBHOOKS: u64 = if cfg!(feature = "chaos") { 100_000 } else { 6_000 };
/// Of a hundred webhooks so many are sent again, besides so many forged and old ones.
const AGAIN_OF_100: u32 = 3;
const TWICE_OF_100: u32 = 3;
const LATER_OF_100: u32 = 4;
const FORGED_OF_100: u32 = 5;
const STALE_OF_100: u32 = 2;
/// Numbers of those that must not be on any feed.
const REFUSED_FROM: u64 = 1_000_000_000;
const ACCOUNTS: [&str; 3] = ["north", "south", "west"];
const SENDERS: usize = 16;
/// What a source counts for a refused request that it could not keep.
const NOT_KEPT: &str = "not_kept";
const SEED: u64 = 41;
/// How long the senders may take to get to the middle, and to the end.
const SENDING_MAX: Duration = Duration::from_secs(1_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_valid_webhook_is_on_its_feed_once_whatever_came_between() {
    let clock = SystemClock::new();
    let mut node = Node::start();
    let sources = sources(&node.api().await).await;
    let shots = plan(&sources);
    let senders = Arc::new(Senders::new(sources, shots));
    let mut sending = JoinSet::new();
    for _ in 0..SENDERS {
        let senders = Arc::clone(&senders);
        sending.spawn(async move { senders.send().await });
    }
    senders.find(Some(node.http()));
    let half = async || (senders.taken() >= senders.shots.len() / 2).then_some(());
    eventually(SENDING_MAX, "half of the webhooks to be sent", half).await;
    senders.find(None);
    node.kill();
    let killed_after = clock.monotonic();
    node.restart();
    senders.find(Some(node.http()));
    let all = async { while sending.join_next().await.transpose().expect("senders do not panic").is_some() {} };
    tokio::time::timeout(SENDING_MAX, all).await.expect("all are answered in time");
    let sent_after = clock.monotonic();

    let api = node.api().await;
    let (before, after) = (senders.answers(0), senders.answers(1));
    let unanswered = senders.unanswered.load(Ordering::SeqCst);
    let requests = senders.requests.load(Ordering::SeqCst);
    eprintln!(
        "{WEBHOOKS} webhooks, {requests} requests in {sent_after:.1?}, killed after {killed_after:.1?}, {unanswered} \
         unanswered; before {:?}, after {:?}",
        totals(&before),
        totals(&after)
    );
    assert!(unanswered > 0, "the node was killed while nothing was in hand");
    assert!(unanswered <= 2 * u64::try_from(SENDERS).unwrap(), "{unanswered} requests got no answer");
    let told = told(&api, &senders.sources).await;
    // Said besides the reason of a refusal: a node keeps only some refused requests a second, which fast senders exceed.
    let (not_kept, told): (Answers, Answers) = told.into_iter().partition(|((_, what), _)| what == NOT_KEPT);
    assert_eq!(told, after, "what the node counted since its start is what it answered");
    for ((source, _), count) in not_kept {
        let refused = |why: &str| after.get(&(source, why.to_owned())).copied().unwrap_or_default();
        assert!(count <= refused("bad_signature") + refused("expired"), "{count} of source {source} were not kept");
    }
    let mut on_feeds = 0;
    for account in ACCOUNTS {
        on_feeds += check_feed(&api, account, &senders).await;
    }
    let accepted: u64 = [&before, &after].iter().filter_map(|answers| totals(answers).remove("accepted")).sum();
    // One that was taken when the node died is told as repeated later.
    assert!((0..=unanswered).contains(&(WEBHOOKS - accepted)), "{accepted} were answered as new");
    eprintln!("{on_feeds} events on the feeds, checked after {:.1?}", clock.monotonic());
}

async fn sources(api: &Api) -> Vec<Source> {
    let mut sources = vec![];
    for account in ACCOUNTS {
        api.create_account(account).await;
        for platform in Platform::ALL {
            let name = platform.scheme().to_owned();
            let path = api.create_source(account, &name, platform.scheme(), platform.secret()).await;
            sources.push(Source { account, name, platform, path });
        }
    }
    sources
}

/// Each source sends webhooks of its own numbers, from 0 on.
fn plan(sources: &[Source]) -> Vec<Shot> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut shots = vec![];
    for nth in 0..WEBHOOKS {
        let (source, number) = place(nth, sources.len());
        let how = match random.random_range(0..100_u32) {
            dice if dice < TWICE_OF_100 => How::Twice,
            dice if dice < TWICE_OF_100 + AGAIN_OF_100 => How::Again,
            _ => How::Once,
        };
        shots.push(Shot { source, number, how });
        let mut also = |of_100: u32, number: u64, how: How| {
            if random.random_range(0..100) < of_100 {
                shots.push(Shot { source, number, how });
            }
        };
        also(LATER_OF_100, number, How::Once);
        also(FORGED_OF_100, REFUSED_FROM + number, How::Forged);
        // GitHub signs no time.
        let of_stamped = if sources[source].platform == Platform::GitHub { 0 } else { STALE_OF_100 };
        also(of_stamped, REFUSED_FROM + number, How::Stale);
    }
    shots.shuffle(&mut random);
    shots
}

/// The source of a webhook, and its number there.
fn place(nth: u64, sources: usize) -> (usize, u64) {
    let sources = u64::try_from(sources).expect("a few");
    (usize::try_from(nth % sources).expect("a few"), nth / sources)
}

/// How many webhooks a source sends.
fn numbers(source: usize, sources: usize) -> u64 {
    (0..WEBHOOKS).rev().map(|nth| place(nth, sources)).find(|(of, _)| *of == source).map_or(0, |(_, last)| last + 1)
}

fn totals(answers: &Answers) -> BTreeMap<&str, u64> {
    let mut totals = BTreeMap::new();
    answers.iter().for_each(|((_, what), count)| *totals.entry(what.as_str()).or_default() += count);
    totals
}

/// What the node counted, by source.
async fn told(api: &Api, sources: &[Source]) -> Answers {
    let mut told = Answers::new();
    for account in ACCOUNTS {
        let request = ListSourcesRequest { account_id: account.to_owned() };
        let listed = api.webhooks().list_sources(request).await.expect("sources are listed").into_inner().sources;
        for listed in listed {
            let of = |source: &Source| source.account == account && source.name == listed.source_id;
            let source = sources.iter().position(of).expect("there are no others");
            told.extend(listed.counts.into_iter().map(|count| ((source, count.what), count.count)));
        }
    }
    told
}

/// Checks an account's feed; returns how many webhooks are on it.
async fn check_feed(api: &Api, account: &str, senders: &Senders) -> usize {
    let mut seen: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    let mut webhooks = 0;
    for event in api.feed(account).await.iter().filter(|event| event.r#type.starts_with("webhook.")) {
        let told = data(event);
        let of = |source: &&Source| source.account == account && told["source"] == json!(source.name);
        let source = senders.sources.iter().find(of).expect("webhooks come from sources");
        let number = number_of(source.platform, &told);
        assert_eq!(told_body(&told), expected(source.platform, number), "{account} {} {number}", source.name);
        assert!(seen.entry(&source.name).or_default().insert(number), "{account} has {} {number} twice", source.name);
        webhooks += 1;
    }
    for (at, source) in senders.sources.iter().enumerate().filter(|(_, source)| source.account == account) {
        let count = numbers(at, senders.sources.len());
        let expected: BTreeSet<u64> = match source.platform {
            Platform::HubSpot => (0..=ITEMS * count).collect(),
            Platform::Stripe | Platform::GitHub | Platform::Slack | Platform::Zoom | Platform::Standard => {
                (0..count).collect()
            }
        };
        assert!(seen[source.name.as_str()] == expected, "{account} {}: others than were sent", source.name);
    }
    webhooks
}

/// The number by the ids the event has, or by what it is recognised by.
fn number_of(platform: Platform, told: &Value) -> u64 {
    let id = || told["delivery_ids"][0].as_str().expect("a webhook has an id").to_owned();
    let behind = |text: String, mark: char| text.rsplit(mark).next().and_then(|number| number.parse().ok());
    let number = match platform {
        Platform::GitHub | Platform::Standard => behind(id(), '-'),
        Platform::Stripe => behind(id(), '_'),
        Platform::Slack => id().strip_prefix("Ev").and_then(|number| number.parse().ok()),
        Platform::Zoom => told["body"]["event_ts"].as_u64(),
        Platform::HubSpot => behind(id(), ':'),
    };
    number.unwrap_or_else(|| panic!("{platform:?}: no number in {told}"))
}

fn told_body(told: &Value) -> Value {
    let other = told.get("body_text").or_else(|| told.get("body_base64"));
    told.get("body").or(other).cloned().unwrap_or_default()
}

fn expected(platform: Platform, number: u64) -> Value {
    match platform {
        Platform::HubSpot => item(number),
        Platform::GitHub if number % 2 == 1 => json!(text(number)),
        Platform::GitHub | Platform::Stripe | Platform::Slack | Platform::Zoom | Platform::Standard => {
            serde_json::from_slice(&delivery(platform, number).body).expect("samples are JSON")
        }
    }
}
