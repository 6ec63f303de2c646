//! Buyers at the door of a waiting room.
use anyhow::{Context, Result};

use crate::buyers::Buyers;
use crate::load::http::Reader;
use crate::load::{Kind, Script};

/// One buyer after another at the door of the room, each once.
#[derive(Debug)]
pub struct Visits<'a> {
    buyers: &'a Buyers,
    head: String,
    next: u32,
    end: u32,
    reader: Reader,
}

impl<'a> Visits<'a> {
    /// Takes a place.
    #[must_use]
    pub fn enter(buyers: &'a Buyers, sale: &str) -> Self {
        Self::of(buyers, "POST", sale)
    }

    /// Looks at the place there is.
    #[must_use]
    pub fn look(buyers: &'a Buyers, sale: &str) -> Self {
        Self::of(buyers, "GET", sale)
    }

    fn of(buyers: &'a Buyers, method: &str, sale: &str) -> Self {
        let head = format!("{method} /v1/sales/{sale}/waiting-room HTTP/1.1\r\nHost: 127.0.0.1\r\n");
        Self { buyers, head, next: 0, end: buyers.count(), reader: Reader::default() }
    }

    /// Only so many buyers.
    #[must_use]
    pub fn only(self, count: u32) -> Self {
        Self { end: self.buyers.count().min(count), ..self }
    }
}

impl Script for Visits<'_> {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next == self.end {
            return false;
        }
        let token = self.buyers.token(self.next);
        out.extend_from_slice(
            format!("{}Authorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n", self.head).as_bytes(),
        );
        self.next += 1;
        true
    }

    fn read(&mut self, inbox: &[u8]) -> Result<Option<Kind>> {
        self.reader.read(inbox).context("the waiting room")
    }
}
