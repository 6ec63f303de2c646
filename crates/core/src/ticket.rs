//! A ticket: a slot's record that it deducted units for one request.
use crate::value::{BuyerId, GrantId, ItemId, Millis, NodeId, RequestKey, TicketN, Token, Units};

/// The keyed hash of a request's buyer and request key. Slots and nodes remember requests by this
/// hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestHash(pub u128);

impl RequestHash {
    /// Returns the 24 bits of the hash that are part of a ticket's id.
    #[must_use]
    pub fn id_bits(self) -> u32 {
        (self.0 >> 104) as u32
    }

    /// Returns 64 bits of the hash. A node stores these bits to remember that the request has an
    /// order.
    #[must_use]
    pub fn low_64_bits(self) -> u64 {
        self.0 as u64
    }
}

/// A slot's record that it deducted units for one request. A ticket is resolved exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The ticket's token. The node creates the token before it sends the request to the slot.
    pub token: Token,
    /// The grant from which the units were deducted.
    pub grant: GrantId,
    /// The ticket's number under the grant.
    pub n: TicketN,
    /// The item that the slot sells.
    pub item: ItemId,
    /// The buyer.
    pub buyer: BuyerId,
    /// The request key.
    pub key: RequestKey,
    /// The deducted units.
    pub units: Units,
    /// After this time (store time) the ticket can no longer be consumed.
    pub decide_by: Millis,
    /// The node that waits for the verdict.
    pub node: NodeId,
}
