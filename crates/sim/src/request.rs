//! The requests of buyers at nodes, and the answers.
use doorbuster_core::gate::DoorRefusal;
use doorbuster_core::slot::IssuedTicket;
use doorbuster_core::sold_out::SoldOut;
use doorbuster_core::{BuyerId, ItemId, Phase, RequestKey, TicketId, TicketParts, Units};

use crate::names::NAMES;

/// The number of a buyer and the number of a request key. Together they identify a request.
pub(crate) type RequestNumbers = (u8, u8);

/// One request of a buyer as it arrived at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuyerRequest {
    /// The node.
    pub node: u8,
    /// The buyer.
    pub buyer: u8,
    /// The request key.
    pub key: u8,
    /// The item.
    pub item: ItemId,
    /// The units.
    pub units: Units,
    /// The front door's refusal, if the front door refuses the request.
    pub door: Option<DoorRefusal>,
    /// The number of the last commit before the request arrived.
    pub began: u64,
    /// The index of the buyer's attempt among all attempts of the run. If a buyer repeats a
    /// request, this is a new attempt.
    pub attempt: usize,
}

impl BuyerRequest {
    pub(crate) fn buyer(&self) -> BuyerId {
        NAMES.buyers[usize::from(self.buyer)].clone()
    }

    pub(crate) fn key(&self) -> RequestKey {
        NAMES.keys[usize::from(self.key)].clone()
    }

    pub(crate) fn request(&self) -> RequestNumbers {
        (self.buyer, self.key)
    }

    /// Returns the id of a ticket that was issued for this request, as a node computes it.
    pub(crate) fn ticket_id(&self, ticket: &IssuedTicket) -> TicketId {
        let request = NAMES.request_hash(self.buyer, self.key).id_bits();
        let IssuedTicket { token, grant, n, units, decide_by } = *ticket;
        let parts = TicketParts { decide_by, token, grant, n, units, request };
        NAMES.key.sign(&parts, self.buyer().as_str())
    }
}

/// An answer to a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuyerAnswer {
    /// The request's order.
    Order(TicketId),
    /// The purchase is queued. The answer does not promise an order.
    Queued(TicketId),
    /// Not enough units are free.
    SoldOut {
        /// The refusal.
        refusal: SoldOut,
        /// The number of the commit that the node had read last. The node refused the request
        /// because of the store's state after this commit.
        as_of: u64,
        /// Whether the request was parked for the longest time allowed.
        parked: bool,
    },
    /// The buyer would exceed the limit.
    LimitReached {
        /// The number of the commit that the node had read last, if the node refused the request
        /// because of a count in its memory. `None` if the node read the buyer's units again before
        /// the refusal.
        as_of: Option<u64>,
    },
    /// The buyer used the request key before, for another item or another number of units.
    KeyReused,
    /// The sale is not open.
    Phase {
        /// The phase.
        phase: Phase,
        /// The node decided by its snapshot of the store. This is the number of the snapshot's
        /// commit.
        as_of: u64,
    },
    /// The front door refuses the request.
    AtDoor {
        /// The commit of the node's snapshot.
        as_of: u64,
    },
    /// The buyer must repeat the request with the same key.
    Retry,
}

impl BuyerAnswer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Order(_) => "answered order",
            Self::Queued(_) => "answered queued",
            Self::SoldOut { parked: true, .. } => "answered sold_out after parking",
            Self::SoldOut { refusal: SoldOut { may_return: true, .. }, .. } => {
                "answered sold_out, may return"
            }
            Self::SoldOut { .. } => "answered sold_out",
            Self::LimitReached { as_of: None } => "answered limit_reached",
            Self::LimitReached { as_of: Some(_) } => "answered limit_reached by an earlier count",
            Self::KeyReused => "answered key_reused",
            Self::Phase { phase: Phase::Paused, .. } => "answered paused",
            Self::Phase { phase: Phase::Scheduled, .. } => "answered not_started",
            Self::Phase { .. } => "answered ended",
            Self::AtDoor { .. } => "answered by the front door",
            Self::Retry => "answered retry",
        }
    }
}
