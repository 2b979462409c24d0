//! The log alone: appenders that wait for their record to be durable, and the disk under them.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use steward_cluster::clock::{Clock, SystemClock};
use steward_cluster::ids::{LogIndex, ShardId, Term};
use steward_cluster::log::disk::{Disk, DiskFile, FolderDisk};
use steward_cluster::log::{Batch, Durable, Log, LogConfig, LogThread, RecordKind};
use steward_cluster::progress::Progress;

use crate::figure::{Figure, Report, Want, real};
use crate::meter::Meter;
use crate::{Settings, figure};

const APPENDERS: u16 = 64;
const PAYLOAD_BYTES: usize = 256;
/// What one write of the disk alone is.
const PAGE_BYTES: usize = 4096;
/// How long the disk alone is measured.
const DISK_MEASURED: Duration = Duration::from_secs(1);
/// The name of a file that is made ahead.
const SPARE_END: &str = ".spare";
const LATENCY_US_MAX: u64 = 60_000_000;

pub(crate) fn measure(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    figure::say("# log: 64 appenders of 256 bytes, each waiting for the disk; and the disk alone");
    let mut runs: Vec<Run> = vec![];
    let (mut fsync_p50, mut fsync_p99) = (vec![], vec![]);
    for _ in 0..settings.runs {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let fsync = fsync(folder.path())?;
        fsync_p50.push(ms(&fsync, 0.5));
        fsync_p99.push(ms(&fsync, 0.99));
        runs.push(run(folder.path(), settings.measured)?);
    }
    let of = |figure: fn(&Run) -> f64| -> Vec<f64> { runs.iter().map(figure).collect() };
    report.add(Figure::new("log", "disk-4096", "fsync_p50_ms", &fsync_p50));
    report.add(Figure::new("log", "disk-4096", "fsync_p99_ms", &fsync_p99));
    report.add(Figure::new("log", "appenders64", "rate_per_s", &of(|run| run.rate_per_s)));
    report.add(
        Figure::new("log", "appenders64", "flushes_per_op", &of(|run| run.flushes_per_op)).want(Want::AtMost(0.05)),
    );
    report.add(
        Figure::new("log", "appenders64", "bytes_per_payload_byte", &of(|run| run.bytes_ratio)).want(Want::AtMost(1.3)),
    );
    // At its highest here: no shard takes a snapshot, so no segment dies and becomes the next one.
    report.add(Figure::new("log", "appenders64", "ahead_bytes_per_payload_byte", &of(|run| run.ahead_ratio)));
    report.add(Figure::new("log", "appenders64", "p50_ms", &of(|run| run.p50_ms)));
    report.add(Figure::new("log", "appenders64", "p99_ms", &of(|run| run.p99_ms)));
    report.add(Figure::new("log", "machine", "other_cpu_cores", &of(|run| run.other_cores)));
    Ok(())
}

/// One append and one fdatasync after the other, in microseconds.
pub(crate) fn fsync(folder: &Path) -> anyhow::Result<Histogram<u64>> {
    let mut file = File::create_new(folder.join("fsync")).context("no file to sync")?;
    let (page, clock, mut latency) = ([7_u8; PAGE_BYTES], SystemClock::new(), histogram()?);
    while clock.monotonic() < DISK_MEASURED {
        let started = clock.monotonic();
        file.write_all(&page)?;
        file.sync_data()?;
        latency.saturating_record(us(clock.monotonic().saturating_sub(started)));
    }
    Ok(latency)
}

/// A quantile in milliseconds.
pub(crate) fn ms(latency: &Histogram<u64>, quantile: f64) -> f64 {
    real(latency.value_at_quantile(quantile)) / 1000.0
}

struct Run {
    rate_per_s: f64,
    flushes_per_op: f64,
    bytes_ratio: f64,
    ahead_ratio: f64,
    p50_ms: f64,
    p99_ms: f64,
    other_cores: f64,
}

fn run(folder: &Path, measured: Duration) -> anyhow::Result<Run> {
    let disk = Arc::new(Counting { folder: FolderDisk::open(&folder.join("log"))?, counts: Arc::default() });
    let counts = Arc::clone(&disk.counts);
    let (log, _) = Log::open(disk, LogConfig::default())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (tellers, ears): (Vec<SyncSender<()>>, Vec<Receiver<()>>) = (0..APPENDERS).map(|_| sync_channel(1)).unzip();
    let tell = move |durable: Durable| {
        let of = usize::try_from(durable.number).expect("numbers of appenders are small");
        tellers[of].send(()).ok(); // An appender that is done listens no more.
    };
    let log = LogThread::start(log, Arc::clone(&clock), Progress::default().part("log"), tell, |failure| {
        figure::say(&format!("log failed: {failure}"))
    })?;
    let (meter, bytes, syncs) = (Meter::start(&[])?, counts.bytes(), counts.syncs());
    let end = clock.monotonic() + measured;
    let latencies = std::thread::scope(|scope| {
        let appenders: Vec<_> = (0..APPENDERS)
            .zip(ears)
            .map(|(number, ear)| {
                let (log, clock) = (&log, clock.as_ref());
                scope.spawn(move || appender(log, clock, number, &ear, end))
            })
            .collect();
        appenders.into_iter().map(|appender| appender.join().expect("appenders do not panic")).collect::<Vec<_>>()
    });
    let usage = meter.stop()?;
    let mut latency = histogram()?;
    for of in latencies {
        latency.add(of?)?;
    }
    let ops = real(latency.len());
    let payload = u32::try_from(PAYLOAD_BYTES).map(f64::from)?;
    Ok(Run {
        rate_per_s: ops / usage.seconds,
        flushes_per_op: real(counts.syncs() - syncs) / ops,
        bytes_ratio: real(counts.bytes() - bytes) / (ops * payload),
        ahead_ratio: real(counts.ahead_bytes.load(Ordering::Relaxed)) / (ops * payload),
        p50_ms: ms(&latency, 0.5),
        p99_ms: ms(&latency, 0.99),
        other_cores: usage.other_cores,
    })
}

/// Appends to a shard of its own, one record after the other.
fn appender(
    log: &LogThread,
    clock: &dyn Clock,
    number: u16,
    durable: &Receiver<()>,
    end: Duration,
) -> anyhow::Result<Histogram<u64>> {
    let (payload, mut latency) = ([7_u8; PAYLOAD_BYTES], histogram()?);
    let mut index = 0;
    loop {
        let started = clock.monotonic();
        if started >= end {
            return Ok(latency);
        }
        index += 1;
        let mut batch = Batch::new();
        batch.push(ShardId(number), RecordKind::Entry, Term(1), LogIndex(index), &payload);
        log.submit(batch, u64::from(number))?;
        durable.recv().context("the log has stopped")?;
        latency.saturating_record(us(clock.monotonic().saturating_sub(started)));
    }
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(LATENCY_US_MAX, 3)?)
}

fn us(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(LATENCY_US_MAX)
}

/// A folder that counts what is written to it.
struct Counting {
    folder: FolderDisk,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    /// Zeros, written before anything has to wait for the disk.
    ahead_bytes: AtomicU64,
    syncs: AtomicU64,
}

impl Counts {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }
}

struct CountingFile {
    file: Box<dyn DiskFile>,
    counts: Arc<Counts>,
}

/// A file that is made ahead of need.
struct AheadFile {
    file: Box<dyn DiskFile>,
    counts: Arc<Counts>,
}

impl DiskFile for AheadFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.counts.ahead_bytes.fetch_add(u64::try_from(bytes.len()).map_err(io::Error::other)?, Ordering::Relaxed);
        self.file.write(at, bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Counting {
    fn counted(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(CountingFile { file, counts: Arc::clone(&self.counts) })
    }
}

impl Disk for Counting {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = self.folder.create(name)?;
        if name.ends_with(SPARE_END) {
            return Ok(Box::new(AheadFile { file, counts: Arc::clone(&self.counts) }));
        }
        Ok(self.counted(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.counted(self.folder.open(name)?))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.folder.len(name)
    }

    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.folder.read(name, offset, len)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.folder.sync_dir()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.folder.free_bytes()
    }
}

impl DiskFile for CountingFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.counts.bytes.fetch_add(u64::try_from(bytes.len()).map_err(io::Error::other)?, Ordering::Relaxed);
        self.file.write(at, bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync()
    }
}
