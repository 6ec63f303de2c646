//! What happened: one row for each change that somebody is told of, written in the transaction of
//! that change.
//!
//! The same rows are an order's history (who, when, why) and the outbox that webhooks and brokers
//! are fed from.
use crate::id::TicketId;
use crate::ledger::Ledger;
use crate::money::{Money, PaymentId, ReversalKind};
use crate::rows::{Order, OrderState, Verdict};
use crate::rules::{Rule, enforces};
use crate::value::{BuyerId, ItemId, Millis};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// An order exists.
    OrderReserved,
    /// It was paid.
    OrderPaid,
    /// It was given up.
    OrderCancelled,
    /// It was not paid in time.
    OrderExpired,
    /// It was paid and its money goes back.
    OrderRefunded,
    /// An operator gave it more time.
    OrderExtended,
    /// A request that had an id was not decided for its buyer.
    OrderRefused,
    /// Money that pays for no order goes back.
    PaymentRefunded,
    /// Money went back that nobody here asked for, or is there after all.
    PaymentReversed,
    /// A sale began to sell.
    SaleOpened,
    /// A sale ended.
    SaleClosed,
    /// Every unit of an item is paid for.
    ItemSoldOut,
}

impl EventType {
    /// Every type.
    pub const ALL: &[Self] = &[
        Self::OrderReserved,
        Self::OrderPaid,
        Self::OrderCancelled,
        Self::OrderExpired,
        Self::OrderRefunded,
        Self::OrderExtended,
        Self::OrderRefused,
        Self::PaymentRefunded,
        Self::PaymentReversed,
        Self::SaleOpened,
        Self::SaleClosed,
        Self::ItemSoldOut,
    ];

    /// The word for it, everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderReserved => "order.reserved",
            Self::OrderPaid => "order.paid",
            Self::OrderCancelled => "order.cancelled",
            Self::OrderExpired => "order.expired",
            Self::OrderRefunded => "order.refunded",
            Self::OrderExtended => "order.extended",
            Self::OrderRefused => "order.refused",
            Self::PaymentRefunded => "payment.refunded",
            Self::PaymentReversed => "payment.reversed",
            Self::SaleOpened => "sale.opened",
            Self::SaleClosed => "sale.closed",
            Self::ItemSoldOut => "item.sold_out",
        }
    }

    /// The type that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.as_str() == word)
    }

    /// The type that tells of an order's new state.
    #[must_use]
    pub fn from_order_state(state: OrderState) -> Self {
        match state {
            OrderState::Reserved => Self::OrderReserved,
            OrderState::Paid => Self::OrderPaid,
            OrderState::Cancelled => Self::OrderCancelled,
            OrderState::Expired => Self::OrderExpired,
            OrderState::Refunded => Self::OrderRefunded,
        }
    }
}

/// Who made a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The buyer.
    Buyer,
    /// An operator, by the id of their key.
    Operator(String),
    /// A payment provider, by its name.
    Provider(String),
    /// The engine itself: a window that ended, a unit that came back for somebody in line.
    Engine,
}

/// Who made a change, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribution {
    /// Who.
    pub actor: Actor,
    /// Why, as they said.
    pub why: Option<String>,
}

impl Attribution {
    /// This actor, who gave no reason.
    #[must_use]
    pub fn from_actor(actor: Actor) -> Self {
        Self { actor, why: None }
    }

    /// The engine, for this reason.
    #[must_use]
    pub fn from_engine(why: &str) -> Self {
        Self { actor: Actor::Engine, why: Some(why.to_owned()) }
    }

    /// The buyer.
    pub const BUYER: &Self = &Self { actor: Actor::Buyer, why: None };
    /// The engine.
    pub const ENGINE: &Self = &Self { actor: Actor::Engine, why: None };
}

/// What an event is about. Events about the same order (or, for the rest, the same sale or item)
/// are told in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An order as it was after the change.
    Order(Order),
    /// A ticket that was returned.
    Ticket {
        /// The id that its buyer has.
        id: TicketId,
        /// Of which item.
        item: ItemId,
        /// Whose.
        buyer: BuyerId,
        /// How many units were asked for.
        units: u64,
        /// Why.
        verdict: Verdict,
    },
    /// A payment whose money goes back.
    Payment {
        /// The provider's id of it.
        payment: PaymentId,
        /// The order that it named.
        order: String,
        /// How much.
        money: Money,
        /// Why.
        cause: crate::money::RefundCause,
    },
    /// A payment whose money went back without having been asked to. The stores write it, which
    /// keep reversals.
    Reversal {
        /// The provider's id of it.
        payment: PaymentId,
        /// The order that it named.
        order: String,
        /// How much went back, all in all.
        money: Money,
        /// How.
        kind: ReversalKind,
        /// The provider's id of the dispute, if it has one.
        dispute: Option<String>,
        /// False: it came to nothing, and the money is there.
        stands: bool,
    },
    /// An item.
    Item(ItemId),
    /// A sale, by the shop's id. Written by the stores, which know sales by name.
    Sale(String),
}

/// Something that happened, to be appended. Its position and its id are the store's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub what: EventType,
    /// About what.
    pub subject: Subject,
    /// By whom, and why.
    pub by: Attribution,
    /// When (store time).
    pub at: Millis,
}

/// Why an order exists that a place in line became.
pub const FROM_WAITLIST: &str = "a unit came back for the first in line";

/// Why a place in line became nothing though nobody gave it up and its turn never came.
pub const WAITLIST_ENDED: &str = "the sale ended before a unit came back";

impl Event {
    /// Whether it tells of an order that a place in line became. Others who give this reason are
    /// not the engine.
    #[must_use]
    pub fn is_from_waitlist(&self) -> bool {
        self.what == EventType::OrderReserved && self.has_engine_reason(FROM_WAITLIST)
    }

    /// Whether it tells of a place in line that ended with its sale.
    #[must_use]
    pub fn is_end_of_waitlist(&self) -> bool {
        self.what == EventType::OrderRefused && self.has_engine_reason(WAITLIST_ENDED)
    }

    /// Whether the engine made the change, for this reason.
    fn has_engine_reason(&self, why: &str) -> bool {
        self.by.actor == Actor::Engine && self.by.why.as_deref() == Some(why)
    }
}

/// Appends that an order changed to the state that it has now.
pub(crate) fn append_order_event<L: Ledger>(
    ledger: &mut L,
    order: &Order,
    by: &Attribution,
    at: Millis,
) -> Result<(), L::Error> {
    append(ledger, EventType::from_order_state(order.state), Subject::Order(order.clone()), by, at)
}

/// Appends an event.
pub(crate) fn append<L: Ledger>(
    ledger: &mut L,
    what: EventType,
    subject: Subject,
    by: &Attribution,
    at: Millis,
) -> Result<(), L::Error> {
    if enforces(Rule::EventWithChange) {
        ledger.append_event(&Event { what, subject, by: by.clone(), at })?;
    }
    Ok(())
}
