//! Peers that are slow on purpose: they say nothing, drip heads and bodies byte by byte, or read no answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

/// How often a slow peer sends a byte.
const DRIP_EVERY: Duration = Duration::from_secs(2);

/// When one that was cut comes back. Sooner, and ten thousand of them would take the machine's cores by connecting.
const RETURN_AFTER: Duration = Duration::from_secs(20);

/// What a deaf peer asks for, and how often at first: more than sockets hold.
const PAGE: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
const PAGES: usize = 1_000;
const RECEIVED_BYTES: u32 = 4096;

/// What a slow peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Connects, and says nothing.
    Silent,
    /// Sends a head byte by byte.
    Head,
    /// Sends a head at once, and then a body byte by byte.
    Body,
    /// Sends most of a large body, and then nothing.
    Almost,
    /// Asks again and again, and reads no answer.
    Deaf,
}

impl Kind {
    /// Those who cost little themselves.
    const CHEAP: [Self; 4] = [Self::Silent, Self::Head, Self::Body, Self::Almost];
}

/// Many slow peers at one address. Each connects again when it is cut. They end when dropped.
pub(crate) struct Slow {
    peers: JoinSet<()>,
    is_over: Arc<AtomicBool>,
    pub(crate) connected: Arc<AtomicU64>,
    pub(crate) cut: Arc<AtomicU64>,
}

impl Slow {
    /// So many, of all kinds but the deaf. `path` is of a source.
    pub(crate) fn start(address: &str, path: &str, count: usize) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let (connected, cut) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut peers = JoinSet::new();
        for number in 0..count {
            let (address, path) = (address.to_owned(), path.to_owned());
            let (is_over, connected, cut) = (Arc::clone(&is_over), Arc::clone(&connected), Arc::clone(&cut));
            let kind = Kind::CHEAP[number % Kind::CHEAP.len()];
            peers.spawn(async move {
                let mut beat = interval(RETURN_AFTER);
                while !is_over.load(Ordering::SeqCst) {
                    beat.tick().await;
                    let Ok(stream) = connect(kind, &address).await else { continue };
                    connected.fetch_add(1, Ordering::SeqCst);
                    dawdle(stream, kind, &path).await;
                    cut.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self { peers, is_over, connected, cut }
    }

    pub(crate) fn connected(&self) -> u64 {
        self.connected.load(Ordering::SeqCst)
    }

    pub(crate) fn cut(&self) -> u64 {
        self.cut.load(Ordering::SeqCst)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.peers.abort_all();
    }
}

/// A connection for a slow peer.
pub(crate) async fn connect(kind: Kind, address: &str) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if kind == Kind::Deaf {
        socket.set_recv_buffer_size(RECEIVED_BYTES)?;
    }
    socket.connect(address.parse().map_err(io::Error::other)?).await
}

/// Is slow until the connection is cut.
pub(crate) async fn dawdle(mut stream: TcpStream, kind: Kind, path: &str) {
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nx-hub-signature-256: sha256=00\r\n");
    let with_body = format!("{head}content-length: 1000000\r\n\r\n");
    let begun = match kind {
        Kind::Silent | Kind::Head => Ok(()),
        Kind::Body => stream.write_all(with_body.as_bytes()).await,
        Kind::Almost => stream.write_all(&[with_body.as_bytes(), &[b'x'; 100_000]].concat()).await,
        Kind::Deaf => stream.write_all(&PAGE.repeat(PAGES)).await,
    };
    if begun.is_err() {
        return;
    }
    match kind {
        Kind::Silent | Kind::Almost => drain(&mut stream).await,
        Kind::Deaf => until_closed(&mut stream).await,
        Kind::Head | Kind::Body => {
            let mut beat = interval(DRIP_EVERY);
            for byte in head.bytes().chain(std::iter::repeat(b'x')) {
                beat.tick().await;
                // An answer is the end as well.
                let over = timeout(Duration::ZERO, stream.readable()).await.is_ok();
                if over || stream.write_all(&[byte]).await.is_err() {
                    return drain(&mut stream).await;
                }
            }
        }
    }
}

/// Reads until the other side has closed.
async fn drain(stream: &mut TcpStream) {
    let mut taken = [0; 4096];
    while stream.read(&mut taken).await.is_ok_and(|length| length > 0) {}
}

/// Reads nothing, and writes until the other side has closed.
async fn until_closed(stream: &mut TcpStream) {
    while stream.write_all(PAGE).await.is_ok() {}
}
