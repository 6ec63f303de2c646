//! A ticket: what a slot cut for one request. It promises nothing.
use crate::value::{BuyerId, GrantId, ItemId, Millis, NodeId, RequestKey, TicketN, Token, Units};

/// Keyed hash of (buyer, request key); what memories of requests are keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestHash(pub u128);

impl RequestHash {
    /// The 24 bits that go into an id.
    #[must_use]
    pub fn id_bits(self) -> u32 {
        (self.0 >> 104) as u32
    }

    /// The 64 bits by which a node remembers that a request holds an order.
    #[must_use]
    pub fn low_64_bits(self) -> u64 {
        self.0 as u64
    }
}

/// What a slot cut for one request and settle will resolve exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Drawn by the node before it asked.
    pub token: Token,
    /// The grant that paid for it.
    pub grant: GrantId,
    /// Its number under the grant.
    pub n: TicketN,
    /// Whose slot cut it.
    pub item: ItemId,
    /// Who asked.
    pub buyer: BuyerId,
    /// Under which key.
    pub key: RequestKey,
    /// How many units were deducted.
    pub units: Units,
    /// After this instant (store time) it can no longer be consumed.
    pub decide_by: Millis,
    /// The node that waits for the verdict.
    pub node: NodeId,
}
