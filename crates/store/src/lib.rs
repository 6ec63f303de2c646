//! Durable truth: the store contract and its backends.
//!
//! Every rule about stock is a transaction of `doorbuster-core` over its `Ledger`; a backend runs it between BEGIN and COMMIT. Backends are
//! variants of a closed enum; `conformance` holds each against the same expectations.

mod books;
pub mod conformance;
mod contract;
mod endpoints;
mod erase;
mod events;
pub mod inspect;
pub mod limits;
mod line;
mod postgres;
mod sqlite;
mod store;

pub use contract::{
    AdjustOutcome, Adjusted, Adjustment, AdminKey, AdminRole, BackupError, Block, BlockKind,
    BlocksMark, BookPage, Books, CatalogueRows, Check, CodeCounts, CodesOutcome, CommitSink,
    Committed, Dead, DeadCounts, DeadId, DeadKind, DeadLetter, DeadOutcome, DeleteOutcome,
    Delivery, DeliveryQuery, DeliveryState, Difference, DifferenceKind, Dispute, Endpoint,
    EndpointChange, EndpointKind, EndpointSecret, Entered, Erased, Finding, Forget, Held, HeldBack,
    Holds, ItemBooks, ItemCounts, ItemRow, LinePlace, LineServed, MoneyPage, MoneyQuery, MoneySums,
    Moves, NewEndpoint, NewItem, NewSale, Notice, OpenError, Opening, OrderMoved, OrderPage,
    OrderQuery, OutboxPage, PatchOutcome, PostgresOptions, PutOff, Read, Redelivery, Reversal,
    ReversalKind, Reversed, Reversing, Rotation, SalePatch, SaleRow, Spending, Spent,
    SpreadOutcome, SqliteOptions, Standing, StepOutcome, StoreError, Told, Traces, Unreadable,
    WaitingPlace, WaitingRoom, WaitingView,
};
pub use postgres::{
    Postgres, PostgresLedger, check_address, kept_secret, migrate_postgres, shared_secret,
};
pub use sqlite::{Failure, Sqlite, SqliteLedger, backup};
pub use store::{CodeHash, Store, StoreResult};
