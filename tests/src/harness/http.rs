//! A plain HTTP/1.1 client: what platforms send, byte for byte, with no library between.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Header names as they are to be written, and values.
pub type Headers = Vec<(String, String)>;

/// Headers from texts.
#[must_use]
pub fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// One connection.
pub struct Http {
    stream: BufReader<TcpStream>,
    host: String,
}

/// A whole answer. Header names are in lower case.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

impl Http {
    pub async fn connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), host: address.to_owned() })
    }

    /// Sends a request with a length and reads its answer. The connection stays open.
    pub async fn send(&mut self, method: &str, path: &str, headers: &Headers, body: &[u8]) -> io::Result<Reply> {
        let length = ("content-length".to_owned(), body.len().to_string());
        let all: Headers = headers.iter().cloned().chain([length]).collect();
        self.send_head(method, path, &all).await?;
        self.stream.get_mut().write_all(body).await?;
        self.read_answer_to(method).await
    }

    /// Sends a request without its body, as a peer would that is refused before it sends one.
    pub async fn send_head(&mut self, method: &str, path: &str, headers: &Headers) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.stream.get_mut().write_all(head.as_bytes()).await
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes).await
    }

    /// Reads one answer.
    pub async fn read(&mut self) -> io::Result<Reply> {
        self.read_answer_to("").await
    }

    /// An answer to HEAD has the length of a body that does not come; one that says that there is no content has neither.
    async fn read_answer_to(&mut self, method: &str) -> io::Result<Reply> {
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("the answer has no status"))?;
        let mut headers = Headers::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: vec![] };
        if method == "HEAD" || status == 204 {
            return Ok(reply);
        }
        let length = reply.header("content-length").and_then(|length| length.parse().ok());
        reply.body = vec![0; length.ok_or_else(|| io::Error::other("the answer has no length"))?];
        self.stream.read_exact(&mut reply.body).await?;
        Ok(reply)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Reply {
    /// A header by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// Checks that this is a problem document (RFC 9457) of this status and code, with its correlation id; returns it.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        assert_eq!(problem["correlation_id"].as_str(), self.header("x-request-id"), "{problem}");
        problem
    }
}
