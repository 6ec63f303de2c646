//! Parses HTTP/1.1 responses. An incomplete response is not an error, because its remaining bytes
//! may still arrive.

use std::ops::Range;

use super::limits;

/// The parts of an answer's head that the load generator uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The HTTP status.
    pub status: u16,
    /// The seconds in the header `Retry-After`. `None` if the header is missing or not a number.
    pub retry_after_secs: Option<u32>,
    /// Whether the server closes the connection after this answer.
    pub closes: bool,
    /// Where the body begins.
    pub body_at: usize,
    framing: Framing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// The answer's head.
    pub head: Head,
    /// The range of the answer's body in the buffer. The chunks of the body are already joined.
    pub body: Range<usize>,
}

/// Reads one response. If its body is chunked, joins the chunks in place in `buf`. Returns `None`
/// if the response is not complete yet.
pub(super) fn read(buf: &mut [u8]) -> Result<Option<Reply>, &'static str> {
    let Some(head) = read_head(buf)? else { return Ok(None) };
    let arrived = buf.len() - head.body_at;
    match head.framing {
        Framing::Length(len) if arrived < len => Ok(None),
        Framing::Length(len) if arrived > len => Err("bytes after the end of the answer"),
        Framing::Length(len) => Ok(Some(Reply { head, body: head.body_at..head.body_at + len })),
        Framing::Chunked => {
            let mut body = Vec::with_capacity(arrived);
            let mut chunks = ChunkDecoder::default();
            let used = chunks.feed(&buf[head.body_at..], &mut body)?;
            if !chunks.ended() {
                return Ok(None);
            }
            if used != arrived {
                return Err("bytes after the end of the answer");
            }
            let end = head.body_at + body.len();
            buf[head.body_at..end].copy_from_slice(&body);
            Ok(Some(Reply { head, body: head.body_at..end }))
        }
    }
}

/// Reads the head of a response. Returns `None` if the head is incomplete. The body need not be
/// complete. Skips interim responses with a status `1xx`.
pub(super) fn read_head(buf: &[u8]) -> Result<Option<Head>, &'static str> {
    let mut start = 0;
    loop {
        let Some(mut head) = read_one_head(&buf[start..])? else { return Ok(None) };
        head.body_at += start;
        if head.status >= 200 {
            return Ok(Some(head));
        }
        start = head.body_at;
    }
}

fn read_one_head(buf: &[u8]) -> Result<Option<Head>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; limits::HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let body_at = match answer.parse(buf) {
        Ok(httparse::Status::Complete(at)) => at,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err("not an HTTP answer"),
    };
    // The parser has reported a complete head, which always has a status and a version.
    let status = answer.code.unwrap_or_default();
    let (mut length, mut chunked) = (None, false);
    let (mut retry_after_secs, mut closes) = (None, answer.version == Some(0));
    for header in answer.headers.iter() {
        // Only four headers matter. The code compares the length of the name first, which is cheap
        // and excludes most other headers.
        match header.name.len() {
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                let value = number(header.value).ok_or("Content-Length is not a number")?;
                if length.is_some_and(|length| length != value) {
                    return Err("two different Content-Lengths");
                }
                length = Some(value);
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                chunked = header.value.eq_ignore_ascii_case(b"chunked");
                if !chunked {
                    return Err("unknown Transfer-Encoding");
                }
            }
            11 if header.name.eq_ignore_ascii_case("retry-after") => {
                retry_after_secs = number(header.value).and_then(|secs| u32::try_from(secs).ok());
            }
            10 if header.name.eq_ignore_ascii_case("connection") => {
                closes = header.value.eq_ignore_ascii_case(b"close");
            }
            _ => {}
        }
    }
    let framing = match (length, chunked) {
        (Some(_), true) => return Err("both Content-Length and Transfer-Encoding"),
        (None, true) => Framing::Chunked,
        (Some(length), false) if length > limits::ANSWER_BYTES_MAX => {
            return Err("an answer larger than the limit");
        }
        (Some(length), false) => Framing::Length(length),
        (None, false) if status < 200 || status == 204 || status == 304 => Framing::Length(0),
        (None, false) => return Err("neither Content-Length nor chunks"),
    };
    Ok(Some(Head { status, retry_after_secs, closes, body_at, framing }))
}

fn number(value: &[u8]) -> Option<usize> {
    if value.is_empty() || value.len() > 10 {
        return None;
    }
    value.iter().try_fold(0_usize, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + usize::from(byte - b'0'))
    })
}

/// Decodes a chunked body. The parts of the body may arrive in any number of reads, split at any
/// byte.
#[derive(Debug, Default)]
pub(super) struct ChunkDecoder {
    state: ChunkState,
    /// In a chunk's data: how many bytes of the chunk have not arrived yet. In a chunk's size line:
    /// the value of the digits read so far.
    left: usize,
    digits: u8,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    /// At the start of a line after the last chunk. An empty line ends the body; any other line is
    /// a trailer, which is skipped.
    TrailerStart,
    Trailer,
    LastEnd,
    Ended,
}

impl ChunkDecoder {
    /// Returns whether the last chunk has been read.
    pub fn ended(&self) -> bool {
        self.state == ChunkState::Ended
    }

    /// Appends the data of the chunks in `raw` to `out`. Returns how many bytes of `raw` belong to
    /// the body. If the body does not end in `raw`, all bytes belong to the body.
    pub fn feed(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < raw.len() && self.state != ChunkState::Ended {
            if self.state == ChunkState::Data {
                let take = self.left.min(raw.len() - at);
                out.extend_from_slice(&raw[at..at + take]);
                at += take;
                self.left -= take;
                if self.left == 0 {
                    self.state = ChunkState::DataEnd;
                }
                continue;
            }
            self.step(raw[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<(), &'static str> {
        use ChunkState as S;
        self.state = match (self.state, byte) {
            (S::Size, b'\r') if self.digits > 0 => S::SizeEnd,
            (S::Size | S::Extension, b';') if self.digits > 0 => S::Extension,
            (S::Extension, b'\r') => S::SizeEnd,
            (S::Extension, _) => S::Extension,
            (S::Size, _) => {
                let digit = (byte as char).to_digit(16).ok_or("a chunk without a size")?;
                self.digits += 1;
                if self.digits > 7 {
                    return Err("a chunk larger than the limit for an answer");
                }
                self.left = self.left * 16 + digit as usize;
                S::Size
            }
            (S::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.left == 0 { S::TrailerStart } else { S::Data }
            }
            // A line break follows a chunk's data. After the line break, the size of the next chunk
            // begins.
            (S::DataEnd, b'\r') => S::DataEnd,
            (S::DataEnd, b'\n') => S::Size,
            (S::TrailerStart, b'\r') => S::LastEnd,
            (S::TrailerStart, _) => S::Trailer,
            (S::Trailer, b'\n') => S::TrailerStart,
            (S::Trailer, _) => S::Trailer,
            (S::LastEnd, b'\n') => S::Ended,
            _ => return Err("malformed chunks"),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Result<Option<(u16, String)>, &'static str> {
        let mut buf = text.as_bytes().to_vec();
        Ok(read(&mut buf)?.map(|reply| {
            (
                reply.head.status,
                String::from_utf8(buf[reply.body].to_vec()).expect("the tests' bodies are text"),
            )
        }))
    }

    #[track_caller]
    fn check(text: &str, status: u16, body: &str) {
        assert_eq!(all(text), Ok(Some((status, body.to_owned()))));
        for cut in 0..text.len() {
            assert_eq!(all(&text[..cut]), Ok(None), "complete at {cut} of {}", text.len());
        }
    }

    #[test]
    fn an_answer_is_complete_at_its_last_byte_and_not_before() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, "hi");
        check("HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n", 409, "");
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: \
             chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n",
            200,
            "hi!",
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0\r\nT: \
             1\r\n\r\n",
            200,
            "0123456789",
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx",
            201,
            "x",
        );
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "");
    }

    #[test]
    fn a_malformed_answer_is_a_fault_and_not_an_answer() {
        for text in [
            "HTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
        ] {
            assert!(all(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn retry_after_and_the_end_of_the_connection_are_read() {
        let text =
            "HTTP/1.1 503 Busy\r\nRETRY-AFTER: 3\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let head = read_head(text.as_bytes()).expect("well-formed").expect("complete");
        assert_eq!((head.retry_after_secs, head.closes), (Some(3), true));
        let text = "HTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\
                    Content-Length: 0\r\n\r\n";
        let head = read_head(text.as_bytes()).expect("well-formed").expect("complete");
        assert_eq!((head.retry_after_secs, head.closes), (None, false));
    }
}
