//! Log lines and metrics. Started by the composition root; nothing else installs a subscriber or a recorder.
//!
//! # Invariants
//! - **T1 discreet**: log lines are constant text plus fields; no payload and no secret is among them.
//! - **T2 traceable**: every line of a request carries its correlation id, from its span or as a field.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use steward_cluster::clock::Timestamp;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::util::TryInitError;

use crate::config::{Log, LogFormat};
use crate::metrics;

/// Upper bounds of the buckets of durations, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
/// Upper bounds of the buckets of attempts at tasks, in seconds: up to an hour of video work.
const TASK_SECONDS: [f64; 10] = [0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0];
/// Upper bounds of the buckets of batch sizes.
const COUNTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];
/// The histograms that count things instead of time.
const COUNTED: [&str; 3] = ["steward_entry_decisions", "steward_raft_apply_entries", "steward_raft_batch_records"];
/// Bytes of a memory page, on every machine this runs on.
const PAGE_BYTES: u64 = 4_096;
/// What the kernel counts CPU time in, per second.
const TICKS_PER_SECOND: u64 = 100;

/// Why nothing could be told about this process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error("the log filter cannot be read")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("a log is installed already")]
    Log(#[from] TryInitError),
    #[error("the metrics recorder cannot be installed")]
    Metrics(#[from] BuildError),
}

/// Sends log lines to stderr.
pub(crate) fn start_log(log: &Log) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&log.level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log.format {
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).finish().try_init()?,
        LogFormat::Pretty => builder.with_target(false).with_ansi(io::stderr().is_terminal()).finish().try_init()?,
    }
    Ok(())
}

/// Starts counting.
pub(crate) fn start_metrics(started_at: Timestamp) -> Result<PrometheusHandle, TelemetryError> {
    let handle = recorder()?.install_recorder()?;
    metrics::describe();
    metrics::start_time_seconds(started_at);
    Ok(handle)
}

/// What records, with buckets that fit what each histogram measures.
fn recorder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new().set_buckets(&SECONDS)?;
    for name in ["steward_task_seconds", "steward_task_wait_seconds"] {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &TASK_SECONDS)?;
    }
    for name in COUNTED {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), &COUNTS)?;
    }
    Ok(builder)
}

/// All metrics, as Prometheus reads them.
pub(crate) fn render(handle: &PrometheusHandle) -> String {
    handle.run_upkeep();
    let mut out = handle.render();
    if let Some(process) = Process::read() {
        process.write(&mut out);
    }
    out
}

/// What the kernel tells about this process.
struct Process {
    cpu_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
    open_files: u64,
}

impl Process {
    fn read() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name in the second field may hold anything; the numbers follow its closing parenthesis.
        let (_, numbers) = stat.rsplit_once(") ")?;
        let numbers: Vec<&str> = numbers.split_ascii_whitespace().collect();
        let number = |at: usize| numbers.get(at)?.parse::<u64>().ok();
        let open_files = std::fs::read_dir("/proc/self/fd").ok()?.count();
        Some(Self {
            cpu_ticks: number(11)? + number(12)?,
            threads: number(17)?,
            virtual_bytes: number(20)?,
            resident_bytes: number(21)? * PAGE_BYTES,
            open_files: u64::try_from(open_files).ok()?,
        })
    }

    fn write(&self, out: &mut String) {
        let (seconds, hundredths) = (self.cpu_ticks / TICKS_PER_SECOND, self.cpu_ticks % TICKS_PER_SECOND);
        let families = [
            ("process_cpu_seconds_total", "counter", "CPU time used.", format!("{seconds}.{hundredths:02}")),
            ("process_threads", "gauge", "Threads.", self.threads.to_string()),
            ("process_virtual_memory_bytes", "gauge", "Address space.", self.virtual_bytes.to_string()),
            ("process_resident_memory_bytes", "gauge", "Memory in use.", self.resident_bytes.to_string()),
            ("process_open_fds", "gauge", "Open descriptors.", self.open_files.to_string()),
        ];
        for (name, kind, help, value) in families {
            writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
                .expect("a string takes any text");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_about_this_process() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > PAGE_BYTES && process.open_files >= 3 && process.threads >= 1);
        let mut out = String::new();
        process.write(&mut out);
        assert!(out.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "), "{out}");
    }

    #[test]
    fn sizes_and_times_have_buckets_of_their_own() {
        let recorder = recorder().unwrap().build_recorder();
        ::metrics::with_local_recorder(&recorder, || {
            ::metrics::histogram!("steward_entry_decisions").record(9.0);
            ::metrics::histogram!("steward_log_append_seconds").record(0.003);
        });
        let text = recorder.handle().render();
        assert!(text.contains("steward_entry_decisions_bucket{le=\"16\"} 1"), "{text}");
        assert!(text.contains("steward_log_append_seconds_bucket{le=\"0.005\"} 1"), "{text}");
    }
}
