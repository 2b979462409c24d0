//! Who used the CPU while something was measured: the system under test, this process, everybody else. From /proc.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

use anyhow::Context as _;
use steward_cluster::clock::{Clock, SystemClock};

use crate::figure::real;

/// What the kernel counts CPU time in, per second.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a line of memory in /proc/…/status.
const KIB: f64 = 1024.0;

/// CPU time used between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    /// Of the system under test, its children included.
    pub(crate) cpu_s: f64,
    /// Of the load generator.
    pub(crate) own_cores: f64,
    /// Of everything else on the machine.
    pub(crate) other_cores: f64,
}

/// The beginning of a measured time.
pub(crate) struct Meter {
    clock: SystemClock,
    pids: Vec<u32>,
    trees: u64,
    own: u64,
    machine: u64,
}

impl Meter {
    /// Watches these processes with their children.
    pub(crate) fn start(pids: &[u32]) -> anyhow::Result<Self> {
        let (trees, own, machine) = (trees(pids)?, ticks(std::process::id())?, machine()?);
        Ok(Self { clock: SystemClock::new(), pids: pids.to_vec(), trees, own, machine })
    }

    pub(crate) fn stop(self) -> anyhow::Result<Usage> {
        let seconds = self.clock.monotonic().as_secs_f64();
        let cores = |ticks: u64| real(ticks) / TICKS_PER_SECOND / seconds;
        let tree = trees(&self.pids)?.saturating_sub(self.trees);
        let own = ticks(std::process::id())?.saturating_sub(self.own);
        let machine = machine()?.saturating_sub(self.machine);
        Ok(Usage {
            seconds,
            cpu_s: real(tree) / TICKS_PER_SECOND,
            own_cores: cores(own),
            other_cores: cores(machine.saturating_sub(tree + own)),
        })
    }
}

/// Watches over the measured time of a plan that starts now.
pub(crate) async fn over(pids: &[u32], warmup: Duration, measured: Duration) -> anyhow::Result<Usage> {
    tokio::time::sleep(warmup).await;
    let meter = Meter::start(pids)?;
    tokio::time::sleep(measured).await;
    meter.stop()
}

/// Resident memory of a process.
pub(crate) fn rss_mb(pid: u32) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
    Ok(real(kib) * KIB / 1e6)
}

/// User and system time of one process.
fn ticks(pid: u32) -> anyhow::Result<u64> {
    Ok(stat(pid).with_context(|| format!("process {pid} is gone"))?.own)
}

/// What is read of a process.
struct Stat {
    parent: u32,
    /// User and system time.
    own: u64,
    /// That of its children that have ended.
    ended: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in the second field may hold anything; the numbers follow its closing parenthesis.
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let parent = u32::try_from(number(1)?).ok()?;
    Some(Stat { parent, own: number(11)? + number(12)?, ended: number(13)? + number(14)? })
}

/// Time of these processes and everything they started.
fn trees(pids: &[u32]) -> anyhow::Result<u64> {
    let entries = fs::read_dir("/proc").context("no /proc")?;
    let all = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let stats: HashMap<u32, Stat> = all.filter_map(|pid| Some((pid, stat(pid)?))).collect();
    let mut members: HashSet<u32> = pids.iter().copied().collect();
    loop {
        let children: Vec<u32> = stats
            .iter()
            .filter(|(pid, stat)| members.contains(&stat.parent) && !members.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        if children.is_empty() {
            break;
        }
        members.extend(children);
    }
    Ok(members.iter().filter_map(|pid| stats.get(pid)).map(|stat| stat.own + stat.ended).sum())
}

/// Busy time of the whole machine: user, nice, system, irq, softirq.
fn machine() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/stat").context("no /proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_ascii_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    Ok([0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum())
}
