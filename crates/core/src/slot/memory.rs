//! The requests that a slot remembers, with only a few bytes for each request. When a ticket is
//! returned, the slot forgets the ticket's request.
use super::{IssuedTicket, SlotMemory};
use crate::id::IdKey;
use crate::queue::Queue;
use crate::rows::FeedRow;
use crate::value::{GrantId, Millis, TicketN, Token, Units};

/// The values of an [`IssuedTicket`] without the grant, packed into 20 bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedTicket([u8; 20]);

impl PackedTicket {
    pub(super) fn new(issued: &IssuedTicket) -> Self {
        let mut b = [0; 20];
        b[0..6].copy_from_slice(&issued.token.0.to_be_bytes()[2..]);
        b[6..11].copy_from_slice(&issued.n.0.to_be_bytes()[3..]);
        b[11..14].copy_from_slice(&issued.units.get().to_be_bytes()[1..]);
        b[14..20].copy_from_slice(&issued.decide_by.0.to_be_bytes()[2..]);
        Self(b)
    }

    pub(super) fn unpack(&self, grant: GrantId) -> IssuedTicket {
        let big = |range: std::ops::Range<usize>| {
            self.0[range].iter().fold(0u64, |acc, &b| acc << 8 | u64::from(b))
        };
        IssuedTicket {
            token: Token(big(0..6)),
            grant,
            n: TicketN(big(6..11)),
            units: Units::new(big(11..14) as u32)
                .expect("the units were valid when they were packed"),
            decide_by: Millis(big(14..20) as i64),
        }
    }
}

impl SlotMemory {
    /// Forgets the request of a returned ticket, so that the buyer can send the request again.
    pub(super) fn forget(&mut self, row: &FeedRow, queue: &Queue, key: &IdKey) {
        let Some(parts) = row.ticket.and_then(|t| t.parts()) else { return };
        let known = match (&row.buyer, &row.key) {
            (Some(buyer), Some(request)) => {
                Some(key.request_hash(buyer.as_str(), request.as_str()))
            }
            // The store decided the ticket from its id alone, so the row has no request key. The
            // queue still contains such a ticket, because no settler settled it from the queue.
            _ => queue
                .find(self.grant, parts.n)
                .map(|t| key.request_hash(t.buyer.as_str(), t.key.as_str())),
        };
        let grant = self.grant;
        let is_meant = |packed: &PackedTicket| packed.unpack(grant).token == parts.token;
        match known.map(|hash| hash.0.to_be_bytes()) {
            Some(memory) if self.requests.get(&memory).is_some_and(is_meant) => {
                _ = self.requests.remove(&memory);
            }
            Some(_) => {}
            // The queue lost the ticket, but the slot still remembers the request. Search by the
            // token.
            None => self.requests.retain(|_, packed| !is_meant(packed)),
        }
    }
}
