//! Real processes on a real file system that loses its power: what was acknowledged is there after the next mount.
//!
//! The writer is this test binary, started again for [`writer_process`] alone. The same writer without syncs must lose
//! something, or the cut proves nothing. Without root or the tools the tests say so and pass.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use steward_cluster::log::disk::{Disk, DiskFile, FolderDisk};
use steward_cluster::log::{Log, LogError, RecoveredShard};

use crate::{config, entry};

const SEGMENT_BYTES: u64 = 16 << 10;
const PAYLOAD_BYTES: usize = 300;
const FOLDER_WORD: &str = "folder=";
const NO_SYNC_WORD: &str = "no-sync";

/// Not a test of its own: appends for ever and prints each number after its append returned.
#[test]
fn writer_process() {
    let words: Vec<String> = std::env::args().collect();
    let Some(folder) = words.iter().find_map(|word| word.strip_prefix(FOLDER_WORD)) else {
        return;
    };
    let folder = FolderDisk::open(Path::new(folder)).unwrap();
    let disk: Arc<dyn Disk> =
        if words.iter().any(|word| word == NO_SYNC_WORD) { Arc::new(NoSyncDisk { folder }) } else { Arc::new(folder) };
    let (mut log, found) = Log::open(disk, config(SEGMENT_BYTES)).unwrap();
    let mut index = last_index(&found);
    let mut out = io::stdout();
    loop {
        index += 1;
        let payload = vec![u8::try_from(index % 251).unwrap(); PAYLOAD_BYTES];
        log.append(&entry(1, 1, index, &payload)).unwrap();
        out.write_all(format!("acked {index}\n").as_bytes()).unwrap();
    }
}

/// The bug this file must be able to find: says synced and is not.
struct NoSyncDisk {
    folder: FolderDisk,
}

struct NoSyncFile {
    inner: Box<dyn DiskFile>,
}

impl DiskFile for NoSyncFile {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write(at, bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.inner.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for NoSyncDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.folder.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(NoSyncFile { inner: self.folder.create(name)? }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(NoSyncFile { inner: self.folder.open(name)? }))
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
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.folder.free_bytes()
    }
}

fn last_index(found: &[RecoveredShard]) -> u64 {
    found.first().and_then(|shard| shard.entries.last()).map_or(0, |(index, ..)| index.0)
}

/// The command that runs the writer, to be started as it is or under a tracer.
fn writer_words(folder: &Path, extra: &[&str]) -> Vec<String> {
    let binary = std::env::current_exe().unwrap();
    let folder = format!("{FOLDER_WORD}{}", folder.display());
    let mut words = vec![binary.display().to_string(), "power_cut::writer_process".to_owned(), folder];
    words.extend(extra.iter().map(|word| (*word).to_owned()));
    words.extend(["--exact", "--nocapture", "--test-threads=1"].map(str::to_owned));
    words
}

struct Writer {
    child: Child,
    out: BufReader<ChildStdout>,
    acked: u64,
}

impl Writer {
    fn start(folder: &Path, extra: &[&str]) -> Self {
        let words = writer_words(folder, extra);
        let mut command = Command::new(&words[0]);
        let mut child = command.args(&words[1..]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out, acked: 0 }
    }

    /// Reads acknowledgements until there are so many, or until the writer is gone.
    fn read_acked(&mut self, until: u64) {
        let mut line = String::new();
        while self.acked < until && self.out.read_line(&mut line).unwrap() > 0 {
            // The first one shares its line with the name of the test. A cut-off number was never acknowledged.
            if let Some((_, number)) = line.strip_suffix('\n').and_then(|line| line.rsplit_once("acked ")) {
                self.acked = number.parse().unwrap();
            }
            line.clear();
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// An ext4 file system in a file. Unmounted when dropped.
struct Mount {
    image: PathBuf,
    at: PathBuf,
    _folder: tempfile::TempDir,
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(words).output().map_err(|failure| format!("{program}: {failure}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

impl Mount {
    /// Or why this machine can not do it.
    fn new() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".to_owned());
        }
        run("xfs_io", &["-V"])?;
        let folder = tempfile::tempdir().unwrap();
        let (image, at) = (folder.path().join("image"), folder.path().join("mounted"));
        std::fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        std::fs::create_dir(&at).unwrap();
        run("mkfs.ext4", &["-q", "-F", &image.display().to_string()])?;
        let mount = Self { image, at, _folder: folder };
        mount.mount()?;
        Ok(mount)
    }

    /// The journal must not sync by itself while the test runs.
    fn mount(&self) -> Result<(), String> {
        let (image, at) = (self.image.display().to_string(), self.at.display().to_string());
        run("mount", &["-o", "loop,commit=600", &image, &at])
    }

    /// From here on nothing reaches the image.
    fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", &self.at.display().to_string()]).unwrap();
    }

    fn remount(&self) {
        run("umount", &[&self.at.display().to_string()]).unwrap();
        self.mount().unwrap();
    }

    fn log(&self) -> PathBuf {
        self.at.join("log")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Not mounted is what this wants.
        run("umount", &["-l", &self.at.display().to_string()]).ok();
    }
}

/// Prints the reason when a test can not run here.
fn skipped(reason: &str) {
    io::stdout().write_all(format!("skipped: {reason}\n").as_bytes()).unwrap();
}

/// Power goes after `acks` more acknowledgements; returns the last number heard before it, and the last recovered.
fn cut_after(mount: &Mount, acks: u64, extra: &[&str]) -> (u64, Result<u64, LogError>) {
    let mut writer = Writer::start(&mount.log(), extra);
    writer.read_acked(1);
    assert!(writer.acked > 0, "the writer never acknowledged anything");
    writer.read_acked(writer.acked + acks);
    // What is acknowledged from here on is not counted: after a real cut nobody could hear it, while a file system that
    // is being shut down lets some syncs in flight succeed in vain (4 of 15 for a bare loop of write and `fdatasync`).
    let acked = writer.acked;
    mount.cut_power();
    writer.kill();
    mount.remount();
    (acked, recover(&mount.log()))
}

/// Reads everything back and returns the last number.
fn recover(folder: &Path) -> Result<u64, LogError> {
    let disk = Arc::new(FolderDisk::open(folder).unwrap());
    let (log, found) = Log::open(disk, config(SEGMENT_BYTES))?;
    for (index, _, position) in found.iter().flat_map(|shard| &shard.entries) {
        let payload = log.reader().read(*position)?.payload;
        assert_eq!(payload[..], [u8::try_from(index.0 % 251).unwrap(); PAYLOAD_BYTES]);
    }
    Ok(last_index(&found))
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() {
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(reason) => return skipped(&reason),
    };
    // Several segments each time, so that the cut also meets new files.
    for acks in [30, 100, 250] {
        let (acked, recovered) = cut_after(&mount, acks, &[]);
        let recovered = recovered.expect("a power cut is never damage");
        assert!(recovered >= acked, "acknowledged up to {acked}, recovered up to {recovered}");
    }
}

#[test]
fn without_syncs_the_power_cut_takes_acknowledged_writes() {
    let mount = match Mount::new() {
        Ok(mount) => mount,
        Err(reason) => return skipped(&reason),
    };
    // The folder itself is durable; what the writer puts in is not.
    drop(FolderDisk::open(&mount.log()).unwrap());
    run("sync", &["-f", &mount.at.display().to_string()]).unwrap();
    let (acked, recovered) = cut_after(&mount, 100, &[NO_SYNC_WORD]);
    let is_whole = recovered.is_ok_and(|recovered| recovered >= acked);
    assert!(!is_whole, "acknowledged up to {acked}, and all of it is there: this cut can not lose anything");
}

/// What the kernel saw: every acknowledgement comes after an `fdatasync` that followed the write it stands for.
#[test]
fn every_acknowledgement_follows_its_sync_in_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut words = vec!["-f", "-y", "-e", "trace=write,pwrite64,fdatasync,fsync", "-o"];
    let (trace_path, writer) = (trace.display().to_string(), writer_words(&folder.path().join("log"), &[]));
    words.push(&trace_path);
    words.extend(writer.iter().map(String::as_str));
    let spawned = Command::new("strace").args(&words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(failure) => return skipped(&format!("strace: {failure}")),
    };
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut traced = Writer { child, out, acked: 0 };
    traced.read_acked(100);
    let acked = traced.acked;
    // The writer dies of the closed pipe, and the tracer ends with it and has written all it saw.
    drop(traced.out);
    traced.child.wait().unwrap();
    if acked == 0 {
        return skipped("strace can not trace here");
    }
    check_trace(&std::fs::read_to_string(&trace).unwrap());
}

fn check_trace(trace: &str) {
    let (mut acks, mut is_synced) = (0, false);
    for line in trace.lines() {
        let is_log = line.contains(".log>");
        if line.contains("write") && is_log {
            is_synced = false;
        } else if line.contains("fdatasync(") && is_log {
            assert!(line.trim_end().ends_with("= 0"), "{line}");
            is_synced = true;
        } else if line.contains("\"acked ") {
            assert!(is_synced, "acknowledged before its sync: {line}");
            acks += 1;
        }
    }
    assert!(acks >= 100, "the trace shows {acks} acknowledgements");
}
