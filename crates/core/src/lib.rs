//! The rules of a flash sale as functions of values: no IO, no async, no clock, no randomness.
//!
//! A unit of stock reaches a buyer in three steps. Each step is decided by the cheapest component
//! that can decide it:
//!
//! 1. **Grant**: the store moves units from an item's pool to a slot ([`stock`]).
//! 2. **Ticket**: a slot deducts units for one request, atomically ([`slot`]). A ticket is not yet
//!    an order.
//! 3. **Settle**: a settler decides each ticket exactly once: it becomes an order or is returned
//!    ([`settle`]).
//!
//! How the stock is divided among the slots affects only speed: the server never sells too many
//! units. So [`partition`], [`refill`], [`gather`] and [`lapsed_grants`] may decide from old
//! readings.
//!
//! Time, ids and rows come in as arguments, and decisions go out as values. The store's
//! transactions are functions over a [`Ledger`]. So the simulator can test the same code that runs
//! in production.
#![forbid(unsafe_code)]

#[macro_use]
mod local_rules;

pub mod assignment;
pub mod backoff;
pub mod database_history;
pub mod digest;
pub mod edge;
pub mod event;
mod event_log;
pub mod gate;
pub mod gather;
mod id;
mod labels;
pub mod lapsed_grants;
mod ledger;
pub mod limit_counts;
pub mod limits;
pub mod model;
pub mod money;
pub mod order;
pub mod outbox;
pub mod partition;
mod queue;
pub mod recall;
pub mod refill;
pub mod respread;
pub mod rows;
pub mod rules;
pub mod sale;
#[cfg(test)]
mod seeded_rng;
pub mod settle;
pub mod settler_pace;
#[cfg(test)]
mod skewed_demand_tests;
pub mod slot;
pub mod slot_loss;
pub mod sold_out;
mod spread;
pub mod stock;
mod ticket;
mod value;
pub mod waitlist;
#[cfg(test)]
mod worked_example;

pub use id::{IdKey, TicketId, TicketParts};
pub use ledger::Ledger;
pub use queue::QueuedTicket;
pub use rows::{
    CloseCause, FeedRow, Grant, Item, Order, OrderState, Recall, RecallTarget, Resolution, Verdict,
    WaitlistEntry, WaitlistState,
};
pub use sale::Phase;
pub use spread::{Counter, PartitionChoice, Spread, SpreadFault};
pub use ticket::{RequestHash, Ticket};
pub use value::{
    BuyerId, BuyerName, Epoch, GrantId, ItemId, Millis, NodeId, PresentedKey, RecallId, RequestKey,
    Seq, SlotKey, Stock, TicketN, Token, Units,
};
