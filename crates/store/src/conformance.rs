//! The conformance suite of the stores. Each backend runs every function of the suite as a test,
//! with a fresh store.
//!
//! A backend opens each store with [`id_key`], [`Clock::reader`] and [`CommitLog::sink`]. The
//! backend passes the store, the clock and the log to the function as a [`Fixture`].
#![allow(clippy::missing_panics_doc, reason = "these are tests: a panic is a failed test")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{
    BuyerId, Grant, GrantId, IdKey, ItemId, Millis, NodeId, Order, RequestKey, SlotKey, Spread,
    Stock, Ticket, TicketId, TicketN, Token, Units,
};

use crate::contract::{
    CommitSink, Committed, DeadLetter, DeadLetterKind, ItemCounts, NewItem, NewSale,
};
use crate::store::Store;

pub mod blocks;
pub mod challenge;
pub mod codes;
pub mod console;
pub mod grants;
pub mod item_rooms;
pub mod lists;
pub mod money;
pub mod orders;
pub mod outbox;
pub mod phases;
pub mod push;
pub mod recalls;
pub mod reconciliation;
pub mod redelivery;
pub mod rooms;
pub mod sales;
pub mod settle;
pub mod waitlist;

/// Returns the key for order ids. A test must open its store with this key.
#[must_use]
pub fn id_key() -> IdKey {
    IdKey::new([9; 32])
}

/// A clock for tests. Its time changes only when a test advances it.
#[derive(Clone)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// Returns a clock that shows a fixed time until a test advances it.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_795_000_000_000)))
    }

    /// Returns a function that reads this clock. A test passes this function to the store that it
    /// opens.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn Fn() -> Millis + Send + Sync> {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }

    /// Returns the clock's current time.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }

    /// Advances the clock by `ms` milliseconds.
    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The log of the commits that a store publishes to its sink.
#[derive(Clone, Default)]
pub struct CommitLog(Arc<Mutex<Vec<Committed>>>);

impl CommitLog {
    /// Returns the sink with which to open a store.
    #[must_use]
    pub fn sink(&self) -> CommitSink {
        let commits = self.clone();
        Arc::new(move |committed| commits.lock().push(committed.clone()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Committed>> {
        // Even if a thread panicked while it held the lock, the vector is intact.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the commits that were recorded so far.
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// Removes the recorded commits from this log and returns them.
    #[must_use]
    pub fn take(&self) -> Vec<Committed> {
        std::mem::take(&mut *self.lock())
    }
}

/// A fresh store, with its clock and the log of its commits.
pub struct Fixture {
    /// The store.
    pub store: Store,
    /// The store's clock.
    pub clock: Clock,
    /// The commits that the store's sink received.
    pub commits: CommitLog,
}

/// The payment window of an item that [`new_item`] describes: one hour, in milliseconds.
pub const HOLD_MS: i64 = 3_600_000;

/// Returns an item of a test's sale.
#[must_use]
pub fn new_item(name: &str, stock: Stock, limit: u32) -> NewItem {
    NewItem {
        name: name.to_owned(),
        title: format!("The {name}"),
        description: "One of its kind".to_owned(),
        image: None,
        price_minor: 1_999,
        currency: "EUR".to_owned(),
        list_price_minor: Some(2_999),
        limit,
        hold_ms: HOLD_MS,
        page: String::new(),
        stock,
        spread: Spread::default(),
    }
}

/// Returns a draft of a test's sale.
#[must_use]
pub fn new_sale(id: &str, items: Vec<NewItem>) -> NewSale {
    let front_door = r#"{"pass":"off"}"#.to_owned();
    NewSale {
        id: id.to_owned(),
        title: format!("Sale {id}"),
        starts_at: None,
        ends_at: None,
        front_door,
        page: String::new(),
        items,
    }
}

fn buyer(name: &str) -> BuyerId {
    BuyerId::new(name).expect("a test's buyer")
}

fn request_key(name: &str) -> RequestKey {
    RequestKey::new(name).expect("a test's key")
}

impl Fixture {
    /// Creates an open sale that has only one item. Returns the item.
    pub async fn item(&self, stock: Stock, limit: u32) -> ItemId {
        let id = format!("sale-{}", self.store.sales().await.expect("reads").len());
        let sale = new_sale(&id, vec![new_item("item", stock, limit)]);
        let sale = self.store.create_sale(sale).await.expect("writes").expect("a free id");
        self.store.step_sale(&id, doorbuster_core::sale::PhaseStep::Open).await.expect("writes");
        sale.items[0].id
    }

    /// Creates an item with counted stock, and returns an acknowledged grant of `granted` units for
    /// slot 0.
    pub async fn slot(&self, stock: u64, granted: u64, limit: u32) -> Grant {
        let item = self.item(Stock::Counted(stock), limit).await;
        self.open(SlotKey { item, index: 0 }, granted).await
    }

    /// Opens a grant for the slot and acknowledges the grant.
    pub async fn open(&self, slot: SlotKey, units: u64) -> Grant {
        let id = GrantId(
            slot.item.0.unsigned_abs() << 32
                | u64::from(slot.index) << 16
                | self.grants(slot.item).await,
        );
        let grant = self.store.open_grant(slot, id, units).await.expect("writes").expect("an item");
        self.store.acknowledge_init(grant.id).await.expect("writes");
        Grant { acked: true, ..grant }
    }

    async fn grants(&self, item: ItemId) -> u64 {
        self.store.grants(item).await.expect("reads").len() as u64
    }

    /// Reads the grant's row again, and returns it.
    pub async fn grant(&self, grant: &Grant) -> Grant {
        self.store.grant(grant.id).await.expect("reads").expect("a grant")
    }

    /// Returns a ticket as the grant's slot would issue it now. `n` is the ticket's number in the
    /// grant, `who` is the buyer, and `key` is the request key.
    #[must_use]
    pub fn ticket(&self, grant: &Grant, n: u64, who: &str, key: &str, units: u32) -> Arc<Ticket> {
        Arc::new(Ticket {
            token: Token(n << 8 | u64::from(units)),
            grant: grant.id,
            n: TicketN(n),
            item: grant.slot.item,
            buyer: buyer(who),
            key: request_key(key),
            units: Units::new(units).expect("in range"),
            decide_by: self.clock.now().plus(10_000),
            node: NodeId(1),
        })
    }

    /// Settles one ticket.
    pub async fn settle(&self, ticket: &Arc<Ticket>) -> TicketVerdict {
        let resolved = self.store.settle(vec![Arc::clone(ticket)]).await.expect("settles");
        resolved.into_iter().next().expect("one answer for one ticket")
    }

    /// Settles one ticket that must become an order, and returns the order.
    pub async fn reserve(&self, grant: &Grant, n: u64, who: &str, units: u32) -> Order {
        let ticket = self.ticket(grant, n, who, &format!("key-{n}"), units);
        self.settle(&ticket).await.order.expect("an order")
    }

    /// Returns the newest unresolved dead letters of tickets, newest first.
    pub async fn dead_tickets(&self) -> Vec<DeadLetter> {
        let letters = self.store.list_dead_letters(DeadLetterKind::Ticket, None, 9);
        letters.await.expect("reads").rows
    }

    /// Returns the counts of an item.
    pub async fn counts(&self, item: ItemId) -> ItemCounts {
        self.store.counts(Some(vec![item])).await.expect("reads")[0]
    }

    /// Asserts how many of an item's units are in each state.
    pub async fn expect_units(&self, item: ItemId, pool: u64, in_slots: u64, held: u64, paid: u64) {
        let c = self.counts(item).await;
        assert_eq!(
            (c.pool, c.in_slots, c.held, c.paid),
            (pool, in_slots, held, paid),
            "units (in the pool, in slots, held, paid) differ"
        );
        self.check_invariants().await;
    }

    /// Asserts that no unit of any item is lost or counted twice.
    pub async fn check_invariants(&self) {
        for c in self.store.counts(None).await.expect("reads") {
            if let Stock::Counted(total) = c.total {
                assert_eq!(total, c.pool + c.in_slots + c.held + c.paid, "{c:?}");
            }
        }
        assert_eq!(self.store.check().await.expect("reads").findings, []);
    }
}

fn id_of(ticket: &Ticket) -> TicketId {
    id_key().id_of(ticket)
}
