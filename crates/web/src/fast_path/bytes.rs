//! Writes answers as bytes: status line, headers, date and body.

use std::sync::Arc;

use doorbuster_core::Millis;
use http::StatusCode;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::reply::{Reply, ReplyBody};

/// The header `Date` and the headers that follow it in every response. These headers are rendered
/// at most once a second.
#[derive(Debug, Default)]
pub(crate) struct DateHeader {
    second: Option<i64>,
    text: String,
    /// The headers after `Date`, as lines. Each line begins with a line break.
    after: Arc<str>,
}

impl DateHeader {
    /// Adds the header lines in `after` to every response.
    pub(crate) fn with_extra_headers(after: &Arc<str>) -> Self {
        Self { after: after.clone(), ..Self::default() }
    }

    pub(crate) fn set(&mut self, now: Millis) -> &Self {
        let second = now.0.div_euclid(1_000);
        if self.second != Some(second) {
            self.second = Some(second);
            let stamp = Timestamp::from_second(second).unwrap_or_default();
            self.text =
                DateTimePrinter::new().timestamp_to_rfc9110_string(&stamp).unwrap_or_default();
            self.text.push_str(&self.after);
        }
        self
    }
}

/// The status line and the headers of a response, without `Date`. They are rendered once for
/// frequent responses.
#[derive(Debug)]
pub(crate) struct RenderedHead {
    status: StatusCode,
    bytes: Vec<u8>,
}

impl RenderedHead {
    /// Renders the head of `reply`. `length` is the number of bytes of its body.
    pub(crate) fn new(reply: &Reply, length: usize) -> Self {
        let status = reply.status();
        let reason = status.canonical_reason().unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
        for (name, value) in reply.headers() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                bytes.extend_from_slice(part);
            }
        }
        bytes.extend_from_slice(format!("content-length: {length}\r\ndate: ").as_bytes());
        Self { status, bytes }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Writes the head. If `is_last` is true, the head tells the client that the connection closes
    /// after this response.
    pub(crate) fn write(&self, date: &DateHeader, is_last: bool, out: &mut Vec<u8>) {
        self.write_with(date, is_last, out, |_| {});
    }

    /// Like [`Self::write`], with more header lines. Each of these lines ends with a line break.
    pub(crate) fn write_with(
        &self,
        date: &DateHeader,
        is_last: bool,
        out: &mut Vec<u8>,
        more: impl FnOnce(&mut Vec<u8>),
    ) {
        out.extend_from_slice(&self.bytes);
        out.extend_from_slice(date.text.as_bytes());
        out.extend_from_slice(b"\r\n");
        more(out);
        out.extend_from_slice(if is_last { b"connection: close\r\n\r\n" } else { b"\r\n" });
    }
}

/// Writes a whole response: its head and its body. Returns its status.
pub(super) fn write(
    mut reply: Reply,
    date: &DateHeader,
    is_last: bool,
    out: &mut Vec<u8>,
) -> StatusCode {
    let body = match reply.body_mut() {
        ReplyBody::Bytes(bytes) => bytes.take().unwrap_or_default(),
        // Only the router returns a body of this kind, and the router does not handle purchases. So
        // this case does not occur.
        ReplyBody::Routed(_) => Default::default(),
    };
    let head = RenderedHead::new(&reply, body.len());
    head.write(date, is_last, out);
    out.extend_from_slice(&body);
    head.status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::json;

    #[test]
    fn an_answer_is_valid_http() {
        let mut date = DateHeader::default();
        date.set(Millis(784_111_777_999));
        let mut out = Vec::new();
        let status = write(json(StatusCode::CREATED, &[1]), &date, false, &mut out);
        assert_eq!(status, StatusCode::CREATED);
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(
            text,
            "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n\
             content-length: 3\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n[1]"
        );
        let mut out = Vec::new();
        write(json(StatusCode::OK, &[1]), &date, true, &mut out);
        assert!(
            String::from_utf8(out).expect("UTF-8").contains("\r\nconnection: close\r\n\r\n[1]")
        );
    }
}
