//! A node is emptied as an operator would before taking it away: how long it takes, and the pause of each shard.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use steward_actors::domain::ids::AccountId;
use steward_actors::shard::shard_of;
use steward_cluster::clock::{Clock, SystemClock};
use steward_proto::admin::v1::GetClusterResponse;
use tokio::time::sleep;

use super::nodes::{NODES, Operator, leads};
use super::stubborn::Doors;
use super::subject::{Batch, Subject};
use crate::figure::{Figure, Report, Want, count};
use crate::inbox::{Source, signed, source_of};
use crate::load::Requests;
use crate::{Settings, figure};

const SHARDS: u16 = 64;
/// A writer's own pause between an answer and its next webhook. It is part of every gap.
const BREATH: Duration = Duration::from_millis(5);
/// Writing before the move, and after the node leads nothing.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(2);
/// How long a node may take to lead nothing.
const EMPTY_MAX: Duration = Duration::from_secs(60);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Webhooks made ready for each writer; more than it writes.
const WRITES_MAX: usize = 16_000;
const CASE: &str = "drain";

/// What one writer saw.
struct Gaps {
    before: Duration,
    during: Duration,
    acknowledged: Vec<usize>,
}

/// What came of all moves.
#[derive(Default)]
struct Seen {
    empty_s: Vec<f64>,
    settled_s: Vec<f64>,
    shards: Vec<f64>,
    /// Of every writer in every run.
    before_ms: Vec<f64>,
    during_ms: Vec<f64>,
    errors: Vec<f64>,
}

pub(super) async fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# cluster-moves: a node is drained while one writer for each shard it leads writes in a closed loop");
    let mut subject = Subject::start(settings, usize::from(SHARDS)).await?;
    let mut seen = Seen::default();
    for run in 0..settings.runs {
        drain(&mut subject, run % NODES, &mut seen).await?;
        let (empty_s, shards) = (seen.empty_s.last().unwrap_or(&0.0), seen.shards.last().unwrap_or(&0.0));
        figure::say(&format!("# run {run}: {shards} shards led elsewhere after {empty_s:.3} s"));
    }
    let figure = |metric, runs: &[f64]| Figure::new("cluster", CASE, metric, runs);
    report.add(figure("shards_led", &seen.shards));
    report.add(figure("leads_nothing_after_s", &seen.empty_s).want(Want::AtMost(3.0)));
    report.add(figure("settled_after_undo_s", &seen.settled_s));
    report.add(figure("longest_gap_before_p99_ms", &[percentile_99(&mut seen.before_ms)]));
    report.add(figure("longest_gap_p50_ms", &[figure::median(&seen.during_ms)]));
    report.add(figure("longest_gap_p99_ms", &[percentile_99(&mut seen.during_ms)]).want(Want::AtMost(50.0)));
    report.add(figure("errors", &seen.errors));
    Ok(())
}

async fn drain(subject: &mut Subject, at: usize, seen: &mut Seen) -> anyhow::Result<()> {
    let node = subject.cluster.nodes[at].id;
    let operator = Operator::of(&subject.cluster.nodes[(at + 1) % NODES]).await?;
    let overview = operator.cluster().await?;
    let sources = one_of_each(subject.sources(), &led_by(&overview, node))?;
    let prefix = subject.prefix();
    let requests = Rc::new(signed(&sources, &prefix, sources.len() * WRITES_MAX));
    let batch = Batch { prefix, requests };
    let (clock, doors) = (SystemClock::new(), Doors::new(subject.cluster.addresses()));
    let (asked, is_over) = (Cell::new(None), Cell::new(false));
    let script = async {
        sleep(BEFORE).await;
        let before = clock.monotonic();
        asked.set(Some(before));
        operator.drain(node, false).await?;
        while leads(&operator.cluster().await?, node) > 0 {
            if clock.monotonic().saturating_sub(before) > EMPTY_MAX {
                bail!("a drained node still leads after {EMPTY_MAX:?}");
            }
            sleep(POLL).await;
        }
        let empty = clock.monotonic().saturating_sub(before);
        sleep(AFTER).await;
        is_over.set(true);
        Ok(empty)
    };
    let writers = sources.len();
    let writing = (0..writers).map(|writer| {
        let mine = (0..batch.requests.len()).filter(move |at| source_of(*at, writers) == writer);
        write(
            Writer { clock: &clock, doors: &doors, asked: &asked, is_over: &is_over, node: writer },
            &batch.requests,
            mine,
        )
    });
    let (empty, gaps) = tokio::try_join!(script, try_join_all(writing))?;
    let clock = SystemClock::new();
    operator.drain(node, true).await?;
    subject.cluster.settled().await?;
    seen.settled_s.push(clock.monotonic().as_secs_f64());
    seen.empty_s.push(empty.as_secs_f64());
    seen.shards.push(count(writers));
    seen.before_ms.extend(gaps.iter().map(|gaps| gaps.before.as_secs_f64() * 1000.0));
    seen.during_ms.extend(gaps.iter().map(|gaps| gaps.during.as_secs_f64() * 1000.0));
    seen.errors.push(figure::real(doors.troubles().counts.values().sum()));
    let acknowledged: Vec<usize> = gaps.into_iter().flat_map(|gaps| gaps.acknowledged).collect();
    subject.read_back(&batch, &acknowledged).await?.none(&batch.prefix)
}

/// One client of one shard, which prefers one node.
struct Writer<'w> {
    clock: &'w SystemClock,
    doors: &'w Doors,
    /// When the move was asked for.
    asked: &'w Cell<Option<Duration>>,
    is_over: &'w Cell<bool>,
    node: usize,
}

async fn write(writer: Writer<'_>, requests: &Requests, mine: impl Iterator<Item = usize>) -> anyhow::Result<Gaps> {
    let mut gaps = Gaps { before: Duration::ZERO, during: Duration::ZERO, acknowledged: vec![] };
    let mut last = writer.clock.monotonic();
    for at in mine {
        let request = requests.get(at).context("the requests are used up")?;
        ensure!(writer.doors.deliver(request, writer.node).await, "a webhook was given up while a node was drained");
        let now = writer.clock.monotonic();
        let gap = now.saturating_sub(last);
        // The first one opens its connection.
        let longest = if writer.asked.get().is_some() { &mut gaps.during } else { &mut gaps.before };
        if !gaps.acknowledged.is_empty() {
            *longest = gap.max(*longest);
        }
        gaps.acknowledged.push(at);
        if writer.is_over.get() {
            return Ok(gaps);
        }
        last = now;
        sleep(BREATH).await;
    }
    bail!("a writer's requests are used up")
}

fn led_by(overview: &GetClusterResponse, node: u64) -> BTreeSet<u32> {
    overview.shards.iter().filter(|shard| shard.leader == node).map(|shard| shard.shard).collect()
}

/// A source of one account in each of these shards.
fn one_of_each(sources: &[Source], shards: &BTreeSet<u32>) -> anyhow::Result<Vec<Source>> {
    let mut missing = shards.clone();
    let mut found = vec![];
    for source in sources {
        let account = AccountId::parse(&source.account).context("an account's name is none")?;
        if missing.remove(&u32::from(shard_of(&account, SHARDS).0)) {
            found.push(source.clone());
        }
    }
    ensure!(missing.is_empty() && !found.is_empty(), "no account lies in the shards {missing:?}");
    Ok(found)
}

/// The value that one of a hundred exceeds.
fn percentile_99(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let exceeding = values.len() / 100;
    values.len().checked_sub(1 + exceeding).map_or(f64::NAN, |at| values[at])
}
