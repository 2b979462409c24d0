//! Receivers that mean no good: what a node must survive when it delivers to them.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long one that drips waits between two bytes.
const DRIP: Duration = Duration::from_secs(1);
/// How long one that never ends waits between two pieces, and how long they are. Faster would only cost the machine.
const TRICKLE: Duration = Duration::from_millis(5);
const PIECE_BYTES: usize = 4 * 1024;
/// What one that floods writes at a time.
const CHUNK_BYTES: usize = 32 * 1024;

/// What a receiver does instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes the request and says nothing until the node gives up.
    Hangs,
    /// Answers with one byte a second.
    Drips,
    /// Answers in chunks without end.
    NeverEnds,
    /// Answers with ten gigabytes.
    Floods,
    /// Cuts off in the middle of its first line, with most of the request unread.
    CutsOff,
    /// Sends the node to an address inside.
    PointsInside,
}

impl Behaviour {
    pub const ALL: [Self; 6] =
        [Self::Hangs, Self::Drips, Self::NeverEnds, Self::Floods, Self::CutsOff, Self::PointsInside];

    /// The name of an endpoint that behaves like this.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hangs => "hangs",
            Self::Drips => "drips",
            Self::NeverEnds => "never-ends",
            Self::Floods => "floods",
            Self::CutsOff => "cuts-off",
            Self::PointsInside => "points-inside",
        }
    }

    /// Serves one connection until either side has enough.
    fn serve(self, stream: &mut TcpStream, stop: &AtomicBool, written: &AtomicU64) -> io::Result<()> {
        let mut taken = [0; 4096];
        if self == Self::CutsOff {
            stream.read_exact(&mut taken[..16])?;
            return stream.write_all(b"HTTP/1.1 20");
        }
        if stream.read(&mut taken)? == 0 {
            return Ok(());
        }
        let filler = [b'x'; CHUNK_BYTES];
        let write = |stream: &mut TcpStream, bytes: &[u8]| {
            written.fetch_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX), Ordering::SeqCst);
            stream.write_all(bytes)
        };
        match self {
            Self::CutsOff => {}
            Self::Hangs => while stream.read(&mut taken)? > 0 {},
            Self::Drips => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
                stream.set_read_timeout(Some(DRIP))?;
                while !stop.load(Ordering::SeqCst) && !matches!(stream.read(&mut taken), Ok(0)) {
                    write(stream, b"x")?;
                }
            }
            Self::NeverEnds => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                stream.set_read_timeout(Some(TRICKLE))?;
                let piece = &filler[..PIECE_BYTES];
                let chunk = [format!("{PIECE_BYTES:x}\r\n").as_bytes(), piece, b"\r\n"].concat();
                while !stop.load(Ordering::SeqCst) && !matches!(stream.read(&mut taken), Ok(0)) {
                    write(stream, &chunk)?;
                }
            }
            Self::Floods => {
                stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 10737418240\r\n\r\n")?;
                while !stop.load(Ordering::SeqCst) {
                    write(stream, &filler)?;
                }
            }
            Self::PointsInside => {
                let head = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:80/secret\r\n";
                stream.write_all(format!("{head}connection: close\r\ncontent-length: 0\r\n\r\n").as_bytes())?;
            }
        }
        Ok(())
    }
}

/// A server that does something else than answer. Stopped when dropped.
pub struct Hostile {
    behaviour: Behaviour,
    port: u16,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
    written: Arc<AtomicU64>,
}

impl Hostile {
    /// Starts one.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&written));
        let accepting = std::thread::spawn(move || {
            let mut serving: Vec<JoinHandle<()>> = vec![];
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(mut stream) = stream else { continue };
                let (stopped, counted) = (Arc::clone(&stopped), Arc::clone(&counted));
                serving.retain(|one| !one.is_finished());
                serving.push(std::thread::spawn(move || {
                    behaviour.serve(&mut stream, &stopped, &counted).ok(); // The node had enough.
                }));
            }
            serving.into_iter().for_each(|one| drop(one.join()));
        });
        Self { behaviour, port, stop, accepting: Some(accepting), written }
    }

    /// Where webhooks to it go.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }

    /// What it does.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        self.behaviour
    }

    /// Bytes of bodies it got rid of.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port))); // Wakes the thread that accepts.
        if let Some(accepting) = self.accepting.take() {
            accepting.join().ok(); // Its panic says nothing about the node.
        }
    }
}
