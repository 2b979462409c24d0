//! What it costs to tell whether a webhook is its sender's: CPU time of one verification, for every scheme with a key.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::figure::{Figure, Report, Want, count, median};
use crate::resign::{Request, requests};
use crate::{Settings, figure};

/// Bytes of a body.
const BODY_BYTES: usize = 1_024;
/// Verifications of a run.
const TIMES: usize = 2_000;
/// The same with a public key.
const TIMES_PUBLIC: usize = 200;
/// Microseconds one may take with a shared key.
const MOST_US: f64 = 15.0;

pub(crate) fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# verify: one webhook of 1 KiB, CPU time of this thread; public keys: bodies of 100 to 200 bytes");
    let requests = requests(BODY_BYTES)?;
    let mut runs: Vec<Vec<f64>> = vec![vec![]; requests.len()];
    for _ in 0..settings.runs {
        for (request, us) in requests.iter().zip(&mut runs) {
            us.push(time(request)?);
        }
    }
    let of_shared = requests.iter().zip(&runs).filter(|(request, _)| request.is_shared);
    let mut shared: Vec<(&str, &Vec<f64>)> = of_shared.map(|(request, us)| (request.scheme, us)).collect();
    shared.sort_by(|(_, one), (_, other)| median(one).total_cmp(&median(other)));
    let of_run = |run: usize| median(&shared.iter().map(|(_, us)| us[run]).collect::<Vec<_>>());
    let medians: Vec<f64> = (0..settings.runs).map(of_run).collect();
    let (worst, worst_us) = shared.last().context("no scheme has a shared key")?;
    let schemes = shared.len();
    let figure = |case: String, us: &[f64]| Figure::new("verify", case, "cpu_us", us);
    report.add(figure(format!("median-of-{schemes}-shared"), &medians).want(Want::AtMost(MOST_US)));
    report.add(figure(format!("worst-{worst}"), worst_us).want(Want::AtMost(MOST_US)));
    for (request, us) in requests.iter().zip(&runs).filter(|(request, _)| !request.is_shared) {
        report.add(figure(format!("public-{}", request.scheme), us));
    }
    Ok(())
}

/// Microseconds of one verification.
fn time(request: &Request) -> anyhow::Result<f64> {
    let times = if request.is_shared { TIMES } else { TIMES_PUBLIC };
    let begin = used()?;
    for _ in 0..times {
        ensure!(black_box(black_box(request).verifies()), "a webhook of {} does not verify any more", request.scheme);
    }
    Ok(used()?.saturating_sub(begin).as_secs_f64() * 1e6 / count(times))
}

/// CPU time of this thread.
fn used() -> anyhow::Result<Duration> {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).context("the CPU time of a thread is none")
}
