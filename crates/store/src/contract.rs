//! What goes into and comes out of a store, whatever its backend.
use std::sync::Arc;

use doorbuster_core::sale::Phase;
use doorbuster_core::settle::Resolved;
use doorbuster_core::{BuyerId, ItemId, Millis, Order, OrderState, Spread, Stock, TicketId, Token};

mod block;
mod challenge;
mod codes;
mod erase;
mod event;
mod money;
mod open;
mod outbox;
mod reconciliation;
mod room;
mod transfers;
mod waitlist;

pub use block::{Block, BlockKind, BlocksVersion};
pub use challenge::{AnswerSpend, SpendOutcome};
pub use codes::{CodeCounts, CodesOutcome};
pub use erase::{BuyerTraces, Erased, RetainReason, RetainedRows};
pub(crate) use event::event_about;
pub use event::{EventRead, StoredEvent, UnreadableEvent};
pub use money::{
    CheckoutDeferral, Dispute, MoneyPage, MoneyQuery, RefundNotice, Reversal, ReversalKind,
    ReversalOutcome, ReversedPayment,
};
pub use open::{BackupError, OpenError, PostgresOptions, SqliteOptions};
pub use outbox::{
    Dead, DeadLetterContent, DeadLetterCounts, DeadLetterId, DeadLetterKind, DeadLetterOutcome,
    Delivery, DeliveryQuery, DeliveryState, Endpoint, EndpointChange, EndpointKind, EndpointSecret,
    EndpointStatus, NewEndpoint, OutboxPage, Redelivery, RetentionCutoffs, Rotation,
};
pub use reconciliation::{
    Difference, DifferenceKind, ItemTotals, LedgerPage, MoneyTotals, OpeningStock, OrderTransition,
    Reconciliation, StockAdjustment,
};
pub use room::{EnterOutcome, RoomVisitor, WaitingRoom, WaitingRoomView};
pub use transfers::GrantTransfers;
pub use waitlist::{WaitlistPosition, WaitlistServed};

/// A store that could not do what was asked. The transaction was rolled back, unless
/// `may_have_happened`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is away or too busy: ask again.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// What the backend said.
        reason: String,
        /// Whether the effect may have happened all the same (a lost connection at COMMIT).
        may_have_happened: bool,
    },
    /// The disk failed or is full: the process must stop, and nothing may be retried on this
    /// handle.
    #[error("the store failed and must not be used further: {0}")]
    Fatal(String),
    /// A row or a statement is not as it must be. A bug, or a changed file.
    #[error("the store holds something unexpected: {0}")]
    Unexpected(String),
}

impl StoreError {
    /// The store was closed in good order.
    pub(crate) fn closed() -> Self {
        Self::Unavailable { reason: "the store is closed".to_owned(), may_have_happened: false }
    }

    /// More waits than a queue holds.
    pub(crate) fn busy() -> Self {
        Self::Unavailable {
            reason: "too much waits for the store".to_owned(),
            may_have_happened: false,
        }
    }
}

/// An item as the shop describes it, with the store's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRow {
    /// The store's number, unique over all sales.
    pub id: ItemId,
    /// The shop's id, unique within the sale.
    pub name: String,
    /// One line for people.
    pub title: String,
    /// A paragraph for people.
    pub description: String,
    /// Address of a picture.
    pub image: Option<String>,
    /// Price in minor units.
    pub price_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// The crossed-out price, in minor units of `currency`.
    pub list_price_minor: Option<i64>,
    /// Units that one buyer may hold.
    pub limit: u32,
    /// Payment window in milliseconds.
    pub hold_ms: i64,
    /// Whether stock is counted (the count itself lives in [`ItemCounts`]).
    pub counted: bool,
    /// How its stock is spread over its slots; changed by [`crate::Store::set_spread`] alone.
    pub spread: Spread,
}

/// A sale with its items, in the shop's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaleRow {
    /// The shop's id.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// Its phase.
    pub phase: Phase,
    /// When it opens by itself.
    pub starts_at: Option<Millis>,
    /// When it closes by itself.
    pub ends_at: Option<Millis>,
    /// Front-door settings, as JSON.
    pub front_door: String,
    /// Raised by every change; the `ETag`.
    pub version: u64,
    /// When it was created.
    pub created_at: Millis,
    /// When it opened.
    pub opened_at: Option<Millis>,
    /// When it closed.
    pub closed_at: Option<Millis>,
    /// A pause or close waits for what is in flight at every node, until then at the latest
    /// ([`crate::Store::drain_sale`]).
    pub draining_until: Option<Millis>,
    /// Its items.
    pub items: Vec<ItemRow>,
}

/// Every sale, as one snapshot of the store shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueRows {
    /// Another one after each commit that changes a row of a sale, or how an item is described;
    /// never one that was there before. Empty where one process has the store for itself, and so
    /// knows what it changed.
    pub version: String,
    /// Newest first.
    pub sales: Vec<SaleRow>,
}

/// A sale to be created, as a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSale {
    /// See [`SaleRow`]; so are the others.
    pub id: String,
    /// For people.
    pub title: String,
    /// Opening.
    pub starts_at: Option<Millis>,
    /// Closing.
    pub ends_at: Option<Millis>,
    /// JSON.
    pub front_door: String,
    /// 1 to 100.
    pub items: Vec<NewItem>,
}

/// An item to be created; all its stock starts in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// See [`ItemRow`]; so are the others.
    pub name: String,
    /// For people.
    pub title: String,
    /// For people.
    pub description: String,
    /// Picture.
    pub image: Option<String>,
    /// Minor units.
    pub price_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// Minor units.
    pub list_price_minor: Option<i64>,
    /// Units for one buyer.
    pub limit: u32,
    /// Payment window in milliseconds.
    pub hold_ms: i64,
    /// What there is to sell.
    pub stock: Stock,
    /// How its stock is spread.
    pub spread: Spread,
}

/// A change of a sale's description: a function from the row as it is to the row as it shall be
/// (texts, times, prices, limits, front door; never ids, phase, version, spread or stock). It runs
/// inside the transaction, so it sees the newest row; `Err` is handed back unchanged and nothing is
/// written.
pub type SalePatch = Box<dyn FnOnce(&mut SaleRow) -> Result<(), String> + Send>;

/// What a patch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchOutcome {
    /// The sale as it is now.
    Done(SaleRow),
    /// No such sale.
    NotFound,
    /// `If-Match` named another version.
    VersionMismatch(u64),
    /// What the patch function said.
    Refused(String),
}

/// What a change of an item's spread came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpreadOutcome {
    /// The item's sale as it is now.
    Done(SaleRow),
    /// Only before the sale opens.
    WrongState(Phase),
    /// No such item.
    NotFound,
}

/// What a deletion came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// Gone.
    Done,
    /// No such sale.
    NotFound,
    /// `If-Match` named another version.
    VersionMismatch(u64),
    /// Only a draft can be deleted.
    WrongState(Phase),
}

/// What a phase step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// The sale as it is now; `changed` is false when it was there already.
    Done {
        /// The row.
        sale: SaleRow,
        /// Whether this call moved it.
        changed: bool,
    },
    /// Not from this phase.
    WrongState(Phase),
    /// No such sale.
    NotFound,
}

/// An operator's change of an item's total, recorded in a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// Whose stock.
    pub item: ItemId,
    /// By how many units (not 0).
    pub units: i64,
    /// Why, for the record.
    pub reason: String,
    /// Idempotency key, unique per item.
    pub key: String,
}

/// What an adjustment came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdjustOutcome {
    /// Done by this call.
    Done(ItemCounts),
    /// Done by an earlier call with the same key and units; the counts as they are now.
    Repeated(ItemCounts),
    /// The key was used for other units.
    KeyReused,
    /// See [`doorbuster_core::stock::StockAdjustment`]: recall into the pool first. The pool as it
    /// is.
    NotInPool(u64),
    /// The total would pass the bound.
    TooMuch,
    /// Unlimited stock cannot be adjusted.
    Unlimited,
    /// No such item.
    NotFound,
}

/// Where an item's units are, at one commit. For counted stock `total = pool + in_slots + held +
/// paid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemCounts {
    /// Which item.
    pub item: ItemId,
    /// What there is to sell.
    pub total: Stock,
    /// Nobody's yet.
    pub pool: u64,
    /// Units of the pool that are kept for those in line ([`doorbuster_core::line`]).
    pub kept: u64,
    /// Granted and not settled, in open grants.
    pub in_slots: u64,
    /// In reserved orders.
    pub held: u64,
    /// In paid orders.
    pub paid: u64,
    /// Places in line.
    pub waiting: u64,
}

/// What one commit changed, told before any caller hears that it committed.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// Counts of every item that was touched, after the commit.
    pub counts: Vec<ItemCounts>,
    /// Orders that were created or changed state, as they are now, in order. One may be told twice.
    /// Complete up to `counts`: whatever order these counts know of was told before, or is told
    /// here.
    pub orders: Vec<Order>,
    /// Verdicts of tickets of this node that another node settled. An embedded store has none.
    pub told: Vec<(Token, Resolved)>,
    /// Another node changed sales or what items are described by: the catalogue is to be read
    /// again.
    pub sales: bool,
    /// Something happened that somebody may have to be told of. It may be said without need.
    pub events: bool,
}

/// Called after each commit, in commit order, from the store's own thread, *before* the callers of
/// that commit get their answers; and, where several nodes share a store, for what other nodes
/// committed. Must be quick and must not call the store.
pub type CommitSink = Arc<dyn Fn(&Committed) + Send + Sync>;

/// Which orders to list.
#[derive(Clone, Debug, Default)]
pub struct OrderQuery {
    /// Only of this buyer.
    pub buyer: Option<BuyerId>,
    /// Only of these items.
    pub items: Option<Vec<ItemId>>,
    /// Only in this state.
    pub state: Option<OrderState>,
    /// Continue after this position (from [`OrderPage::next`]).
    pub after: Option<i64>,
    /// At most this many.
    pub limit: usize,
}

/// A page of orders.
#[derive(Clone, Debug, Default)]
pub struct OrderPage {
    /// In the order that was asked for.
    pub orders: Vec<Order>,
    /// Position to continue after; `None`: no more.
    pub next: Option<i64>,
}

/// What an operator may do. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminRole {
    /// Reads.
    Viewer,
    /// Also sales, phases, stock, orders.
    Operator,
    /// Also keys.
    Admin,
}

/// An operator's key, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminKey {
    /// `key_…`.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it may do.
    pub role: AdminRole,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// When it was created.
    pub created_at: Millis,
}

/// A ticket that could not be settled and was given up: its units went back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadTicket {
    /// The ticket.
    pub ticket: TicketId,
    /// What failed.
    pub reason: String,
    /// When it was parked.
    pub at: Millis,
}

/// Something in the rows that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The invariant, such as `I2`.
    pub rule: &'static str,
    /// Which item, if it is about one.
    pub item: Option<ItemId>,
    /// The numbers.
    pub detail: String,
}

/// What adding up the rows came to, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// When (store time).
    pub checked_at: Millis,
    /// Empty: all is well.
    pub findings: Vec<Finding>,
    /// What somebody else did wrong, newest first, at most [`crate::limits::NOTICES_MAX`]. All is
    /// well all the same.
    pub notices: Vec<RefundNotice>,
}
