//! Sends one HTTP request to a node over a new connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::error::{ClusterError, ClusterErrorContext};
use super::limits::{ANSWER_WITHIN, CONNECT_WITHIN, REPLY_BYTES_MAX};

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Reply {
    /// Returns the value of a header. The case of the letters in `name` does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }

    /// Returns the body as JSON, or `null` if it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Sends one request. `lines` contains further header lines, each with `\r\n` at its end.
pub fn send_request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    lines: &str,
    body: &str,
) -> Result<Reply, ClusterError> {
    let what = || format!("{method} {path} at {addr}");
    let mut stream = TcpStream::connect_timeout(&addr, CONNECT_WITHIN).with_operation(what)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).with_operation(what)?;
    let length = body.len();
    let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: \
         close\r\n{lines}{json}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).with_operation(what)?;
    let mut text = String::new();
    stream.take(REPLY_BYTES_MAX).read_to_string(&mut text).with_operation(what)?;
    let parts = text.split_once("\r\n\r\n");
    let status = parts.and_then(|(head, _)| head.split(' ').nth(1)?.parse().ok());
    match (status, parts) {
        (Some(status), Some((head, body))) => {
            Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
        }
        _ => Err(ClusterError::failed(what(), "the answer is not valid HTTP")),
    }
}
