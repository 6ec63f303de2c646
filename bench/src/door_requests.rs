//! Requests of buyers for waiting room entries, for challenges, and for their own orders.
use anyhow::{Context, Result};

use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::AnswerReader;
use doorbuster_harness::generator::{AnswerKind, RequestScript};

/// A script that sends one request for each buyer, in turn.
#[derive(Debug)]
pub struct DoorRequests<'a> {
    buyers: &'a Buyers,
    head: String,
    body: &'static str,
    next: u32,
    end: u32,
    reader: AnswerReader,
}

impl<'a> DoorRequests<'a> {
    /// Returns a script that joins the waiting room.
    #[must_use]
    pub fn take_position(buyers: &'a Buyers, sale: &str) -> Self {
        Self::new(buyers, "POST", sale, "waiting-room", "")
    }

    /// Returns a script that reads each buyer's waiting room entry.
    #[must_use]
    pub fn read_position(buyers: &'a Buyers, sale: &str) -> Self {
        Self::new(buyers, "GET", sale, "waiting-room", "")
    }

    /// Returns a script that requests a challenge of the sale's kind.
    #[must_use]
    pub fn challenge(buyers: &'a Buyers, sale: &str) -> Self {
        Self::new(buyers, "POST", sale, "challenges", "{}")
    }

    /// Returns a script that reads each buyer's own orders.
    #[must_use]
    pub fn own_orders(buyers: &'a Buyers) -> Self {
        Self::to_path(buyers, "GET", "/v1/orders", "")
    }

    fn new(buyers: &'a Buyers, method: &str, sale: &str, what: &str, body: &'static str) -> Self {
        Self::to_path(buyers, method, &format!("/v1/sales/{sale}/{what}"), body)
    }

    fn to_path(buyers: &'a Buyers, method: &str, path: &str, body: &'static str) -> Self {
        let json = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{json}Content-Length: \
             {length}\r\n"
        );
        Self { buyers, head, body, next: 0, end: buyers.count(), reader: AnswerReader::default() }
    }

    /// Limits the number of buyers.
    #[must_use]
    pub fn limited_to(self, count: u32) -> Self {
        Self { end: self.buyers.count().min(count), ..self }
    }

    /// Returns this script with the buyer number `first` as its first buyer.
    #[must_use]
    pub fn starting_at(self, first: u32) -> Self {
        Self { next: first, ..self }
    }

    /// Returns the number of the buyer whose request the script sends next.
    #[must_use]
    pub fn next_buyer(&self) -> u32 {
        self.next
    }
}

impl RequestScript for DoorRequests<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next == self.end {
            return false;
        }
        let token = self.buyers.token(self.next);
        out.extend_from_slice(
            format!("{}Authorization: Bearer {token}\r\n\r\n{}", self.head, self.body).as_bytes(),
        );
        self.next += 1;
        true
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<AnswerKind>> {
        self.reader.read(inbox).context("failed to read the front door's answer")
    }
}
