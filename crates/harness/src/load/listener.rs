//! Searches the event stream of one queued buyer for the buyer's verdict. The buyer also polls, so
//! a stream that fails loses no verdict.

use super::answer;
use super::limits;
use super::response::{self, ChunkDecoder};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamProgress {
    Open,
    /// The data of an event with the verdict.
    Verdict(Vec<u8>),
    /// The server refused or ended the stream, or sent too large an event.
    Closed,
}

/// One event stream: a response with a head, and a chunked body that contains the events.
#[derive(Debug, Default)]
pub(super) struct EventStream {
    head: Vec<u8>,
    in_body: bool,
    chunks: ChunkDecoder,
    text: Vec<u8>,
}

impl EventStream {
    /// Adds the received bytes, and searches the complete events for the verdict of the order `id`.
    /// Returns an error if the bytes violate the contract.
    pub fn find_verdict(&mut self, raw: &[u8], id: &str) -> Result<StreamProgress, &'static str> {
        if !self.add(raw)? {
            return Ok(StreamProgress::Closed);
        }
        while let Some(data) = self.next_event() {
            if answer::verdict_from_event(&data, id)?.is_some() {
                return Ok(StreamProgress::Verdict(data));
            }
        }
        Ok(StreamProgress::Open)
    }

    /// Adds received bytes. Returns `false` if the server refused or ended the stream, or sent too
    /// large an event.
    fn add(&mut self, raw: &[u8]) -> Result<bool, &'static str> {
        if self.in_body {
            return self.add_body(raw);
        }
        self.head.extend_from_slice(raw);
        match response::read_head(&self.head)? {
            None => Ok(true),
            Some(head) if head.status != 200 => Ok(false),
            Some(head) => {
                self.in_body = true;
                let body = self.head.split_off(head.body_at);
                self.add_body(&body)
            }
        }
    }

    fn add_body(&mut self, raw: &[u8]) -> Result<bool, &'static str> {
        self.chunks.feed(raw, &mut self.text)?;
        Ok(self.text.len() <= limits::EVENT_BYTES_MAX && !self.chunks.ended())
    }

    /// Takes the data of the next complete event. Skips events without data.
    fn next_event(&mut self) -> Option<Vec<u8>> {
        loop {
            let end = self.text.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.text.drain(..end + 2).collect();
            let mut data = Vec::new();
            for line in event.split(|&byte| byte == b'\n') {
                if let Some(rest) = line.strip_prefix(b"data:") {
                    data.extend_from_slice(rest.trim_ascii());
                }
            }
            if !data.is_empty() {
                return Some(data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_complete_for_every_split_of_the_stream() {
        let body = ": ping\n\nid: 1\nevent: hello\ndata: {\"type\":\"hello\"}\n\n\
                    data: {\"a\":\ndata: 1}\n\n";
        let answer = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
            body.len()
        );
        for size in [1, 2, 7, answer.len()] {
            let mut inbox = EventStream::default();
            let mut events = Vec::new();
            for part in answer.as_bytes().chunks(size) {
                inbox.add(part).expect("well-formed");
                while let Some(data) = inbox.next_event() {
                    events.push(String::from_utf8(data).expect("text"));
                }
            }
            assert_eq!(events, [r#"{"type":"hello"}"#, r#"{"a":1}"#], "in parts of {size} bytes");
        }
    }

    #[test]
    fn a_refused_stream_and_an_endless_event_end_the_stream() {
        let mut inbox = EventStream::default();
        let refused = inbox.add(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(refused, Ok(false));
        let mut inbox = EventStream::default();
        inbox.add(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("a head");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        assert!((0..8).any(|_| inbox.add(chunk.as_bytes()) == Ok(false)));
    }
}
