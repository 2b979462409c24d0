//! A receiver of webhooks in a process of its own: answers 204 and notes what came when. It verifies nothing, so that it
//! costs the machine as little as a receiver can.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use steward_cluster::clock::{Clock, SystemClock};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::http::{Connection, field, find, number};
use crate::node::Program;

/// Starts this binary as the receiver.
pub(crate) const SWITCH: &str = "--receiver";
/// What is read at a time.
const READ_BYTES: usize = 16 * 1024;
const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// Where a delivered event names the platform's id of its webhook.
const DELIVERY_ID: &[u8] = b"\"delivery_ids\":[\"";
const ADDRESS_FILE: &str = "receiver.log";
/// How often its time is asked for, to learn how far its clock is behind.
const TIME_ASKED: usize = 50;
/// How long what is awaited may take, and how often it is looked for.
const ARRIVED_MAX: Duration = Duration::from_secs(120);
const ARRIVED_POLL: Duration = Duration::from_millis(20);

/// A webhook that came.
pub(crate) struct Arrival {
    /// When, by [`Receiver::now`].
    pub(crate) at: Duration,
    pub(crate) webhook_id: String,
    /// The platform's id of the webhook it began with.
    pub(crate) delivery_id: String,
}

/// All that came of some events.
pub(crate) struct Arrivals {
    /// The first arrival of each event, in their order.
    pub(crate) first: Vec<Arrival>,
    /// Arrivals of an event that had come before.
    pub(crate) doubled: usize,
}

/// A running receiver.
pub(crate) struct Receiver {
    program: Program,
    _folder: TempDir,
    address: SocketAddr,
    line: Connection,
    clock: SystemClock,
    /// How far this clock is ahead of the receiver's own.
    ahead: Duration,
}

impl Receiver {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let clock = SystemClock::new();
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let told = folder.path().join(ADDRESS_FILE);
        let this = std::env::current_exe().context("this program has no path")?;
        let mut program = Program::start(Command::new(this).arg(SWITCH), &told)?;
        let address: SocketAddr = program.wait_for("the receiver", || {
            let text = std::fs::read_to_string(&told).ok()?;
            text.strip_suffix('\n')?.parse().ok()
        })?;
        let line = Connection::open(address).await.context("the receiver cannot be reached")?;
        let mut receiver = Self { program, _folder: folder, address, line, clock, ahead: Duration::ZERO };
        let mut best = Duration::MAX;
        for _ in 0..TIME_ASKED {
            let asked = receiver.now();
            let told: u64 = receiver.ask("/time").await?.trim().parse().context("the receiver's time is none")?;
            let took = receiver.now().saturating_sub(asked);
            if took < best {
                best = took;
                receiver.ahead = (asked + took / 2).saturating_sub(Duration::from_micros(told));
            }
        }
        Ok(receiver)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    /// The time by its clock.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The body that came first since this was last asked.
    pub(crate) async fn sample(&mut self) -> anyhow::Result<String> {
        self.ask("/sample").await
    }

    /// Forgets what came.
    pub(crate) async fn clear(&mut self) -> anyhow::Result<()> {
        self.ask("/take").await.map(drop)
    }

    /// Waits until so many different events came, and a moment for those that come twice.
    pub(crate) async fn arrivals(&mut self, events: usize) -> anyhow::Result<Arrivals> {
        let clock = SystemClock::new();
        let (mut seen, mut all) = (HashSet::new(), Arrivals { first: Vec::with_capacity(events), doubled: 0 });
        let mut is_over = false;
        loop {
            let text = self.ask("/take").await?;
            for line in text.lines() {
                let arrival = self.parse(line).with_context(|| format!("the receiver told {line:?}"))?;
                if seen.insert(arrival.webhook_id.clone()) {
                    all.first.push(arrival);
                } else {
                    all.doubled += 1;
                }
            }
            if is_over {
                return Ok(all);
            }
            is_over = all.first.len() >= events;
            if !is_over && clock.monotonic() > ARRIVED_MAX {
                bail!("{} of {events} events came within {ARRIVED_MAX:?}", all.first.len());
            }
            tokio::time::sleep(ARRIVED_POLL).await;
        }
    }

    fn parse(&self, line: &str) -> Option<Arrival> {
        let mut words = line.split(' ');
        let at = Duration::from_micros(words.next()?.parse().ok()?) + self.ahead;
        Some(Arrival { at, webhook_id: words.next()?.to_owned(), delivery_id: words.next()?.to_owned() })
    }

    async fn ask(&mut self, path: &str) -> anyhow::Result<String> {
        let answer = self.line.get(path, "").await.context("the receiver does not answer")?;
        String::from_utf8(answer.body.to_vec()).context("the receiver's answer is no text")
    }
}

/// What the process keeps.
struct Notes {
    clock: SystemClock,
    lines: String,
    sample: Vec<u8>,
}

/// Serves until killed.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        crate::figure::say(&listener.local_addr()?.to_string());
        let notes = Notes { clock: SystemClock::new(), lines: String::new(), sample: vec![] };
        let notes = Rc::new(RefCell::new(notes));
        loop {
            let (stream, _) = listener.accept().await.context("a connection cannot be accepted")?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(converse(stream, Rc::clone(&notes)));
        }
    })
}

/// Answers what comes over one connection, until it ends.
async fn converse(mut stream: TcpStream, notes: Rc<RefCell<Notes>>) -> Option<()> {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    loop {
        let head_len = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            read(&mut stream, &mut buffer).await?;
        };
        let len = head_len + field(&buffer[..head_len], b"content-length:").and_then(number).unwrap_or(0);
        while buffer.len() < len {
            read(&mut stream, &mut buffer).await?;
        }
        let told = notes.borrow_mut().take(&buffer[..head_len], &buffer[head_len..len]);
        match told {
            None => stream.write_all(ANSWER).await.ok()?,
            Some(text) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", text.len());
                stream.write_all(&[head.as_bytes(), &text].concat()).await.ok()?;
            }
        }
        buffer.drain(..len);
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    buffer.reserve(READ_BYTES);
    stream.read_buf(buffer).await.ok().filter(|length| *length > 0).map(drop)
}

impl Notes {
    /// Notes a webhook, or tells what is asked for.
    fn take(&mut self, head: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        let at = self.clock.monotonic().as_micros();
        if head.starts_with(b"GET /time ") {
            return Some(at.to_string().into_bytes());
        }
        if head.starts_with(b"GET /take ") {
            return Some(std::mem::take(&mut self.lines).into_bytes());
        }
        if head.starts_with(b"GET /sample ") {
            return Some(std::mem::take(&mut self.sample));
        }
        let webhook_id = field(head, b"webhook-id:").map_or(&b"-"[..], <[u8]>::trim_ascii);
        let delivery_id = find(body, DELIVERY_ID).map(|at| &body[at + DELIVERY_ID.len()..]);
        let delivery_id = delivery_id.and_then(|rest| rest.split(|byte| *byte == b'"').next()).unwrap_or(b"-");
        let (webhook_id, delivery_id) = (String::from_utf8_lossy(webhook_id), String::from_utf8_lossy(delivery_id));
        writeln!(self.lines, "{at} {webhook_id} {delivery_id}").ok()?;
        if self.sample.is_empty() {
            self.sample = body.to_vec();
        }
        None
    }
}
