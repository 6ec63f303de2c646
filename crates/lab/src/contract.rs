//! The contract of a strategy: prepare the stock, take units for a buyer, stop, read what was sold.

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;
use serde::Serialize;

use crate::backends::Backends;

/// One step of a strategy.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What a buyer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The units are the buyer's.
    Sold,
    /// Too few units are left.
    SoldOut,
    /// Nothing was decided; the buyer may ask again.
    Busy,
}

/// One order, as the strategy's own records show it at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Who bought.
    pub buyer: i64,
    /// How many units.
    pub units: i64,
}

/// A way to deduct stock. Several processes run the same strategy on the same servers.
pub trait Strategy: Send + Sync {
    /// Removes what an earlier run left and puts `stock` units on sale. One process calls it, once,
    /// before any buyer comes.
    fn prepare(&self, stock: i64) -> Step<'_, ()>;

    /// Takes `units` for one buyer. A buyer who got no answer asks again and must not get a second
    /// order.
    fn take(&self, buyer: i64, units: i64) -> Step<'_, Answer>;

    /// Work beside the requests: a consumer, a scheduler. Every process runs it; only one of them
    /// has `leads`. It never ends by itself.
    fn background(&self, leads: bool) -> Step<'_, ()> {
        let _ = leads;
        Box::pin(std::future::pending())
    }

    /// How many accepted requests still wait for this process's background work. The lab stops a
    /// process when nothing waits.
    fn waiting(&self) -> Step<'_, u64> {
        Box::pin(async { Ok(0) })
    }

    /// Every order at the end.
    fn orders(&self) -> Step<'_, Vec<Order>>;
}

/// Where a strategy keeps its stock and its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Rows of a database.
    Database,
    /// Keys of Redis.
    Redis,
    /// Requests wait in a queue for one consumer.
    Queue,
    /// Redis in front, a database behind.
    Combined,
    /// This product.
    Doorbuster,
}

/// What a strategy promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Never oversells, loses or duplicates, whatever fault occurs.
    Safe,
    /// May oversell without any fault.
    Unsafe,
    /// Holds while every server and process works.
    SafeWithoutFaults,
}

impl Claim {
    /// The word of the JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unsafe => "unsafe",
            Self::SafeWithoutFaults => "safe_without_faults",
        }
    }
}

/// What the list and the report say about a strategy.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Info {
    /// Its stable name.
    pub id: &'static str,
    /// Where it keeps its stock.
    pub family: Family,
    /// Its name for people.
    pub title: &'static str,
    /// What it promises.
    pub claim: Claim,
    /// Where it comes from.
    pub source: &'static str,
    /// Which load it suits.
    #[serde(skip)]
    pub suits: &'static str,
}

/// A strategy that the lab can run.
#[derive(Clone, Copy)]
pub struct Entry {
    /// What it is.
    pub info: Info,
    /// Its file, which the report quotes.
    pub text: &'static str,
    /// Its script, if it has one.
    pub lua: Option<&'static str>,
    /// How it is made.
    pub make: Make,
}

/// How a strategy is made.
#[derive(Clone, Copy)]
pub enum Make {
    /// From the shared servers.
    Strategy(fn(&Backends) -> Box<dyn Strategy>),
    /// The product serves it in this shape.
    Product(crate::product::Shape),
}
