//! The types of the arguments and the results of a store's methods, the same for every backend.
use std::sync::Arc;

use doorbuster_core::digest::OrderDigest;
use doorbuster_core::sale::Phase;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{BuyerId, ItemId, Millis, Order, OrderState, Spread, Stock, Token};

mod action;
mod block;
mod challenge;
mod codes;
mod console;
mod erase;
mod error;
mod event;
mod failover;
mod history;
mod money;
mod open;
mod outbox;
mod page;
mod push;
mod reconciliation;
mod retention;
mod room;
mod transfers;
mod waitlist;

pub use action::{ActionQuery, ActionRow, FieldChange, NewAction};
pub use block::{Block, BlockKind, BlocksVersion};
pub use challenge::{AnswerSpend, SpendOutcome};
pub use codes::{CODE_PREFIX_CHARS, CodeCounts, CodeSelection, CodesOutcome};
pub use console::{
    AdminKey, Hash, NodeRow, Person, PointQuery, PointStep, Role, SaleSeriesRow, SessionOwner,
    StoreServer,
};
pub use erase::{BuyerTraces, Erased, RetainReason, RetainedRows};
pub use error::{StoreError, StoreResult};
pub(crate) use event::event_about;
pub use event::{EventRead, StoredEvent, UnreadableEvent};
pub use failover::{HistoryReaction, LostOrders, Replication};
pub use history::{HistoryCause, PausedSale, StoreHistoryRow};
pub use money::{CheckoutDeferral, MoneyQuery, RefundNotice, ReversedPayment};
pub use open::{
    BackupError, BackupFile, OpenError, PostgresOptions, RestoreError, Restored, SqliteOptions,
};
pub use outbox::{
    DeadLetter, DeadLetterContent, DeadLetterCounts, DeadLetterId, DeadLetterKind,
    DeadLetterOutcome, Delivery, DeliveryQuery, DeliveryState, Endpoint, EndpointChange,
    EndpointKind, EndpointSecret, EndpointStatus, NewEndpoint, Redelivery, Rotation,
};
pub use page::Page;
pub use push::{PushSubscription, StoredPushSubscription, SubscriptionOwner};
pub use reconciliation::{
    Difference, DifferenceKind, ItemTotals, MoneyTotals, OpeningStock, OrderTransition,
    Reconciliation, StockAdjustment,
};
pub use retention::RetentionCutoffs;
pub use room::{
    EnterOutcome, RoomAdmissions, RoomKey, RoomProgressStep, RoomVisitor, WaitingRoom,
    WaitingRoomView,
};
pub use transfers::GrantTransfers;
pub use waitlist::{WaitlistPosition, WaitlistServed};

/// An item: the shop's description of the item, and the number that the store gave to it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ItemRow {
    /// The number that the store gave to the item, unique among all sales.
    pub id: ItemId,
    /// The shop's id for the item, unique within the sale.
    pub name: String,
    /// A title of one line.
    pub title: String,
    /// A description of one paragraph.
    pub description: String,
    /// The URL of a picture.
    pub image: Option<String>,
    /// The price in minor units of the currency.
    pub price_minor: i64,
    /// The currency code of ISO 4217.
    pub currency: String,
    /// The crossed-out price, in minor units of `currency`.
    pub list_price_minor: Option<i64>,
    /// The largest number of units that one buyer may have in active orders.
    pub limit: u32,
    /// The payment window of the item's orders, in milliseconds.
    pub hold_ms: i64,
    /// Further data of the item's page, such as texts in other languages, as JSON. Empty if there
    /// is no further data.
    pub page: String,
    /// True if the item's stock is counted (see [`ItemCounts`]). False if the stock is unlimited.
    pub counted: bool,
    /// The spread of the item's stock. Only [`crate::Store::set_spread`] changes this value.
    #[serde(flatten)]
    pub spread: Spread,
}

/// A sale. Its items are in the sequence that the shop gave.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SaleRow {
    /// The shop's id for the sale.
    pub id: String,
    /// A title of one line.
    pub title: String,
    /// The sale's phase.
    pub phase: Phase,
    /// When the sale opens automatically.
    pub starts_at: Option<Millis>,
    /// When the sale closes automatically.
    pub ends_at: Option<Millis>,
    /// Front-door settings, as JSON.
    pub front_door: String,
    /// Further data of the sale's page, such as texts in other languages, as JSON. Empty if there
    /// is no further data.
    pub page: String,
    /// The number of the sale's version. Every change of the sale increases this number. The API
    /// returns the number in the header `ETag`.
    pub version: u64,
    /// When the sale was created.
    pub created_at: Millis,
    /// When the sale first opened.
    pub opened_at: Option<Millis>,
    /// When the sale closed.
    pub closed_at: Option<Millis>,
    /// The latest time at which a drain of the sale stops waiting for requests that nodes still
    /// process. `None` if the sale is not being drained before a pause or its closing
    /// ([`crate::Store::drain_sale`]).
    pub draining_until: Option<Millis>,
    /// The sale's items.
    pub items: Vec<ItemRow>,
}

/// Every sale, in one snapshot of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueRows {
    /// The version of the catalogue. Each commit that changes a sale or the description of an item
    /// sets a version that was never used before. Empty in an embedded store, because no other node
    /// can change the catalogue there.
    pub version: String,
    /// The sales, newest first.
    pub sales: Vec<SaleRow>,
}

/// A sale to create, as a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSale {
    /// The shop's id. For all fields of this type, see the fields of [`SaleRow`].
    pub id: String,
    /// The title.
    pub title: String,
    /// When the sale opens.
    pub starts_at: Option<Millis>,
    /// When the sale closes.
    pub ends_at: Option<Millis>,
    /// Front-door settings, as JSON.
    pub front_door: String,
    /// Further data of the sale's page, as JSON.
    pub page: String,
    /// The sale's items: 1 to 100.
    pub items: Vec<NewItem>,
}

/// An item to create. All its stock starts in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// The shop's id of the item. For the other fields, see the fields of [`ItemRow`].
    pub name: String,
    /// The title.
    pub title: String,
    /// The description.
    pub description: String,
    /// The URL of a picture.
    pub image: Option<String>,
    /// The price in minor units.
    pub price_minor: i64,
    /// The currency code of ISO 4217.
    pub currency: String,
    /// The crossed-out price in minor units.
    pub list_price_minor: Option<i64>,
    /// The largest number of units that one buyer may have in active orders.
    pub limit: u32,
    /// The payment window in milliseconds.
    pub hold_ms: i64,
    /// Further data of the item's page, as JSON.
    pub page: String,
    /// The units to sell.
    pub stock: Stock,
    /// How the item's stock is divided among the item's slots.
    pub spread: Spread,
}

/// A function that changes a sale's row inside the transaction. The function may change texts,
/// times, prices, limits and the front door, but never ids, phase, version, spread or stock. If the
/// function returns `Err`, nothing is written, and the caller gets the same error.
pub type SalePatch = Box<dyn FnOnce(&mut SaleRow) -> Result<(), String> + Send>;

/// The result of a patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatchOutcome {
    /// The sale after the patch.
    Done(SaleRow),
    /// No such sale exists.
    NotFound,
    /// The sale's version differs from the version in the header `If-Match`. The value is the
    /// sale's current version.
    VersionMismatch(u64),
    /// The error that the patch function returned.
    Refused(String),
}

/// The result of changing an item's spread.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::large_enum_variant,
    reason = "operators rarely change a spread, so few values exist"
)]
pub enum SpreadOutcome {
    /// The item's sale after the change.
    Done(SaleRow),
    /// The sale is closed, so its spreads cannot change. The value is the sale's phase.
    WrongState(Phase),
    /// The sale's version differs from the version that the caller expects. The value is the sale's
    /// current version.
    VersionMismatch(u64),
    /// No such item exists.
    NotFound,
}

/// The result of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The sale is deleted.
    Done,
    /// No such sale exists.
    NotFound,
    /// The sale's version differs from the version in the header `If-Match`. The value is the
    /// sale's current version.
    VersionMismatch(u64),
    /// The sale is not a draft, so it is not deleted. The value is the sale's phase.
    WrongState(Phase),
}

/// The result of a phase change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a phase rarely changes, so few values exist")]
pub enum StepOutcome {
    /// The sale has the requested phase.
    Done {
        /// The sale after this call.
        sale: SaleRow,
        /// Whether this call changed the phase.
        changed: bool,
    },
    /// The sale's current phase does not allow this step. The value is this phase.
    WrongState(Phase),
    /// No such sale exists.
    NotFound,
}

/// A change that an operator makes to an item's total. The store records the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The item.
    pub item: ItemId,
    /// The number of units to add, never 0. A negative number removes units.
    pub units: i64,
    /// The reason, for the record.
    pub reason: String,
    /// The idempotency key, unique within the item.
    pub key: String,
}

/// The result of an adjustment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdjustOutcome {
    /// This call changed the total.
    Done(ItemCounts),
    /// An earlier call with the same key and units changed the total. The value is the current
    /// counts.
    Repeated(ItemCounts),
    /// The key was used before, with another number of units.
    KeyReused,
    /// The call would remove more units than the pool has. The value is the number of units in the
    /// pool.
    NotInPool(u64),
    /// The total would be larger than an item's largest permitted stock.
    TooMuch,
    /// Unlimited stock cannot be adjusted.
    Unlimited,
    /// The item's sale is closed.
    Closed,
    /// No such item exists.
    NotFound,
}

/// How many of an item's units are in each state, at one commit. For counted stock, `total = pool +
/// in_slots + held + paid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemCounts {
    /// The item.
    pub item: ItemId,
    /// The units to sell.
    pub total: Stock,
    /// Units in the pool.
    pub pool: u64,
    /// Units of the pool that are reserved for the waitlist ([`doorbuster_core::waitlist`]).
    pub kept: u64,
    /// Unsettled units of open grants.
    pub in_slots: u64,
    /// Units of reserved orders.
    pub held: u64,
    /// Units of paid orders.
    pub paid: u64,
    /// The number of waiting entries in the waitlist.
    pub waiting: u64,
}

/// What one or more commits changed. A store publishes this value through its [`CommitSink`]. A
/// call that makes a commit returns only after the orders of this commit are published.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// The counts after the commit, for every item that the commit touched. With PostgreSQL, counts
    /// that changed because tickets were settled may be published some milliseconds after the
    /// orders.
    pub counts: Vec<ItemCounts>,
    /// The newest state of each order that was created or changed, oldest commit first. An order
    /// may be published twice. If an order's units are in `counts`, the order is in `orders` or
    /// `digests`, or was published before.
    pub orders: Vec<Order>,
    /// Digests of orders that other nodes created or changed, and that this node does not need in
    /// full. Empty in an embedded store.
    pub digests: Vec<OrderDigest>,
    /// Verdicts that another node gave to this node's tickets. Empty in an embedded store.
    pub verdicts: Vec<(Token, TicketVerdict)>,
    /// Whether another node changed sales or the descriptions of items. The receiver must then read
    /// the catalogue again.
    pub sales: bool,
    /// Whether the database failed over, so that orders of earlier commits may be lost.
    pub may_lose_orders: bool,
    /// Whether the commit may have appended events to deliver.
    pub events: bool,
}

/// A function that the store calls after each commit, in commit order. A store's method that makes
/// a commit returns only after the function has returned. The store calls the function from its own
/// thread or task, and also for commits of other nodes. The function must be quick and must not
/// call the store.
pub type CommitSink = Arc<dyn Fn(&Committed) + Send + Sync>;

/// A function that returns whether this node must read the orders of a buyer in full. The argument
/// is the buyer's tag (`core::digest::buyer_tag`). The store calls the function for each order that
/// another node changed. The function must be quick and must not call the store.
pub type BuyerFilter = Arc<dyn Fn(u32) -> bool + Send + Sync>;

/// A filter for a list of orders.
#[derive(Clone, Debug, Default)]
pub struct OrderQuery {
    /// Only orders of this buyer.
    pub buyer: Option<BuyerId>,
    /// Only orders of these items.
    pub items: Option<Vec<ItemId>>,
    /// Only orders in this state.
    pub state: Option<OrderState>,
    /// Continue after this position (from [`Page::next`]).
    pub after: Option<i64>,
    /// True if the oldest orders come first. Otherwise the newest orders come first.
    pub oldest_first: bool,
    /// The largest number of orders in the page.
    pub limit: usize,
}

/// A contradiction between rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the broken rule in docs/protocol.md, such as `I2`.
    pub rule: &'static str,
    /// The item that the contradiction concerns. `None` if it concerns no item.
    pub item: Option<ItemId>,
    /// The numbers that differ.
    pub detail: String,
}

/// The result of checking all rows, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The time of the check, by the store's clock.
    pub checked_at: Millis,
    /// The contradictions. If there are no contradictions, the rows are consistent.
    pub findings: Vec<Finding>,
    /// Faulty payments that a provider or a buyer caused, newest first, at most
    /// [`crate::limits::NOTICES_MAX`]. Such payments are no contradictions between rows.
    pub notices: Vec<RefundNotice>,
}
