//! A network whose packets take their time: what reaches a namespace is held for a while before it gets in. Packets keep
//! their order, so that what is measured is distance and not disorder. For tests that run as root.

use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use nfq::{Message, Queue, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use steward_cluster::clock::{Clock as _, SystemClock};

/// The queue of each namespace.
const QUEUE: u16 = 0;
/// Packets held at a time; the system drops more.
const PACKETS_MAX: u32 = 16 * 1024;
/// How late a packet may leave beyond its time.
const LATE: Duration = Duration::from_millis(1);

/// What sends packets into the queue, and out of it again. Without a holder behind the queue they pass.
pub(super) const BEGIN: &str = "iptables-legacy -w -A INPUT ! -i lo -j NFQUEUE --queue-num 0 --queue-bypass";
pub(super) const END: &str = "iptables-legacy -w -D INPUT ! -i lo -j NFQUEUE --queue-num 0 --queue-bypass";

/// How long packets take.
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// In the middle.
    pub mean: Duration,
    /// Up to so much more or less.
    pub spread: Duration,
}

/// Holds the packets of one namespace until it is dropped; lets go then what it holds.
#[derive(Debug)]
pub(super) struct Holder {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Holder {
    /// Begins in the network namespace of this process; the reason when that is not possible here.
    pub(super) fn begin(pid: u32, distance: Distance, seed: u64) -> Result<Self, String> {
        let ends = Arc::new(AtomicBool::new(false));
        let (told, is_ready) = sync_channel(1);
        let holding = Arc::clone(&ends);
        let namespace = Path::new("/proc").join(pid.to_string()).join("ns/net");
        let thread = std::thread::spawn(move || hold(&namespace, distance, seed, &told, &holding));
        is_ready.recv().unwrap_or_else(|_| Err("the thread is gone".to_owned()))?;
        Ok(Self { ends, thread: Some(thread) })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // It has said why, if it panicked.
        }
    }
}

/// Opens the queue of a namespace, which this thread moves into.
fn open(namespace: &Path) -> Result<Queue, String> {
    let file = File::open(namespace).map_err(|error| format!("no namespace: {error}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|error| format!("the namespace cannot be entered: {error}"))?;
    let queue = Queue::open().and_then(|mut queue| {
        queue.bind(QUEUE)?;
        queue.set_queue_max_len(QUEUE, PACKETS_MAX)?;
        queue.set_nonblocking(true);
        Ok(queue)
    });
    queue.map_err(|error| format!("no queue of packets: {error}"))
}

fn hold(namespace: &Path, distance: Distance, seed: u64, told: &SyncSender<Result<(), String>>, ends: &AtomicBool) {
    let mut queue = match open(namespace) {
        Ok(queue) => queue,
        Err(reason) => return drop(told.send(Err(reason))),
    };
    told.send(Ok(())).ok();
    let clock = SystemClock::new();
    let mut random = StdRng::seed_from_u64(seed);
    let mut held: VecDeque<(Duration, Message)> = VecDeque::new();
    let (nearest, farthest) = (distance.mean.saturating_sub(distance.spread), distance.mean + distance.spread);
    loop {
        let is_over = ends.load(Ordering::Acquire);
        match queue.recv() {
            Ok(packet) => {
                let due = clock.monotonic() + random.random_range(nearest..=farthest);
                let last = held.back().map_or(due, |(last, _)| due.max(*last));
                held.push_back((last, packet));
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => eprintln!("packets were lost while they were held: {error}"),
        }
        let now = clock.monotonic();
        while held.front().is_some_and(|(due, _)| is_over || *due <= now)
            && let Some((_, mut packet)) = held.pop_front()
        {
            packet.set_verdict(Verdict::Accept);
            queue.verdict(packet).expect("the queue is open");
        }
        if is_over {
            return;
        }
        std::thread::park_timeout(LATE);
    }
}
