//! The store: its contract and its backends, SQLite and PostgreSQL.
//!
//! The rules about stock, orders and money are functions of `doorbuster-core`. These functions read
//! and write tables through the trait `Ledger`. A backend runs the functions between BEGIN and
//! COMMIT. `conformance` runs the same tests against each backend.

mod actions;
mod commit_copy;
pub mod conformance;
mod contract;
mod counts;
mod dump;
mod endpoints;
mod erase;
mod events;
mod failure;
mod history;
mod history_memory;
pub mod inspect;
pub mod limits;
mod postgres;
mod queries;
mod reconciliation;
mod row_cache;
mod rows;
mod shared_rows;
mod sql;
mod sqlite;
mod store;
mod transaction;
mod versions;
mod waitlist;

pub use actions::recorded;
pub use commit_copy::{CommitBuffer, CopyProgress, Segment, SegmentError, TakenPages};
pub use contract::{
    ActionQuery, ActionRow, AdjustOutcome, Adjustment, AdminKey, AnswerSpend, BackupError,
    BackupFile, Block, BlockKind, BlocksVersion, BuyerFilter, BuyerTraces, CODE_PREFIX_CHARS,
    CatalogueRows, Check, CheckoutDeferral, CodeCounts, CodeSelection, CodesOutcome, CommitSink,
    Committed, DeadLetter, DeadLetterContent, DeadLetterCounts, DeadLetterId, DeadLetterKind,
    DeadLetterOutcome, DeleteOutcome, Delivery, DeliveryQuery, DeliveryState, Difference,
    DifferenceKind, Endpoint, EndpointChange, EndpointKind, EndpointSecret, EndpointStatus,
    EnterOutcome, Erased, EventRead, FieldChange, Finding, GrantTransfers, Hash, HistoryCause,
    HistoryReaction, ItemCounts, ItemRow, ItemTotals, LostOrders, MoneyQuery, MoneyTotals,
    NewAction, NewEndpoint, NewItem, NewSale, NodeRow, OpenError, OpeningStock, OrderQuery,
    OrderTransition, Page, PatchOutcome, PausedSale, Person, PointQuery, PointStep,
    PostgresOptions, PushSubscription, Reconciliation, Redelivery, RefundNotice, Replication,
    RestoreError, Restored, RetainReason, RetainedRows, RetentionCutoffs, ReversedPayment, Role,
    RoomAdmissions, RoomKey, RoomProgressStep, RoomVisitor, Rotation, SalePatch, SaleRow,
    SaleSeriesRow, SessionOwner, SpendOutcome, SpreadOutcome, SqliteOptions, StepOutcome,
    StockAdjustment, StoreError, StoreHistoryRow, StoreServer, StoredEvent, StoredPushSubscription,
    SubscriptionOwner, UnreadableEvent, WaitingRoom, WaitingRoomView, WaitlistPosition,
    WaitlistServed,
};
pub use failure::Failure;
pub use history_memory::{AskPeersForHistory, KnownHistories, SaveHistory};
pub use postgres::{
    Postgres, PostgresLedger, check_address, migrate_postgres, shared_secret, stored_secret,
};
pub use sqlite::{
    Sqlite, SqliteLedger, backup, backup_part_path, check_restorable, check_unlocked, copy_base,
    is_store, publish_backup, restore, restore_copy, restore_part_paths,
};
pub use store::{CodeHash, Store, StoreResult};
pub use versions::{StoreVersions, store_versions};
