//! A raw HTTP client. It sends exactly the bytes that a test writes, and parses only the answers.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// Returns the value of a header, or `None` without the header. `name` must be in lower case.
    /// Fails if the header occurs twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values =
            self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} occurs more than once: {self:?}");
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Returns the status and, for a problem, its code. Checks the members that every problem has.
    pub(crate) fn verdict(&self) -> String {
        if self.status < 400 {
            return self.status.to_string();
        }
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member}: {problem}");
        }
        let retryable = matches!(self.status, 429 | 500 | 503);
        assert_eq!(problem["retryable"], retryable, "{problem}");
        assert_eq!(
            self.header("retry-after").is_some(),
            matches!(self.status, 429 | 503),
            "{self:?}"
        );
        assert_eq!(self.header("www-authenticate").is_some(), self.status == 401, "{self:?}");
        assert_eq!(self.header("allow").is_some(), self.status == 405, "{self:?}");
        format!("{} {}", self.status, problem["code"].as_str().expect("a code"))
    }
}

pub(crate) struct Connection {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("the server listens")
    }

    /// Returns `None` if the server refuses the connection.
    pub(crate) async fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).expect("a socket");
        Some(Self { stream, read: Vec::new() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // Ignores an error: the server may answer and close the connection before it has read all
        // bytes.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads the next answer. Returns `None` if the connection ends first. If `head` is true, does
    /// not read the body.
    pub(crate) async fn reply(&mut self, head: bool) -> Option<Reply> {
        tokio::time::timeout(TIMEOUT, self.read_reply(head))
            .await
            .expect("the answer arrives in time")
    }

    async fn read_reply(&mut self, head: bool) -> Option<Reply> {
        let mut reply = self.read_head().await?;
        if !head && !matches!(reply.status, 101 | 204 | 304) {
            self.read_body(&mut reply).await?;
        }
        Some(reply)
    }

    async fn read_head(&mut self) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            self.read_more().await?;
        };
        let text = String::from_utf8(self.read[..end].to_vec()).expect("a head is ASCII");
        self.read.drain(..end + 4);
        let mut lines = text.split("\r\n");
        let status =
            lines.next().and_then(|line| line.get(9..12)).and_then(|status| status.parse().ok());
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(':').expect("a header"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Reply { status: status.expect("a status"), headers, body: Vec::new() })
    }

    /// Reads the body of `reply`, whose head was already read.
    pub(crate) async fn read_body(&mut self, reply: &mut Reply) -> Option<()> {
        reply.body = match (reply.header("content-length"), reply.header("transfer-encoding")) {
            (Some(length), None) => self.read_exactly(length.parse().expect("a length")).await?,
            (None, Some("chunked")) => self.chunks().await?,
            (length, coding) => {
                panic!("the answer has neither a length nor chunks: {length:?}, {coding:?}")
            }
        };
        Some(())
    }

    async fn read_exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            self.read_more().await?;
        }
        Some(self.read.drain(..length).collect())
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await?;
            if chunk.is_empty() {
                return Some(body);
            }
            body.extend(chunk);
        }
    }

    /// Reads the next chunk of a body. The last chunk is empty. Returns `None` if the connection
    /// ends first.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            self.read_more().await?;
        };
        let size = std::str::from_utf8(&self.read[..end])
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok());
        self.read.drain(..end + 2);
        let mut chunk = self.read_exactly(size.expect("a chunk's size") + 2).await?;
        chunk.truncate(chunk.len() - 2);
        Some(chunk)
    }

    /// Reads only the head of an answer with a streamed body.
    pub(crate) async fn head(&mut self) -> Reply {
        self.reply(true).await.expect("a head")
    }

    async fn read_more(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        let read = self.stream.read(&mut bytes).await.unwrap_or(0);
        self.read.extend_from_slice(&bytes[..read]);
        (read > 0).then_some(())
    }

    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        tokio::time::timeout(TIMEOUT, async { while self.read_more().await.is_some() {} })
            .await
            .expect("the connection ends");
        std::mem::take(&mut self.read)
    }
}

/// Returns the bytes of a request. Adds `Host` and, if there is a body, its length.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let has_length = headers.iter().any(|(name, _)| {
        ["content-length", "transfer-encoding"].contains(&&*name.to_ascii_lowercase())
    });
    if !body.is_empty() && !has_length {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
