//! Events: one row for each change that webhooks, brokers or an order's history must show. The
//! transaction that makes a change also writes the change's event.
use crate::id::TicketId;
use crate::money::{Money, PaymentId, ReversalKind};
use crate::rows::{Order, Verdict};
use crate::value::{BuyerId, ItemId, Millis};

pub use doorbuster_types::EventType;

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The buyer.
    Buyer,
    /// An operator, identified by the id of the operator's key.
    Operator(String),
    /// A payment provider, identified by its name.
    Provider(String),
    /// The engine: the server makes the change by itself, without a request. For example, a payment
    /// window ends, or the first buyer on a waitlist gets a unit.
    Engine,
}

/// Who made a change, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Who made the change.
    pub actor: Actor,
    /// The reason that the actor gave.
    pub why: Option<String>,
}

impl Attribution {
    /// Returns an attribution to this actor, without a reason.
    #[must_use]
    pub fn from_actor(actor: Actor) -> Self {
        Self { actor, why: None }
    }

    /// Returns an attribution to the engine, with this reason.
    #[must_use]
    pub fn from_engine(why: &str) -> Self {
        Self { actor: Actor::Engine, why: Some(why.to_owned()) }
    }

    /// Says that the buyer caused the event, and names no reason.
    pub const BUYER: &Self = &Self { actor: Actor::Buyer, why: None };
    /// Says that the engine caused the event, and names no reason.
    pub const ENGINE: &Self = &Self { actor: Actor::Engine, why: None };
}

/// What an event is about. Events about the same order, the same item or the same sale are
/// delivered in the sequence in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An order as it was after the change.
    Order(Order),
    /// A ticket that was returned.
    Ticket {
        /// The id that the buyer received.
        id: TicketId,
        /// The item.
        item: ItemId,
        /// The buyer.
        buyer: BuyerId,
        /// The number of units that the request asked for.
        units: u64,
        /// The reason for the return.
        verdict: Verdict,
    },
    /// A payment that is refunded because it pays for no order.
    Payment {
        /// The provider's id of the payment.
        payment: PaymentId,
        /// The order that the payment named.
        order: String,
        /// The amount of money.
        money: Money,
        /// The reason for the refund.
        cause: crate::money::RefundCause,
    },
    /// A captured payment was reversed, and this server had not requested the reversal. The store
    /// creates this event itself, because only the store has the records of reversals.
    Reversal {
        /// The provider's id of the payment.
        payment: PaymentId,
        /// The order that the payment named.
        order: String,
        /// The total reversed amount.
        money: Money,
        /// The kind of reversal.
        kind: ReversalKind,
        /// The provider's id of the dispute. `None` if the reversal is no dispute, or if the
        /// dispute has no id.
        dispute: Option<String>,
        /// True while the reversal is in force. False if the reversal failed or was withdrawn, so
        /// that the shop has the money again.
        stands: bool,
    },
    /// An item.
    Item(ItemId),
    /// A sale, identified by the id that the shop gave it. The store creates this event itself,
    /// because only the store knows this id.
    Sale(String),
}

/// An event to append. The store assigns its position and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The type.
    pub what: EventType,
    /// The subject of the event.
    pub subject: Subject,
    /// Who made the change, and why.
    pub by: Attribution,
    /// When the change happened (store time).
    pub at: Millis,
}

/// The reason in an event about an order that was created from a waitlist entry. Stored rows
/// contain this text, so do not change it.
pub const FROM_WAITLIST: &str = "a returned unit went to the first buyer on the waitlist";

/// The reason in an event about a waitlist entry that got no unit before the sale ended. Stored
/// rows contain this text, so do not change it.
pub const WAITLIST_ENDED: &str = "the sale ended before a unit came back";

impl Event {
    /// Returns whether the event is about an order that was created from a waitlist entry. Only the
    /// engine's events count, because another actor may give the same text as a reason.
    #[must_use]
    pub fn is_from_waitlist(&self) -> bool {
        self.what == EventType::OrderReserved && self.has_engine_reason(FROM_WAITLIST)
    }

    /// Returns whether the event is about a waitlist entry that ended because its sale ended.
    #[must_use]
    pub fn is_end_of_waitlist(&self) -> bool {
        self.what == EventType::OrderRefused && self.has_engine_reason(WAITLIST_ENDED)
    }

    fn has_engine_reason(&self, why: &str) -> bool {
        self.by.actor == Actor::Engine && self.by.why.as_deref() == Some(why)
    }
}
