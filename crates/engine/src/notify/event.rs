//! The events that the hub delivers.

use std::sync::Arc;

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{BuyerId, ItemId, Order, TicketId, Units, Verdict};
use doorbuster_store::RoomKey;

/// An event for the hub to publish. The web code converts it to the JSON that clients get.
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
    /// The status of the sale with this id changed. The catalogue has the newest status.
    Status(Arc<str>),
    /// The queue of this waiting room advanced.
    Room(RoomKey),
    /// A visitor was admitted from a waiting room.
    Position {
        /// The waiting room.
        room: RoomKey,
        /// The buyer.
        buyer: BuyerId,
    },
    /// On an edge: an event that a node sent over the relay for a buyer's streams.
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
    /// The event's number. Each event has a higher number than the node's earlier events.
    pub id: u64,
    /// The content, shared by all readers.
    pub kind: Arc<EventKind>,
}

impl EventKind {
    /// Returns the event that tells a buyer a ticket's verdict when no request waits for this
    /// verdict. If the ticket's request already holds an order, the event has this order. Returns
    /// `None` if the verdict needs no event.
    pub(crate) fn from_verdict(
        resolved: &TicketVerdict,
        item: ItemId,
        buyer: BuyerId,
        units: Units,
    ) -> Option<Self> {
        let TicketVerdict { id, verdict, order, .. } = resolved;
        match verdict {
            // No event is needed here: the commit that creates the order publishes one.
            Verdict::Reserved => None,
            Verdict::Order(_) => order.clone().map(|order| Self::Order(Arc::new(order))),
            Verdict::LimitReached | Verdict::KeyReused | Verdict::Unavailable => {
                Some(Self::Refused { id: *id, item, buyer, units, verdict: *verdict })
            }
        }
    }

    /// Returns the event's buyer if the event is about a buyer's order, queued request or waitlist
    /// entry. For all other events, returns `None`.
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

    /// Returns how many bytes of memory the event occupies in a reader's queue, including its
    /// content.
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

/// Who gets the events of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReaderKind {
    /// An event stream of a page or of another program. It also gets the statuses of its sales, and
    /// the progress of their waiting rooms.
    #[default]
    Stream,
    /// An edge. Of the events about sales, an edge gets only those about the progress of waiting
    /// rooms.
    Edge,
    /// The sender of push messages. Its subscription has no sales.
    Push,
}

/// The result of waiting for the next event of a subscription.
#[derive(Debug)]
pub enum NextEvent {
    /// An event.
    HubEvent(HubEvent),
    /// The subscription has ended: too many events waited for the reader, or the hub ended it. The
    /// caller must disconnect the reader.
    Lagged,
}
