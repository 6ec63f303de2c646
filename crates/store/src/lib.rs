//! Durable truth: the store contract and its backends.
//!
//! Every rule about stock is a transaction of `doorbuster-core` over its `Ledger`; a backend runs it between BEGIN and COMMIT. Backends are
//! variants of a closed enum; `conformance` holds each against the same expectations.

mod reconciliation;
pub mod conformance;
mod contract;
mod endpoints;
mod erase;
mod events;
pub mod inspect;
pub mod limits;
mod waitlist;
mod postgres;
mod sqlite;
mod store;

pub use contract::{
    AdjustOutcome, StockAdjustment, Adjustment, AdminKey, AdminRole, BackupError, Block, BlockKind,
    BlocksVersion, LedgerPage, Reconciliation, CatalogueRows, Check, CodeCounts, CodesOutcome, CommitSink,
    Committed, Dead, DeadLetterCounts, DeadLetterId, DeadLetterKind, DeadTicket, DeadLetterOutcome, DeleteOutcome,
    Delivery, DeliveryQuery, DeliveryState, Difference, DifferenceKind, Dispute, Endpoint,
    EndpointChange, EndpointKind, EndpointSecret, EnterOutcome, Erased, Finding, RetentionCutoffs, DeadLetterContent, RetainedRows,
    RetainReason, ItemTotals, ItemCounts, ItemRow, WaitlistPosition, WaitlistServed, MoneyPage, MoneyQuery, MoneyTotals,
    GrantTransfers, NewEndpoint, NewItem, NewSale, RefundNotice, OpenError, OpeningStock, OrderTransition, OrderPage,
    OrderQuery, OutboxPage, PatchOutcome, PostgresOptions, CheckoutDeferral, EventRead, Redelivery, Reversal,
    ReversalKind, ReversedPayment, ReversalOutcome, Rotation, SalePatch, SaleRow, AnswerSpend, SpendOutcome,
    SpreadOutcome, SqliteOptions, EndpointStatus, StepOutcome, StoreError, StoredEvent, BuyerTraces, UnreadableEvent,
    RoomVisitor, WaitingRoom, WaitingRoomView,
};
pub use postgres::{
    Postgres, PostgresLedger, check_address, stored_secret, migrate_postgres, shared_secret,
};
pub use sqlite::{Failure, Sqlite, SqliteLedger, backup};
pub use store::{CodeHash, Store, StoreResult};
