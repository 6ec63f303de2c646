//! The hub delivers events to browsers. An event is a hint that the buyer's order or a sale
//! changed. The browser reads the new state with `GET`.
//!
//! Each reader has a bounded queue. If more than [`BACKLOG_BYTES_MAX`] bytes wait in the queue, the
//! hub drops the reader. So a slow reader does not slow down other readers.
//!
//! The hub keeps the last events about buyers' orders. A buyer who reconnects names the last
//! received event and gets the later events.
//!
//! No task waits at the queue of an idle reader. Instead, one task serves many idle readers through
//! a ready queue. When an event arrives for an idle reader, the ready queue gets the reader's key.

mod event;
mod followed_buyers;
mod mailbox;
mod mailbox_set;
mod verdict;

pub use event::{EventKind, HubEvent};
pub use mailbox::{ReadyQueue, ReadyReaders};

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_core::{BuyerId, Millis};

use followed_buyers::FollowedBuyers;
use mailbox::Mailbox;
use mailbox_set::{Followers, SaleFollowers};

/// The maximum number of bytes that may wait for one reader. A reader above this bound is dropped.
pub const BACKLOG_BYTES_MAX: usize = 1 << 20;
/// The maximum number of events about buyers' orders that this node keeps for buyers who reconnect.
const REPLAY_MAX: usize = 4_096;
/// The maximum number of kept events that one reconnecting buyer gets.
const REPLAYED_MAX: usize = 256;
/// How long events are kept after the last reader disconnected.
const REPLAY_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct HubState {
    buyers: HashMap<BuyerId, Followers>,
    followed: FollowedBuyers,
    sales: HashMap<Arc<str>, SaleFollowers>,
    /// Events about buyers' orders, oldest first.
    kept: VecDeque<HubEvent>,
    /// The id of the newest event.
    last_id: u64,
}

/// The hub, where events are published and read.
#[derive(Clone, Debug)]
pub struct Hub(Arc<HubInner>);

#[derive(Debug)]
struct HubInner {
    readers: Mutex<HubState>,
    count: AtomicUsize,
    /// The number of subscriptions that get no statuses. Only edges have such subscriptions.
    for_edges: AtomicUsize,
    /// The number of readers that were dropped because too many events waited for them.
    dropped: AtomicU64,
    made_at: Instant,
    /// Until this time, events are kept even without readers. The value is in milliseconds since
    /// `made_at`.
    kept_until_ms: AtomicU64,
}

impl HubInner {
    fn new(last_id: u64) -> Self {
        let readers = Mutex::new(HubState { last_id, ..HubState::default() });
        Self {
            readers,
            count: AtomicUsize::default(),
            for_edges: AtomicUsize::default(),
            dropped: AtomicU64::default(),
            made_at: Instant::now(),
            kept_until_ms: AtomicU64::default(),
        }
    }
}

/// The next result for a reader.
#[derive(Debug)]
pub enum NextEvent {
    /// An event.
    HubEvent(HubEvent),
    /// The subscription has ended, because the reader was too slow or because the hub ended it. The
    /// caller must disconnect the reader.
    Lagged,
}

/// A subscription to events. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    mailbox: Arc<Mailbox>,
    hub: Hub,
    /// The number of the event after which the subscription begins.
    since: u64,
    buyer: Option<BuyerId>,
    sales: Box<[Arc<str>]>,
    events: SaleEvents,
}

/// Which events of its sales a subscription gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaleEvents {
    /// The status and the progress of waiting rooms.
    All,
    /// Only the progress of waiting rooms.
    Rooms,
}

impl Hub {
    /// Creates a hub. The first event id is `now` in microseconds, and each event adds one. So ids
    /// keep rising after a restart. JavaScript can represent these ids exactly.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self(Arc::new(HubInner::new(now.0.unsigned_abs().saturating_mul(1_000))))
    }

    /// Subscribes to one buyer's orders and to the status of some sales. If `after` names an event,
    /// the reader first gets the newer kept events about the buyer's orders. Returns `None` if the
    /// buyer already has `most` subscriptions.
    #[must_use]
    pub fn subscribe(
        &self,
        buyer: Option<BuyerId>,
        sales: Vec<String>,
        most: usize,
        after: Option<u64>,
    ) -> Option<Subscription> {
        self.subscribe_to((buyer, sales), SaleEvents::All, most, after)
    }

    /// Subscribes to one buyer's orders and to the waiting rooms of some sales, for an edge that
    /// has the statuses itself.
    #[must_use]
    pub fn subscribe_for_edge(&self, buyer: BuyerId, sales: Vec<String>) -> Subscription {
        let subscribed =
            self.subscribe_to((Some(buyer), sales), SaleEvents::Rooms, usize::MAX, None);
        subscribed.expect("the number of subscriptions has no limit")
    }

    fn subscribe_to(
        &self,
        (buyer, sales): (Option<BuyerId>, Vec<String>),
        events: SaleEvents,
        most: usize,
        after: Option<u64>,
    ) -> Option<Subscription> {
        let mailbox = Arc::new(Mailbox::default());
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        // All readers of a sale share one copy of its name.
        let name = |sale: String| match readers.sales.get_key_value(sale.as_str()) {
            Some((name, _)) => name.clone(),
            None => Arc::from(sale),
        };
        let sales: Box<[Arc<str>]> = sales.into_iter().map(name).collect();
        // While a hub has no readers, it keeps no new events. So the kept events may have a gap
        // now, and are dropped.
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
            readers.followed.add(buyer.as_str());
            let from = after.map_or(readers.kept.len(), |after| {
                readers.kept.partition_point(|event| event.id <= after)
            });
            let missed = readers.kept.range(from..).rev();
            let missed: Vec<_> = missed
                .filter(|event| event.kind.buyer() == Some(buyer))
                .take(REPLAYED_MAX)
                .collect();
            missed.into_iter().rev().for_each(|event| {
                mailbox.push(event.clone());
            });
        }
        for sale in sales.iter() {
            readers.sales.entry(sale.clone()).or_default().of(events).add(&mailbox);
        }
        self.0.count.fetch_add(1, Ordering::Release);
        if events == SaleEvents::Rooms {
            self.0.for_edges.fetch_add(1, Ordering::Relaxed);
        }
        drop(readers);
        Some(Subscription { since, mailbox, hub: self.clone(), buyer, sales, events })
    }

    /// Publishes an event to its subscribers.
    pub fn publish(&self, kind: EventKind) {
        if !self.may_have_readers() {
            return;
        }
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = |followers: Option<&Followers>| -> Vec<Arc<Mailbox>> {
            followers.into_iter().flat_map(Followers::all).collect()
        };
        let boxes = match &kind {
            EventKind::Order(order) => all(readers.buyers.get(&order.buyer)),
            EventKind::Refused { buyer, .. }
            | EventKind::WaitlistEnded { buyer, .. }
            | EventKind::Position { buyer, .. }
            | EventKind::Relayed { buyer, .. } => all(readers.buyers.get(buyer)),
            EventKind::Status(sale) => all(readers.sales.get(sale).map(|sale| &sale.all)),
            EventKind::Room(room) => {
                let followers = readers.sales.get(&room.sale);
                let of = |kind: fn(&SaleFollowers) -> &Followers| all(followers.map(kind));
                [of(|sale| &sale.all), of(|sale| &sale.rooms)].concat()
            }
        };
        readers.last_id += 1;
        let event = HubEvent { id: readers.last_id, kind: Arc::new(kind) };
        if event.kind.buyer().is_some() {
            if readers.kept.len() >= REPLAY_MAX {
                readers.kept.pop_front();
            }
            readers.kept.push_back(event.clone());
        }
        // The lock is held during the loop. So each reader gets events in the order of their ids,
        // and a reader that has received an event has missed no earlier event.
        let overflowed = boxes.iter().filter(|mailbox| mailbox.push(event.clone())).count();
        drop(readers);
        self.0.dropped.fetch_add(overflowed as u64, Ordering::Relaxed);
    }

    /// Returns how many readers were dropped because too many events waited for them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Deletes the kept events about a buyer.
    pub fn forget_buyer(&self, buyer: &BuyerId) {
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.kept.retain(|event| event.kind.buyer() != Some(buyer));
    }

    /// Returns whether there are readers. A disconnected reader that may return for kept events
    /// also counts.
    #[must_use]
    pub fn may_have_readers(&self) -> bool {
        self.readers() > 0 || {
            let until_ms = self.0.kept_until_ms.load(Ordering::Relaxed);
            until_ms > 0 && self.0.made_at.elapsed() < Duration::from_millis(until_ms)
        }
    }

    /// Returns whether this buyer has a subscription.
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

    /// Returns whether this node publishes orders of buyers with this tag, a short hash of the
    /// buyer. The node publishes them if one of these buyers has a reader on this node, or had one
    /// within the last minute.
    #[must_use]
    pub fn follows(&self, tag: u32) -> bool {
        self.may_have_readers()
            && self
                .0
                .readers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .followed
                .has(tag, Instant::now())
    }

    /// Returns the number of subscriptions.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Returns the number of subscriptions that get statuses.
    #[must_use]
    pub fn status_readers(&self) -> usize {
        self.readers().saturating_sub(self.0.for_edges.load(Ordering::Relaxed))
    }

    /// Ends at most this many subscriptions of buyers.
    pub fn disconnect_buyers(&self, most: usize) {
        let readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = readers.buyers.values().flat_map(Followers::all);
        let boxes: Vec<_> = all.filter(|mailbox| !mailbox.has_ended()).take(most).collect();
        drop(readers);
        boxes.iter().for_each(|mailbox| mailbox.end());
    }
}

impl Subscription {
    /// Returns the number of the last event before the subscription. A reader that gets no event
    /// and reconnects names this number, so that it misses no event.
    #[must_use]
    pub fn since(&self) -> u64 {
        self.since
    }

    /// Returns the buyer of the subscription.
    #[must_use]
    pub fn buyer(&self) -> Option<&BuyerId> {
        self.buyer.as_ref()
    }

    /// Returns the sales of the subscription.
    #[must_use]
    pub fn sales(&self) -> &[Arc<str>] {
        &self.sales
    }

    /// Waits until the reader's queue has overflowed or the hub has ended the subscription.
    /// Dropping the future loses no event.
    pub fn lagged(&self) -> impl Future<Output = ()> + Send + use<> {
        let mailbox = self.mailbox.clone();
        async move { mailbox.lagged().await }
    }

    /// Waits for the next event. Dropping the future loses no event.
    pub async fn next(&mut self) -> NextEvent {
        self.mailbox.next().await
    }

    /// Returns the next event if an event waits. Otherwise parks the reader and returns `None`. The
    /// next event then adds `key` to `ready_queue`. If that event is for all readers of a sale, the
    /// next event for the buyer alone adds `key` once more.
    pub fn next_or_park(&mut self, ready_queue: &Arc<ReadyQueue>, key: u64) -> Option<NextEvent> {
        self.mailbox.next_or_park(ready_queue, key)
    }

    /// Ends the parking of the reader. After this call, events do not add the reader's key to the
    /// ready queue.
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
        if self.events == SaleEvents::Rooms {
            self.hub.0.for_edges.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(buyer) = &self.buyer {
            readers.followed.remove(buyer.as_str(), Instant::now(), REPLAY_FOR);
        }
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
                followers.of(self.events).remove(&self.mailbox);
                if followers.is_empty() {
                    readers.sales.remove(sale);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
