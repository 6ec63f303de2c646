//! The contract that each strategy implements, and the entry that describes a strategy in the list.

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;
use serde::Serialize;

use crate::backends::Backends;
pub use crate::order::Order;

/// The future that the methods of a strategy return.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The answer to a buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The buyer has the units.
    Sold,
    /// Too few units are left.
    SoldOut,
    /// The request is not decided, so the buyer repeats it.
    Busy,
}

/// A way to deduct stock. Several processes run the same strategy with the same PostgreSQL and
/// Redis.
pub trait Strategy: Send + Sync {
    /// Puts `stock` units on sale. Called once, by one process, before the first buyer comes.
    /// PostgreSQL and Redis are empty at this time.
    fn prepare(&self, stock: i64) -> Task<'_, ()>;

    /// Takes `units` for one buyer. A buyer without an answer repeats the request. The repeated
    /// request must not give the buyer a second order.
    fn take(&self, buyer: i64, units: i64) -> Task<'_, Answer>;

    /// Does one piece of background work, for example the work of a consumer or a scheduler.
    /// Returns true if more work may be waiting. After false, the process waits 5 ms before the
    /// next call.
    fn background(&self) -> Task<'_, bool> {
        Box::pin(std::future::pending())
    }

    /// Returns true if every process does the background work, and false if one process does it for
    /// all.
    fn works_everywhere(&self) -> bool {
        false
    }

    /// Returns how many accepted requests still wait for this process's background work. The lab
    /// waits at most `DRAIN_WITHIN` for these requests before it stops the process.
    fn waiting(&self) -> Task<'_, u64> {
        Box::pin(async { Ok(0) })
    }

    /// Returns all orders at the end of the run. By default, these are the rows of the table
    /// `orders`.
    fn orders<'a>(&'a self, backends: &'a Backends) -> Task<'a, Vec<Order>> {
        Box::pin(backends.order_rows())
    }
}

/// The family of a strategy: where it keeps its stock and its queue.
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
    /// The strategy never oversells, and never loses or duplicates an order, even during the lab's
    /// faults.
    Safe,
    /// The strategy can oversell even without a fault.
    Unsafe,
    /// As long as every server and process works, the strategy never oversells, and never loses or
    /// duplicates an order. During a fault, the strategy may break this promise.
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

/// A strategy that the lab can run. The JSON output of `lab list` contains every field that is not
/// marked `serde(skip)`.
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
    /// The text of the strategy's source file, from which the report quotes. For the product, a
    /// short description with the same sections takes the place of a source file.
    #[serde(skip)]
    pub text: &'static str,
    /// The texts of the Lua scripts and SQL statements that the strategy has in separate files.
    #[serde(skip)]
    pub lua: &'static [&'static str],
    /// How the lab runs the strategy.
    #[serde(skip)]
    pub kind: StrategyKind,
}

/// How the lab runs a strategy.
#[derive(Clone, Copy)]
pub enum StrategyKind {
    /// A strategy of the lab, which runs in worker processes. The function creates the strategy
    /// from the process's clients for PostgreSQL and Redis.
    Worker(fn(&Backends) -> Box<dyn Strategy>),
    /// The strategy is the product in this shape.
    Product(crate::product::Shape),
}
