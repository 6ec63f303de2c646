//! Durable truth: the store contract and its backends.
//!
//! Every rule about stock is a transaction of `doorbuster-core` over its `Ledger`; a backend runs it between BEGIN and COMMIT. Backends are
//! variants of a closed enum; `conformance` holds each against the same expectations.

mod contract;

pub use contract::{
    AdminKey, AdminRole, Adjustment, AdjustOutcome, CommitSink, Committed, DeadLetter, DeleteOutcome, ItemCounts, ItemRow, NewItem,
    NewSale, OrderPage, OrderQuery, PatchOutcome, SalePatch, SaleRow, StepOutcome, StoreError,
};
