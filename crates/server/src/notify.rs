//! The hub of events: hints for buyers' browsers about their own orders and about sales. `GET` is
//! the truth.
//!
//! Each subscriber has a bounded queue; one that lets more than [`BACKLOG_BYTES_MAX`] wait is
//! dropped, and nobody else is slowed.
//!
//! The last of what buyers were told of their orders is kept for those who come back and say up to
//! where they had heard.
//!
//! A reader that rests does not wait at its queue: whoever looks after many of them is rung for
//! when something comes.

mod mailbox;
mod mailbox_set;

pub use mailbox::{ReadyQueue, ReadyReaders};

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_core::{BuyerId, ItemId, Millis, Order, TicketId, Units, Verdict};

use mailbox::Mailbox;
use mailbox_set::Followers;

/// What may wait for one slow reader; past it the reader is dropped.
pub const BACKLOG_BYTES_MAX: usize = 1 << 20;
/// What one waiting event is counted as: about its size on the wire.
const EVENT_BYTES: usize = 512;
const BACKLOG_MAX: usize = BACKLOG_BYTES_MAX / EVENT_BYTES;
/// Events of buyers' orders that are kept for those who come back, over the whole node.
const REPLAY_MAX: usize = 4_096;
/// Of these, how many one who comes back gets at most.
const REPLAYED_MAX: usize = 256;
/// So long after the last reader left they are still kept.
const REPLAY_FOR: Duration = Duration::from_secs(60);

/// An event, as the web side renders it.
#[derive(Clone, Debug)]
pub enum EventKind {
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
    /// A place in line ended with its sale.
    WaitlistEnded {
        /// Its id.
        id: TicketId,
        /// Of which item.
        item: ItemId,
        /// Whose.
        buyer: BuyerId,
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
pub struct HubEvent {
    /// Rises with time, over the whole node.
    pub id: u64,
    /// What happened.
    pub kind: EventKind,
}

impl EventKind {
    /// Whose order it tells of.
    fn buyer(&self) -> Option<&BuyerId> {
        match self {
            Self::Order(order) => Some(&order.buyer),
            Self::Refused { buyer, .. } | Self::WaitlistEnded { buyer, .. } => Some(buyer),
            Self::Status(_) | Self::Room(_) | Self::Place { .. } => None,
        }
    }

    /// Whether it is for one buyer and not for a sale's crowd.
    fn is_own(&self) -> bool {
        !matches!(self, Self::Status(_) | Self::Room(_))
    }
}

#[derive(Debug, Default)]
struct HubState {
    buyers: HashMap<BuyerId, Followers>,
    sales: HashMap<Arc<str>, Followers>,
    /// Of buyers' orders, the newest last.
    kept: VecDeque<HubEvent>,
    /// Of the newest event.
    last_id: u64,
}

/// Where events are published and read.
#[derive(Clone, Debug)]
pub struct Hub(Arc<HubInner>);

#[derive(Debug)]
struct HubInner {
    readers: Mutex<HubState>,
    count: AtomicUsize,
    made_at: Instant,
    /// Until when after that, in milliseconds, events are kept though nobody reads.
    kept_until_ms: AtomicU64,
}

impl HubInner {
    fn new(last_id: u64) -> Self {
        let readers = Mutex::new(HubState { last_id, ..HubState::default() });
        Self {
            readers,
            count: AtomicUsize::default(),
            made_at: Instant::now(),
            kept_until_ms: AtomicU64::default(),
        }
    }
}

/// What a reader gets next.
#[derive(Debug)]
pub enum NextEvent {
    /// An event.
    HubEvent(HubEvent),
    /// The reader was too slow and must go.
    Lagged,
}

/// A reader of events; dropped, it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    mailbox: Arc<Mailbox>,
    hub: Hub,
    /// The event behind which it begins.
    since: u64,
    buyer: Option<BuyerId>,
    sales: Box<[Arc<str>]>,
}

impl Hub {
    /// A hub that begins at this time. Ids are microseconds at first, and rise by one with each
    /// event: over restarts, too, and exact in JavaScript.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self(Arc::new(HubInner::new(now.0.unsigned_abs().saturating_mul(1_000))))
    }

    /// A reader of one buyer's orders and of some sales' status. Whoever has heard up to the event
    /// `after` gets first what is kept of the buyer's orders since. `None`: the buyer has `most`
    /// already.
    #[must_use]
    pub fn subscribe(
        &self,
        buyer: Option<BuyerId>,
        sales: Vec<String>,
        most: usize,
        after: Option<u64>,
    ) -> Option<Subscription> {
        let mailbox = Arc::new(Mailbox::default());
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        // One copy of a name serves all of a sale's readers.
        let name = |sale: String| match readers.sales.get_key_value(sale.as_str()) {
            Some((name, _)) => name.clone(),
            None => Arc::from(sale),
        };
        let sales: Box<[Arc<str>]> = sales.into_iter().map(name).collect();
        // Nobody read for a while, so nothing was kept either.
        if !self.may_have_readers() {
            readers.kept.clear();
        }
        let since = after.filter(|after| *after <= readers.last_id).unwrap_or(readers.last_id);
        if let Some(buyer) = &buyer {
            let followers = readers.buyers.entry(buyer.clone()).or_default();
            if followers.len() >= most {
                return None;
            }
            followers.add(&mailbox);
            let from = after.map_or(readers.kept.len(), |after| {
                readers.kept.partition_point(|event| event.id <= after)
            });
            let missed = readers.kept.range(from..).rev();
            let missed: Vec<_> = missed
                .filter(|event| event.kind.buyer() == Some(buyer))
                .take(REPLAYED_MAX)
                .collect();
            missed.into_iter().rev().for_each(|event| mailbox.push(event.clone()));
        }
        for sale in sales.iter() {
            readers.sales.entry(sale.clone()).or_default().add(&mailbox);
        }
        self.0.count.fetch_add(1, Ordering::Release);
        drop(readers);
        Some(Subscription { since, mailbox, hub: self.clone(), buyer, sales })
    }

    /// Tells whoever asked for it.
    pub fn publish(&self, kind: EventKind) {
        if !self.may_have_readers() {
            return;
        }
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let followers = match &kind {
            EventKind::Order(order) => readers.buyers.get(&order.buyer),
            EventKind::Refused { buyer, .. }
            | EventKind::WaitlistEnded { buyer, .. }
            | EventKind::Place { buyer, .. } => readers.buyers.get(buyer),
            EventKind::Status(sale) | EventKind::Room(sale) => readers.sales.get(sale),
        };
        let boxes: Vec<_> = followers.into_iter().flat_map(|followers| followers.all()).collect();
        readers.last_id += 1;
        let event = HubEvent { id: readers.last_id, kind };
        if event.kind.buyer().is_some() {
            if readers.kept.len() >= REPLAY_MAX {
                readers.kept.pop_front();
            }
            readers.kept.push_back(event.clone());
        }
        // Before others publish: what a reader has heard up to is all that there was.
        for mailbox in boxes {
            mailbox.push(event.clone());
        }
    }

    /// Forgets what is kept of a buyer.
    pub fn forget_buyer(&self, buyer: &BuyerId) {
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.kept.retain(|event| event.kind.buyer() != Some(buyer));
    }

    /// Whether anybody reads, or may come back for what is said now.
    #[must_use]
    pub fn may_have_readers(&self) -> bool {
        self.readers() > 0 || {
            let until_ms = self.0.kept_until_ms.load(Ordering::Relaxed);
            until_ms > 0 && self.0.made_at.elapsed() < Duration::from_millis(until_ms)
        }
    }

    /// Whether this buyer reads.
    #[must_use]
    pub fn has_reader(&self, buyer: &BuyerId) -> bool {
        self.readers() > 0
            && self
                .0
                .readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .buyers
                .contains_key(buyer)
    }

    /// Readers now.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }
}

impl Subscription {
    /// The event behind which it begins: whoever comes back without having heard another one goes
    /// on from here.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Whose orders it tells of.
    #[must_use]
    pub fn buyer(&self) -> Option<&BuyerId> {
        self.buyer.as_ref()
    }

    /// The sales that it tells of.
    #[must_use]
    pub fn sales(&self) -> &[Arc<str>] {
        &self.sales
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> NextEvent {
        self.mailbox.next().await
    }

    /// The next event if one waits. `None`: nothing does, and from now on the reader rests: when
    /// something comes, `ready_queue` is rung once with `key`, and once more when that was for a
    /// sale's crowd and something for its buyer alone comes behind it.
    pub fn next_or_park(&mut self, ready_queue: &Arc<ReadyQueue>, key: u64) -> Option<NextEvent> {
        self.mailbox.next_or_park(ready_queue, key)
    }

    /// Ends its rest: nothing is rung for any more.
    pub fn unpark(&mut self) {
        self.mailbox.unpark();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut readers = self.hub.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let until = self.hub.0.made_at.elapsed() + REPLAY_FOR;
        self.hub
            .0
            .kept_until_ms
            .store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.hub.0.count.fetch_sub(1, Ordering::Release);
        if let Some(buyer) = &self.buyer
            && let Some(followers) = readers.buyers.get_mut(buyer)
        {
            followers.remove(&self.mailbox);
            if followers.is_empty() {
                readers.buyers.remove(buyer);
            }
        }
        for sale in self.sales.iter() {
            if let Some(followers) = readers.sales.get_mut(sale) {
                followers.remove(&self.mailbox);
                if followers.is_empty() {
                    readers.sales.remove(sale);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
