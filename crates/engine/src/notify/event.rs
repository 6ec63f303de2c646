//! The events that the hub delivers.

use std::sync::Arc;

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{BuyerId, ItemId, Order, TicketId, Units, Verdict};
use doorbuster_store::RoomKey;

/// An event to publish. The web code renders it.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// An order was created or changed.
    Order(Arc<Order>),
    /// A queued request was refused.
    Refused {
        /// The request's id.
        id: TicketId,
        /// The item.
        item: ItemId,
        /// The buyer.
        buyer: BuyerId,
        /// The requested units.
        units: Units,
        /// The reason.
        verdict: Verdict,
    },
    /// A waitlist entry ended with its sale.
    WaitlistEnded {
        /// The entry's id.
        id: TicketId,
        /// The item.
        item: ItemId,
        /// The buyer.
        buyer: BuyerId,
    },
    /// A sale's status changed. The catalogue has the newest status.
    Status(Arc<str>),
    /// The queue of this waiting room moved forward.
    Room(RoomKey),
    /// A visitor was admitted from a waiting room.
    Position {
        /// The waiting room.
        room: RoomKey,
        /// The buyer.
        buyer: BuyerId,
    },
    /// On an edge: an event of a buyer's stream, as a node rendered it.
    Relayed {
        /// The buyer.
        buyer: BuyerId,
        /// The event as JSON.
        json: Arc<str>,
        /// Whether the event is about an order.
        is_order: bool,
    },
}

/// A numbered event.
#[derive(Clone, Debug)]
pub struct HubEvent {
    /// The event's number, which rises with each event of the node.
    pub id: u64,
    /// The content, shared by all readers.
    pub kind: Arc<EventKind>,
}

impl EventKind {
    /// Returns the event that tells a buyer a ticket's verdict when no request waits for the
    /// verdict. If the ticket's request already holds an order, the event has this order. `None` if
    /// the verdict needs no event.
    pub(crate) fn from_verdict(
        resolved: &TicketVerdict,
        item: ItemId,
        buyer: BuyerId,
        units: Units,
    ) -> Option<Self> {
        let TicketVerdict { id, verdict, order, .. } = resolved;
        match verdict {
            // A new order is published in its own event.
            Verdict::Reserved => None,
            Verdict::Order(_) => order.clone().map(|order| Self::Order(Arc::new(order))),
            Verdict::LimitReached | Verdict::KeyReused | Verdict::Unavailable => {
                Some(Self::Refused { id: *id, item, buyer, units, verdict: *verdict })
            }
        }
    }

    /// Returns the buyer if the event is about an order, a queued request or a waitlist entry, and
    /// `None` otherwise.
    pub(super) fn buyer(&self) -> Option<&BuyerId> {
        match self {
            Self::Order(order) => Some(&order.buyer),
            Self::Refused { buyer, .. }
            | Self::WaitlistEnded { buyer, .. }
            | Self::Relayed { buyer, is_order: true, .. } => Some(buyer),
            Self::Status(_)
            | Self::Room(_)
            | Self::Position { .. }
            | Self::Relayed { is_order: false, .. } => None,
        }
    }

    /// Returns the bytes of memory that a waiting event occupies, including its content.
    pub(super) fn bytes(&self) -> usize {
        let content = match self {
            Self::Order(order) => {
                size_of::<Order>() + order.buyer.as_str().len() + order.key.as_str().len()
            }
            Self::Refused { buyer, .. } | Self::WaitlistEnded { buyer, .. } => buyer.as_str().len(),
            Self::Position { room, buyer } => room.sale.len() + buyer.as_str().len(),
            Self::Status(sale) | Self::Room(RoomKey { sale, .. }) => sale.len(),
            Self::Relayed { buyer, json, .. } => buyer.as_str().len() + json.len(),
        };
        size_of::<HubEvent>() + size_of::<Self>() + content
    }

    /// Returns whether the event is for one buyer, and not for all readers of a sale.
    pub(super) fn is_own(&self) -> bool {
        !matches!(self, Self::Status(_) | Self::Room(_))
    }
}

/// What reads the events of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReaderKind {
    /// An event stream of a page or of a program. It gets its sales' statuses and the progress of
    /// waiting rooms.
    #[default]
    Stream,
    /// An edge. It gets only the progress of its sales' waiting rooms.
    Edge,
    /// The sender of push messages. It has no sales.
    Push,
}

/// The next result for a reader.
#[derive(Debug)]
pub enum NextEvent {
    /// An event.
    HubEvent(HubEvent),
    /// The subscription has ended, because the reader was too slow or the hub ended it. The caller
    /// must disconnect the reader.
    Lagged,
}
