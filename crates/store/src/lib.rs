//! Durable truth: the store contract and its backends.
//!
//! Every rule about stock is a transaction of `doorbuster-core` over its `Ledger`; a backend runs it between BEGIN and COMMIT. Backends are
//! variants of a closed enum; `conformance` holds each against the same expectations.

pub mod conformance;
mod contract;
mod events;
pub mod inspect;
pub mod limits;
mod postgres;
mod sqlite;
mod store;

pub use contract::{
    AdjustOutcome, Adjustment, AdminKey, AdminRole, BackupError, Block, BlockKind, BlocksMark, Check, CodeCounts,
    CodesOutcome, CommitSink, Committed, DeadLetter, DeleteOutcome, Entered, Finding, ItemCounts, ItemRow, MoneyPage, MoneyQuery, Moves,
    NewItem, NewSale, Notice, OpenError, OrderPage, OrderQuery, PatchOutcome, PostgresOptions, SalePatch, SaleRow, Spending,
    Spent, SpreadOutcome, SqliteOptions, StepOutcome, StoreError, Told, WaitingPlace, WaitingRoom, WaitingView,
};
pub use postgres::{Postgres, PostgresLedger, kept_secret, migrate_postgres, shared_secret};
pub use sqlite::{Failure, Sqlite, SqliteLedger, backup};
pub use store::{CodeHash, Store, StoreResult};
