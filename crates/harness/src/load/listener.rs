//! Waits for one queued buyer's verdict by server-sent events, in addition to polling.
//!
//! An event may be missed, so a listener that fails only counts a fault, and polling continues.

use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout_at;

use super::answer;
use super::http_connection::{self, ConnectionFault};
use super::pending::{PendingBuyer, Queued};
use super::response::{self, ChunkDecoder};
use super::worker::{AnswerSource, Worker};
use super::{limits, request};

/// Listens until the verdict of the buyer is known or its deadline passes.
pub(super) async fn listen(worker: Rc<Worker>, pending: PendingBuyer) {
    let Some(queued) = pending.queued.clone() else { return };
    // After the deadline, only polling decides.
    if let Ok(Err(ConnectionFault::Malformed(what))) =
        timeout_at(queued.deadline.into(), read_events(&worker, &pending, &queued)).await
    {
        worker.count_fault(what);
    }
}

async fn read_events(
    worker: &Worker,
    pending: &PendingBuyer,
    queued: &Queued,
) -> Result<(), ConnectionFault> {
    let shared = &worker.shared;
    let mut stream = http_connection::connect(shared.target.addr).await?;
    let bytes = request::get(
        "/v1/events",
        "text/event-stream",
        &shared.target,
        &shared.buyers,
        pending.buyer,
    );
    stream.write_all(&bytes).await?;
    let mut inbox = EventStreamBuffer::default();
    let mut raw = vec![0; limits::ANSWER_BYTES_START];
    while !queued.is_closed() {
        let more = stream.read(&mut raw).await?;
        if more == 0 {
            return Err(ConnectionFault::Broken);
        }
        inbox.add(&raw[..more])?;
        while let Some(data) = inbox.next_event() {
            if let Some(answer) =
                answer::verdict_from_event(&data, &queued.id).map_err(ConnectionFault::Malformed)?
            {
                worker.record_answer(pending, &answer, AnswerSource::Event);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The part of the event stream that has arrived: head, then chunks, then events.
#[derive(Debug, Default)]
struct EventStreamBuffer {
    head: Vec<u8>,
    in_body: bool,
    chunks: ChunkDecoder,
    text: Vec<u8>,
}

impl EventStreamBuffer {
    fn add(&mut self, raw: &[u8]) -> Result<(), ConnectionFault> {
        if self.in_body {
            return self.add_body(raw);
        }
        self.head.extend_from_slice(raw);
        match response::read_head(&self.head).map_err(ConnectionFault::Malformed)? {
            None => Ok(()),
            Some(head) if head.status != 200 => Err(ConnectionFault::Broken),
            Some(head) => {
                self.in_body = true;
                let body = self.head.split_off(head.body_at);
                self.add_body(&body)
            }
        }
    }

    fn add_body(&mut self, raw: &[u8]) -> Result<(), ConnectionFault> {
        self.chunks.feed(raw, &mut self.text).map_err(ConnectionFault::Malformed)?;
        if self.text.len() > limits::EVENT_BYTES_MAX || self.chunks.ended() {
            return Err(ConnectionFault::Broken);
        }
        Ok(())
    }

    /// Takes the data of the next complete event with data.
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
            let mut inbox = EventStreamBuffer::default();
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
    fn a_refused_stream_and_an_endless_event_are_faults() {
        let mut inbox = EventStreamBuffer::default();
        assert!(inbox.add(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").is_err());
        let mut inbox = EventStreamBuffer::default();
        inbox.add(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("a head");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let outcome = (0..8).try_for_each(|_| inbox.add(chunk.as_bytes()));
        assert!(outcome.is_err());
    }
}
