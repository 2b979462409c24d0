//! One HTTP/1.1 keep-alive connection, as cheap as it gets: requests are ready bytes, answers a status and a body.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Room that is made for the next read.
const READ_BYTES: usize = 4 * 1024;
/// How the last chunk of a chunked body ends.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
pub(crate) struct Answer<'c> {
    pub(crate) status: u16,
    pub(crate) body: &'c [u8],
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_BYTES) })
    }

    /// Sends a whole request and reads its whole answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head_len = loop {
            self.read().await?;
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = &self.buffer[..head_len];
        let status = number(head.get(9..12).unwrap_or_default()).and_then(|status| u16::try_from(status).ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let len = field(head, b"content-length:").and_then(number);
        loop {
            let body_len = self.buffer.len() - head_len;
            let whole = match len {
                Some(len) => body_len >= len,
                None => self.buffer.ends_with(LAST_CHUNK),
            };
            if whole {
                return Ok(Answer { status, body: &self.buffer[head_len..] });
            }
            self.read().await?;
        }
    }

    /// Asks for a path with a key.
    pub(crate) async fn get(&mut self, path: &str, key: &str) -> io::Result<Answer<'_>> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\r\n");
        self.ask(request.as_bytes()).await
    }

    async fn read(&mut self) -> io::Result<()> {
        // Doubles for large answers, so that they are not read in small pieces.
        self.buffer.reserve(READ_BYTES.max(self.buffer.len()));
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Where these bytes first stand.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The value of a header, by its lower-case name with the colon.
pub(crate) fn field<'h>(head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    lines.find_map(|line| {
        line.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)).map(|_| &line[name.len()..])
    })
}

pub(crate) fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.trim().parse().ok()
}
