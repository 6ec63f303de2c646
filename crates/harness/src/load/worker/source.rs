//! Sends a worker's requests over its connections, and handles the bytes that arrive.

use std::time::Instant;

use super::super::limits;
use super::super::pending::PendingBuyer;
use super::super::response;
use super::super::shared::NextBuyer;
use super::{Exchange, Worker};
use crate::generator::event_loop::{Fault, Next, Progress, Source};

impl Source for Worker<'_> {
    type Request = Exchange;

    fn next(&mut self, now: Instant, out: &mut Vec<u8>) -> Next<Exchange> {
        let pending = match self.take_due(now) {
            Some(pending) => pending,
            None => match self.shared.take_next_buyer(now) {
                NextBuyer::Buyer(buyer, first) => {
                    self.open += 1;
                    self.tally.counts.started += 1;
                    PendingBuyer::new(buyer, first)
                }
                later => {
                    let due = self.scheduled.peek().map(|scheduled| scheduled.due);
                    let arrival = match later {
                        NextBuyer::NotYet => self.shared.next_arrival(),
                        _ => None,
                    };
                    return due.into_iter().chain(arrival).min().map_or(Next::Nothing, Next::At);
                }
            },
        };
        self.tally.counts.requests += 1;
        match &pending.queued {
            None => {
                out.extend_from_slice(self.template.for_buyer(&self.shared.buyers, pending.buyer))
            }
            Some(queued) => {
                let path = format!("/v1/orders/{}", queued.id);
                self.shared.write_get(&path, "application/json", pending.buyer, out);
            }
        }
        Next::Request(Exchange::Buyer(pending))
    }

    fn read(&mut self, exchange: Exchange, bytes: &mut [u8], now: Instant) -> Progress<Exchange> {
        let pending = match exchange {
            Exchange::Buyer(pending) => pending,
            Exchange::Listen(pending, stream) => {
                return self.handle_events(pending, stream, bytes, now);
            }
        };
        let reply = match response::read(bytes) {
            Ok(Some(reply)) => reply,
            Ok(None) => return Progress::Incomplete(Exchange::Buyer(pending)),
            Err(what) => {
                self.schedule_after_malformed(pending, what);
                return Progress::DoneAndClosed;
            }
        };
        let answer = (&reply.head, &bytes[reply.body]);
        let is_valid = match pending.queued.clone() {
            None => self.handle_purchase(pending, answer, now),
            Some(queued) => self.handle_poll(pending, &queued, answer, now),
        };
        match is_valid && !reply.head.closes {
            true => Progress::Done,
            false => Progress::DoneAndClosed,
        }
    }

    fn failed(&mut self, request: Option<Exchange>, fault: Fault) {
        match (request, fault) {
            (Some(Exchange::Buyer(pending)), _) => {
                self.tally.counts.connection_errors += 1;
                self.schedule_again(pending);
            }
            (None, Fault::Connect) => self.tally.counts.connection_errors += 1,
            (None, Fault::Unexpected) => {
                self.tally.counts.count_fault("an answer without a request")
            }
            // Nothing is lost here. A connection without a request is idle, and the server may
            // close it. The buyer of an event stream also polls for the verdict.
            (None | Some(Exchange::Listen(..)), _) => {}
        }
    }

    fn extra(&mut self, out: &mut Vec<u8>) -> Option<Exchange> {
        let pending = self.listening.pop()?;
        self.shared.write_get("/v1/events", "text/event-stream", pending.buyer, out);
        Some(Exchange::Listen(pending, Box::default()))
    }

    fn is_over(&mut self, now: Instant, _under_way: usize) -> bool {
        if now.duration_since(self.published_at) >= limits::PROGRESS_INTERVAL / 2 {
            self.published_at = now;
            self.publish();
        }
        if now.duration_since(self.flushed_at) >= limits::ANSWERS_FLUSH_INTERVAL {
            self.flushed_at = now;
            if let Some(lines) = &mut self.lines {
                lines.flush();
            }
        }
        self.shared.stopped()
            || self.open == 0 && matches!(self.shared.peek(now), NextBuyer::NoMore)
    }
}
