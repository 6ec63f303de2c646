//! One keep-alive HTTP/1.1 connection, which opens again after it broke.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest size of an answer, in bytes. A longer answer is an error.
const ANSWER_MAX: usize = 64 * 1024;
/// The largest number of header lines in an answer.
const HEADERS_MAX: usize = 32;

/// A connection to one server.
#[derive(Debug)]
pub struct Connection {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    inbox: Vec<u8>,
}

impl Connection {
    /// Returns a connection that opens when it is first used.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, inbox: Vec::new() }
    }

    /// Closes the connection, so that a late answer is not taken for the answer to the next
    /// request.
    pub fn close(&mut self) {
        self.stream = None;
    }

    /// Sends a request and reads the answer's status and body.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, &[u8])> {
        self.inbox.clear();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.addr).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(request).await?;
        loop {
            if stream.read_buf(&mut self.inbox).await? == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the connection was closed"));
            }
            if let Some((status, from, to)) = parse(&self.inbox)? {
                // The connection is kept only after a whole answer. If the caller gives up a
                // request, its connection is closed.
                self.stream = Some(stream);
                return Ok((status, &self.inbox[from..to]));
            }
        }
    }
}

/// Parses the status and the range of the body. Returns `None` if the answer is not complete.
fn parse(inbox: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let bad = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(inbox).map_err(|error| bad(&error.to_string()))?;
    let httparse::Status::Complete(from) = parsed else { return Ok(None) };
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let length: usize = length.ok_or_else(|| bad("an answer without a length"))?;
    if length > ANSWER_MAX {
        return Err(bad("the answer is too long"));
    }
    let status = response.code.ok_or_else(|| bad("an answer without a status"))?;
    Ok((inbox.len() >= from + length).then_some((status, from, from + length)))
}

/// Reads one page over a new connection.
pub async fn get(addr: SocketAddr, path: &str) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: lab\r\n\r\n");
    let mut connection = Connection::new(addr);
    let (status, body) = connection.ask(request.as_bytes()).await?;
    Ok((status, String::from_utf8_lossy(body).into_owned()))
}
