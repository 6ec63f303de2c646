//! The contract of a strategy, and its entry in the list of strategies.

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;
use serde::Serialize;

use crate::backends::Backends;
pub use crate::order::Order;

/// The future that a method of a strategy returns.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The answer to a buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The buyer has the units.
    Sold,
    /// Too few units are left.
    SoldOut,
    /// The request is not decided. The buyer may repeat the request.
    Busy,
}

/// A way to deduct stock. Several processes run the same strategy on the same servers.
pub trait Strategy: Send + Sync {
    /// Puts `stock` units on sale. One process calls this method once, before the first buyer
    /// comes. PostgreSQL and Redis are empty then.
    fn prepare(&self, stock: i64) -> Task<'_, ()>;

    /// Takes `units` for one buyer. A buyer without an answer repeats the request, and must not get
    /// a second order.
    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer>;

    /// Does one piece of background work, for example as a consumer or a scheduler. Returns whether
    /// more work may be waiting. If no work is waiting, the process pauses for 5 ms before the next
    /// call.
    fn background(&self) -> Task<'_, bool> {
        Box::pin(std::future::pending())
    }

    /// Returns true if every process does the background work, and false if only one process does.
    fn works_everywhere(&self) -> bool {
        false
    }

    /// Returns how many accepted requests still wait for this process's background work. Before the
    /// lab stops the process, it waits for these requests, but not longer than `DRAIN_WITHIN`.
    fn waiting(&self) -> Task<'_, u64> {
        Box::pin(async { Ok(0) })
    }

    /// Returns every order at the end of the run, by default the rows of the table `orders`.
    fn orders<'a>(&'a self, backends: &'a Backends) -> Task<'a, Vec<Order>> {
        Box::pin(backends.order_rows())
    }
}

/// Where a strategy keeps its stock and its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// The stock is in rows of a database.
    Database,
    /// The stock is in keys of Redis.
    Redis,
    /// Requests wait in a queue for one consumer.
    Queue,
    /// Redis works in front of a database.
    Combined,
    /// The product itself.
    Doorbuster,
}

/// The promise of a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// The strategy never oversells, and never loses or duplicates an order, whichever fault
    /// occurs.
    Safe,
    /// Even without a fault, the strategy can oversell.
    Unsafe,
    /// While every server and process works, the strategy never oversells, and never loses or
    /// duplicates an order.
    SafeWithoutFaults,
}

impl Claim {
    /// Returns the name of the promise in the JSON output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unsafe => "unsafe",
            Self::SafeWithoutFaults => "safe_without_faults",
        }
    }
}

/// A strategy that the lab can run. The command `lab list` prints the fields that are serialized.
#[derive(Clone, Copy, Serialize)]
pub struct StrategyEntry {
    /// The strategy's id. It stays the same in all versions of the lab.
    pub id: &'static str,
    /// Where the strategy keeps its stock.
    pub family: Family,
    /// The strategy's name for people.
    pub title: &'static str,
    /// The promise of the strategy.
    pub claim: Claim,
    /// The source that describes the strategy.
    pub source: &'static str,
    /// The kind of load that the strategy suits.
    #[serde(skip)]
    pub suits: &'static str,
    /// The text of the strategy's file. The report quotes parts of the text. For the product, the
    /// text is a short description.
    #[serde(skip)]
    pub text: &'static str,
    /// The texts of the strategy's separate files with Lua scripts or SQL statements.
    #[serde(skip)]
    pub lua: &'static [&'static str],
    /// How the lab runs the strategy.
    #[serde(skip)]
    pub kind: StrategyKind,
}

/// How the lab runs a strategy.
#[derive(Clone, Copy)]
pub enum StrategyKind {
    /// Creates the strategy in a worker process, from the process's clients for PostgreSQL and
    /// Redis.
    Worker(fn(&Backends) -> Box<dyn Strategy>),
    /// The strategy is the product in this shape.
    Product(crate::product::Shape),
}
