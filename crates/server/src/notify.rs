//! The hub of events: hints for buyers' browsers about their own orders and about sales. `GET` is the truth.
//!
//! Each subscriber has a bounded queue; one that lets more than [`BACKLOG_BYTES_MAX`] wait is dropped, and nobody else is slowed.
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use doorbuster_core::{BuyerId, ItemId, Order, TicketId, Units, Verdict};
use tokio::sync::Notify;

/// What may wait for one slow reader; past it the reader is dropped.
pub const BACKLOG_BYTES_MAX: usize = 1 << 20;
/// What one waiting event is counted as: about its size on the wire.
const EVENT_BYTES: usize = 512;
const BACKLOG_MAX: usize = BACKLOG_BYTES_MAX / EVENT_BYTES;

/// An event, as the web side renders it.
#[derive(Clone, Debug)]
pub enum Kind {
    /// An order was created or changed.
    Order(Arc<Order>),
    /// A queued request was refused after all.
    Refused {
        /// Its id.
        id: TicketId,
        /// Of which item.
        item: ItemId,
        /// Whose.
        buyer: BuyerId,
        /// How many it asked for.
        units: Units,
        /// Why.
        verdict: Verdict,
    },
    /// A sale's status changed; the newest is in the catalogue.
    Status(Arc<str>),
    /// The line of a sale's waiting room moved.
    Room(Arc<str>),
    /// A buyer's place in a sale's waiting room was called in.
    Place {
        /// Whose room.
        sale: Arc<str>,
        /// Whose place.
        buyer: BuyerId,
    },
}

/// A numbered event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Rises with time, over the whole node.
    pub id: u64,
    /// What happened.
    pub kind: Kind,
}

#[derive(Debug, Default)]
struct Mailbox {
    events: Mutex<VecDeque<Event>>,
    lagged: AtomicUsize,
    wake: Notify,
}

impl Mailbox {
    fn push(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // A status or a place that still waits says nothing that a newer one does not.
        match &event.kind {
            Kind::Status(sale) => events.retain(|e| !matches!(&e.kind, Kind::Status(s) if s == sale)),
            Kind::Room(sale) => events.retain(|e| !matches!(&e.kind, Kind::Room(s) if s == sale)),
            Kind::Order(_) | Kind::Refused { .. } | Kind::Place { .. } => {}
        }
        if events.len() >= BACKLOG_MAX {
            self.lagged.store(1, Ordering::Release);
        } else {
            events.push_back(event);
        }
        drop(events);
        self.wake.notify_one();
    }
}

#[derive(Debug, Default)]
struct Readers {
    buyers: HashMap<BuyerId, Vec<Weak<Mailbox>>>,
    sales: HashMap<Arc<str>, Vec<Weak<Mailbox>>>,
}

/// Where events are published and read.
#[derive(Clone, Debug, Default)]
pub struct Hub(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    readers: Mutex<Readers>,
    next_id: AtomicU64,
    count: AtomicUsize,
}

/// What a reader gets next.
#[derive(Debug)]
pub enum Next {
    /// An event.
    Event(Event),
    /// The reader was too slow and must go.
    Lagged,
}

/// A reader of events; dropped, it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    mailbox: Arc<Mailbox>,
    hub: Hub,
    buyer: Option<BuyerId>,
    sales: Vec<Arc<str>>,
}

impl Hub {
    /// A reader of one buyer's orders and of some sales' status. `None`: the buyer has `most` already.
    #[must_use]
    pub fn subscribe(&self, buyer: Option<BuyerId>, sales: Vec<String>, most: usize) -> Option<Subscription> {
        let mailbox = Arc::new(Mailbox::default());
        let sales: Vec<Arc<str>> = sales.into_iter().map(Arc::from).collect();
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buyer) = &buyer {
            let boxes = readers.buyers.entry(buyer.clone()).or_default();
            if boxes.len() >= most {
                return None;
            }
            boxes.push(Arc::downgrade(&mailbox));
        }
        for sale in &sales {
            readers.sales.entry(sale.clone()).or_default().push(Arc::downgrade(&mailbox));
        }
        drop(readers);
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Some(Subscription { mailbox, hub: self.clone(), buyer, sales })
    }

    /// Tells whoever asked for it.
    pub fn publish(&self, kind: Kind) {
        if self.readers() == 0 {
            return;
        }
        let readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let boxes = match &kind {
            Kind::Order(order) => readers.buyers.get(&order.buyer),
            Kind::Refused { buyer, .. } | Kind::Place { buyer, .. } => readers.buyers.get(buyer),
            Kind::Status(sale) | Kind::Room(sale) => readers.sales.get(sale),
        };
        let boxes: Vec<_> = boxes.into_iter().flatten().filter_map(Weak::upgrade).collect();
        drop(readers);
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        for mailbox in boxes {
            mailbox.push(Event { id, kind: kind.clone() });
        }
    }

    /// Whether this buyer reads.
    #[must_use]
    pub fn reads(&self, buyer: &BuyerId) -> bool {
        self.readers() > 0 && self.0.readers.lock().unwrap_or_else(PoisonError::into_inner).buyers.contains_key(buyer)
    }

    /// Readers now.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }
}

impl Subscription {
    /// Waits for the next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Next {
        loop {
            if self.mailbox.lagged.load(Ordering::Acquire) != 0 {
                return Next::Lagged;
            }
            let event = self.mailbox.events.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(event) = event {
                return Next::Event(event);
            }
            self.mailbox.wake.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.0.count.fetch_sub(1, Ordering::Relaxed);
        let mine = Arc::downgrade(&self.mailbox);
        let mut readers = self.hub.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buyer) = &self.buyer
            && let Some(boxes) = readers.buyers.get_mut(buyer)
        {
            boxes.retain(|b| !b.ptr_eq(&mine));
            if boxes.is_empty() {
                readers.buyers.remove(buyer);
            }
        }
        for sale in &self.sales {
            if let Some(boxes) = readers.sales.get_mut(sale) {
                boxes.retain(|b| !b.ptr_eq(&mine));
                if boxes.is_empty() {
                    readers.sales.remove(sale);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_reader_is_dropped_and_status_is_folded() {
        let hub = Hub::default();
        let mut reader = hub.subscribe(None, vec!["spring".into()], 1).expect("nobody's");
        for _ in 0..BACKLOG_MAX * 2 {
            hub.publish(Kind::Status("spring".into()));
        }
        assert!(matches!(reader.next().await, Next::Event(_)));
        let buyer = BuyerId::new("anna").expect("a buyer");
        let mut slow = hub.subscribe(Some(buyer.clone()), vec![], 1).expect("the first");
        let id = TicketId::parse(&format!("ord_{}", "A".repeat(52))).expect("an id");
        let units = Units::new(1).expect("in range");
        for _ in 0..=BACKLOG_MAX {
            let buyer = buyer.clone();
            hub.publish(Kind::Refused { id, item: ItemId(1), buyer, units, verdict: Verdict::Unavailable });
        }
        assert!(matches!(slow.next().await, Next::Lagged));
        drop((reader, slow));
        assert_eq!(hub.readers(), 0);
    }
}
