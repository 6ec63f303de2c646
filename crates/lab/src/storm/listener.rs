//! Listens for one queued buyer's verdict by server-sent events, beside asking for it.
//!
//! An event is a hint that may be missed, so a listener that fails only says so: its buyer is still looked after.

use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout_at;

use super::answer;
use super::case::{Case, Queued};
use super::response::{self, Chunks};
use super::wire::{self, Fault};
use super::worker::{Via, Worker};
use super::{limits, request};

/// Listens until the buyer's verdict is known or its time is over.
pub(super) async fn listen(worker: Rc<Worker>, case: Case) {
    let Some(queued) = case.queued.clone() else { return };
    // What is over time is told by asking; nothing to do here.
    if let Ok(Err(Fault::Malformed(what))) =
        timeout_at(queued.deadline.into(), hear(&worker, &case, &queued)).await
    {
        worker.fault(what);
    }
}

async fn hear(worker: &Worker, case: &Case, queued: &Queued) -> Result<(), Fault> {
    let shared = &worker.shared;
    let mut stream = wire::connect(shared.target.addr).await?;
    let bytes =
        request::get("/v1/events", "text/event-stream", &shared.target, &shared.buyers, case.buyer);
    stream.write_all(&bytes).await?;
    let mut inbox = Inbox::default();
    let mut raw = vec![0; limits::ANSWER_BYTES_START];
    while !queued.closed() {
        let more = stream.read(&mut raw).await?;
        if more == 0 {
            return Err(Fault::Broken);
        }
        inbox.add(&raw[..more])?;
        while let Some(data) = inbox.next_event() {
            if let Some(told) = answer::heard(&data, &queued.id).map_err(Fault::Malformed)? {
                worker.settle(case, &told, Via::Event);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The event stream as far as it has come: head, then chunks, then events.
#[derive(Debug, Default)]
struct Inbox {
    head: Vec<u8>,
    in_body: bool,
    chunks: Chunks,
    text: Vec<u8>,
}

impl Inbox {
    fn add(&mut self, raw: &[u8]) -> Result<(), Fault> {
        if self.in_body {
            return self.add_body(raw);
        }
        self.head.extend_from_slice(raw);
        match response::read_head(&self.head).map_err(Fault::Malformed)? {
            None => Ok(()),
            Some(head) if head.status != 200 => Err(Fault::Broken),
            Some(head) => {
                self.in_body = true;
                let body = self.head.split_off(head.body_at);
                self.add_body(&body)
            }
        }
    }

    fn add_body(&mut self, raw: &[u8]) -> Result<(), Fault> {
        self.chunks.feed(raw, &mut self.text).map_err(Fault::Malformed)?;
        if self.text.len() > limits::EVENT_BYTES_MAX || self.chunks.ended() {
            return Err(Fault::Broken);
        }
        Ok(())
    }

    /// Takes the data of the next whole event that has any.
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
    fn events_come_out_whole_however_they_are_cut() {
        let body = ": ping\n\nid: 1\nevent: hello\ndata: {\"type\":\"hello\"}\n\ndata: {\"a\":\ndata: 1}\n\n";
        let answer = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
            body.len()
        );
        for size in [1, 2, 7, answer.len()] {
            let mut inbox = Inbox::default();
            let mut events = Vec::new();
            for part in answer.as_bytes().chunks(size) {
                inbox.add(part).expect("well-formed");
                while let Some(data) = inbox.next_event() {
                    events.push(String::from_utf8(data).expect("text"));
                }
            }
            assert_eq!(events, [r#"{"type":"hello"}"#, r#"{"a":1}"#], "in parts of {size}");
        }
    }

    #[test]
    fn a_stream_that_is_refused_or_never_ends_an_event_is_given_up() {
        let mut inbox = Inbox::default();
        assert!(inbox.add(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").is_err());
        let mut inbox = Inbox::default();
        inbox.add(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").expect("a head");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let outcome = (0..8).try_for_each(|_| inbox.add(chunk.as_bytes()));
        assert!(outcome.is_err());
    }
}
