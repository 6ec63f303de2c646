//! The rows of the store as plain values, with sums and look-up tables that several checks need.

use std::collections::{BTreeMap, HashMap};

/// All rows of a store in one snapshot.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub sales: HashMap<String, Sale>,
    pub items: BTreeMap<i64, Item>,
    pub grants: BTreeMap<i64, Grant>,
    /// Feed rows, sorted by grant and sequence number.
    pub feed: Vec<FeedRow>,
    pub resolutions: Vec<Resolution>,
    /// Orders, sorted by commit (SQLite) or by reservation time (PostgreSQL).
    pub orders: Vec<Order>,
    pub quotas: Vec<Quota>,
    pub recalls: Vec<Recall>,
    /// Adjustments, earliest commit first.
    pub adjustments: Vec<Adjustment>,
    pub dead_letters: Vec<DeadLetter>,
    /// Events, sorted by event number.
    pub events: Vec<Event>,
    pub payments: Vec<Payment>,
    pub refunds: Vec<Refund>,
    /// Disputes and returns of money that are still in force at the provider, newest first.
    pub reversals: Vec<Reversal>,
    /// Waitlist entries, sorted by item and by the entry's number.
    pub waitlist: Vec<WaitlistEntry>,
    /// The problems that the database's own integrity check reported.
    pub damage: Vec<String>,
    /// Hosts of the store's address that could not be inspected. One of them may be the newest
    /// primary.
    pub unknown_hosts: Vec<String>,
    /// Sums and look-up tables. [`Snapshot::build_index`] fills them.
    pub index: SnapshotIndex,
}

/// Values that [`Snapshot::build_index`] derives from the rows, so that the checks need no search.
#[derive(Debug, Default)]
pub(super) struct SnapshotIndex {
    sums: HashMap<i64, ItemTotals>,
    by_id: HashMap<String, usize>,
    /// The index in [`Snapshot::orders`] of the order with this grant and number.
    by_number: HashMap<(i64, i64), usize>,
    histories: HashMap<(i64, i64), Vec<usize>>,
}

/// The units of one item, summed over grants and orders.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ItemTotals {
    /// The unsettled units of open grants.
    pub in_slots: i128,
    /// Units in reserved orders.
    pub held: i128,
    /// Units in paid orders.
    pub paid: i128,
    /// Units in ended orders.
    pub ended: i128,
}

impl ItemTotals {
    /// Returns the units in active orders.
    pub fn active(&self) -> i128 {
        self.held + self.paid
    }
}

#[derive(Debug)]
pub(super) struct Sale {
    pub phase: String,
    pub opened_at: Option<i64>,
    pub closed_at: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Item {
    pub id: i64,
    pub sale: String,
    pub name: String,
    pub limit: i64,
    pub hold_ms: i64,
    pub initial_total: Option<i64>,
    pub total: Option<i64>,
    pub pool: i64,
    pub ended: i64,
    pub paid: i64,
    pub price: i64,
    pub currency: String,
    pub waiting: i64,
}

#[derive(Debug)]
pub(super) struct Grant {
    pub id: i64,
    pub item: i64,
    pub slot: i64,
    pub epoch: i64,
    pub granted: i64,
    pub settled: i64,
    pub counted: bool,
    pub open: bool,
    pub max_n: i64,
    pub resolved: i64,
    pub feed_len: i64,
    pub closed_cause: Option<String>,
    pub opened_at: i64,
    pub closed_at: Option<i64>,
}

/// The slot number of a waitlist's grant. No real slot has this number.
const WAITLIST_SLOT: i64 = 2_147_483_647;

impl Grant {
    /// Returns whether this grant belongs to an item's waitlist. No slot issues tickets from such a
    /// grant, so it is never open.
    pub fn is_waitlist(&self) -> bool {
        self.slot == WAITLIST_SLOT
    }

    /// Returns whether the grant was closed because its slot failed. The report counts each such
    /// grant as a repair.
    pub fn is_repair(&self) -> bool {
        self.closed_cause
            .as_deref()
            .is_some_and(|cause| !matches!(cause, "ended" | "rolled" | "lease_lapsed" | "waitlist"))
    }
}

#[derive(Debug)]
pub(super) struct FeedRow {
    pub grant: i64,
    pub seq: i64,
    pub ticket: Option<String>,
    pub buyer: Option<String>,
    pub units: i64,
    pub quota_delta: i64,
    pub cause: String,
}

#[derive(Debug)]
pub(super) struct Resolution {
    pub ticket: String,
    pub grant: i64,
    pub n: Option<i64>,
    pub verdict: String,
    pub order: Option<String>,
}

#[derive(Debug)]
pub(super) struct Order {
    pub id: String,
    pub buyer: String,
    pub key: String,
    pub item: i64,
    pub units: i64,
    pub state: String,
    pub grant: i64,
    pub n: i64,
    pub reserved_at: i64,
    pub pay_by: i64,
    pub paid_at: Option<i64>,
    pub ended_at: Option<i64>,
}

impl Order {
    /// Returns whether the order is reserved or paid.
    pub fn is_active(&self) -> bool {
        matches!(&*self.state, "reserved" | "paid")
    }

    /// Returns whether the order's buyer was erased. The buyer and the request key are then
    /// unknown.
    pub fn is_erased(&self) -> bool {
        self.buyer.starts_with("erased:")
    }
}

#[derive(Debug)]
pub(super) struct Quota {
    pub buyer: String,
    pub item: i64,
    pub used: i64,
}

#[derive(Debug)]
pub(super) struct Recall {
    pub id: i64,
    pub grant: i64,
    pub target: Option<i64>,
    pub asked: i64,
    pub taken: i64,
    pub done: bool,
}

#[derive(Debug)]
pub(super) struct Adjustment {
    pub item: i64,
    pub units: i64,
    pub total_after: i64,
}

#[derive(Debug)]
pub(super) struct DeadLetter {
    pub ticket: String,
    pub item: i64,
}

#[derive(Debug)]
pub(super) struct Event {
    pub seq: i64,
    /// The event type, for example `order.reserved`.
    pub kind: String,
    /// The grant and number of the event's order, if the event has an order.
    pub order: Option<(i64, i64)>,
    /// The event's sale, if the event is about a sale.
    pub sale: Option<String>,
    pub at: i64,
    pub actor: String,
    pub pay_by: Option<i64>,
    pub paid_at: Option<i64>,
    pub ended_at: Option<i64>,
}

impl Event {
    /// Returns the state of the order after this event, or `None` if the event does not change the
    /// state.
    pub fn state(&self) -> Option<&str> {
        match self.kind.strip_prefix("order.")? {
            "refused" => None,
            "extended" => Some("reserved"),
            state => Some(state),
        }
    }
}

#[derive(Debug)]
pub(super) struct Payment {
    pub id: String,
    pub provider: String,
    /// The order's id, as the payment names it. Perhaps no order with this id exists.
    pub order_text: String,
    /// The grant and number of the payment's order, if the order exists.
    pub order: Option<(i64, i64)>,
    pub amount_minor: i64,
    pub currency: String,
    pub state: String,
}

#[derive(Debug)]
pub(super) struct Refund {
    pub id: String,
    pub payment: String,
    pub provider: String,
    pub order_text: String,
    pub amount_minor: i64,
    pub currency: String,
    pub cause: String,
    pub state: String,
    /// Whether an operator has discarded the failed refund.
    pub is_discarded: bool,
}

/// A dispute, or a return of money to the buyer that the server did not request.
#[derive(Debug)]
pub(super) struct Reversal {
    pub payment: String,
    pub kind: String,
    pub amount_minor: i64,
    pub currency: String,
}

#[derive(Debug)]
pub(super) struct WaitlistEntry {
    pub item: i64,
    pub n: i64,
    pub id: String,
    pub buyer: String,
    pub key: String,
    pub state: String,
    pub ended_at: Option<i64>,
}

impl Snapshot {
    /// Returns whether `grant` is the id of a waitlist's grant.
    pub fn is_waitlist(&self, grant: i64) -> bool {
        self.grants.get(&grant).is_some_and(Grant::is_waitlist)
    }

    /// Fills [`SnapshotIndex`] from the rows. Call this method once, after all rows are read.
    pub fn build_index(&mut self) {
        for grant in self.grants.values().filter(|grant| grant.open) {
            self.index.sums.entry(grant.item).or_default().in_slots +=
                i128::from(grant.granted) - i128::from(grant.settled);
        }
        for (at, order) in self.orders.iter().enumerate() {
            let sums = self.index.sums.entry(order.item).or_default();
            let part = match &*order.state {
                "reserved" => &mut sums.held,
                "paid" => &mut sums.paid,
                _ => &mut sums.ended,
            };
            *part += i128::from(order.units);
            self.index.by_id.insert(order.id.clone(), at);
            self.index.by_number.insert((order.grant, order.n), at);
        }
        for (at, event) in self.events.iter().enumerate() {
            if let Some(order) = event.order {
                self.index.histories.entry(order).or_default().push(at);
            }
        }
    }

    /// Returns the sums of one item.
    pub fn item_totals(&self, item: i64) -> ItemTotals {
        self.index.sums.get(&item).copied().unwrap_or_default()
    }

    /// Returns the order with this id.
    pub fn order(&self, id: &str) -> Option<&Order> {
        self.index.by_id.get(id).map(|&at| &self.orders[at])
    }

    /// Returns the order with the grant and the number in `at`.
    pub fn order_by_number(&self, at: (i64, i64)) -> Option<&Order> {
        self.index.by_number.get(&at).map(|&at| &self.orders[at])
    }

    /// Returns the events of the order with this grant and number, earliest event first.
    pub fn history(&self, at: (i64, i64)) -> impl Iterator<Item = &Event> {
        self.index.histories.get(&at).into_iter().flatten().map(|&at| &self.events[at])
    }

    /// Returns the price of an order in minor units, or `None` if its item is unknown or the price
    /// overflows.
    pub fn price(&self, order: &Order) -> Option<(i64, &str)> {
        let item = self.items.get(&order.item)?;
        Some((item.price.checked_mul(order.units)?, &item.currency))
    }
}
