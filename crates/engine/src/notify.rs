//! The hub delivers events to its readers: event streams of clients, edges, and the sender of push
//! messages. An event only says that a buyer's order or a sale changed. A client then reads the new
//! state with `GET`.
//!
//! Each reader has a queue of limited size. If more than [`BACKLOG_BYTES_MAX`] bytes wait for a
//! reader, the hub ends the reader's subscription. The hub keeps events about orders for a while.
//! So a buyer who reconnects gets the missed events.
//!
//! A reader without events is parked, so that no task needs to wait for its queue. When an event
//! arrives, the parked reader's key is added to a ready queue. One task waits for this ready queue
//! and serves many readers.

mod event;
mod followed_buyers;
mod mailbox;
mod mailbox_set;
mod subscription;

pub use event::{EventKind, HubEvent, NextEvent, ReaderKind};
pub use mailbox::{BACKLOG_BYTES_MAX, ReadyQueue, ReadyReaders};
pub use subscription::Subscription;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use doorbuster_core::digest::buyer_tag;
use doorbuster_core::{BuyerId, Millis};

use followed_buyers::FollowedBuyers;
use mailbox::Mailbox;
use mailbox_set::{Followers, SaleFollowers};

/// The maximum number of events about orders that are kept for buyers who reconnect.
const REPLAY_MAX: usize = 4_096;
/// The maximum number of kept events that one buyer gets when reconnecting.
const REPLAYED_MAX: usize = 256;
/// How long events are still kept after the last reader has disconnected.
const REPLAY_FOR: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct HubState {
    buyers: HashMap<BuyerId, Followers>,
    followed: FollowedBuyers,
    /// The buyers who have an event stream, or had one recently. Only they can ask for missed
    /// events.
    streaming: FollowedBuyers,
    sales: HashMap<Arc<str>, SaleFollowers>,
    /// The kept events: events about the orders of buyers in `streaming`, oldest first.
    kept: VecDeque<HubEvent>,
    last_id: u64,
}

/// The hub, where events are published and read.
#[derive(Clone, Debug)]
pub struct Hub(Arc<HubInner>);

#[derive(Debug)]
struct HubInner {
    readers: Mutex<HubState>,
    count: AtomicUsize,
    /// The number of subscriptions of edges. These subscriptions get no statuses of sales.
    for_edges: AtomicUsize,
    /// The number of subscriptions for push messages. These subscriptions get no events about
    /// sales.
    for_push: AtomicUsize,
    /// How many subscriptions ended because too many events waited for the reader.
    dropped: AtomicU64,
    made_at: Instant,
    /// Until this time, in milliseconds since `made_at`, events are kept even if there are no
    /// readers.
    kept_until_ms: AtomicU64,
}

impl HubInner {
    fn new(last_id: u64) -> Self {
        let readers = Mutex::new(HubState { last_id, ..HubState::default() });
        Self {
            readers,
            count: AtomicUsize::default(),
            for_edges: AtomicUsize::default(),
            for_push: AtomicUsize::default(),
            dropped: AtomicU64::default(),
            made_at: Instant::now(),
            kept_until_ms: AtomicU64::default(),
        }
    }

    /// `None` if this kind has no counter.
    fn count_of(&self, reader: ReaderKind) -> Option<&AtomicUsize> {
        match reader {
            ReaderKind::Stream => None,
            ReaderKind::Edge => Some(&self.for_edges),
            ReaderKind::Push => Some(&self.for_push),
        }
    }
}

impl Hub {
    /// Creates a hub. The ids of its events start at `now` in microseconds and rise by one. A node
    /// publishes fewer than a million events per second, so the ids of a restarted node are higher
    /// than those before the restart. All ids are so small that JavaScript can represent them
    /// exactly.
    #[must_use]
    pub fn new(now: Millis) -> Self {
        Self(Arc::new(HubInner::new(now.0.unsigned_abs().saturating_mul(1_000))))
    }

    /// Subscribes to events about one buyer's orders and to statuses of some sales. If `after` is
    /// the number of an event, the subscription begins with the kept order events that are newer
    /// than this event. Returns `None` if the buyer already has `most` such subscriptions.
    #[must_use]
    pub fn subscribe(
        &self,
        buyer: Option<BuyerId>,
        sales: Vec<String>,
        most: usize,
        after: Option<u64>,
    ) -> Option<Subscription> {
        self.subscribe_to((buyer, sales), ReaderKind::Stream, most, after)
    }

    /// Subscribes for an edge, to events about one buyer's orders and about the waiting rooms of
    /// some sales.
    #[must_use]
    pub fn subscribe_for_edge(&self, buyer: BuyerId, sales: Vec<String>) -> Subscription {
        let subscribed =
            self.subscribe_to((Some(buyer), sales), ReaderKind::Edge, usize::MAX, None);
        subscribed.expect("the number of subscriptions has no limit")
    }

    /// Subscribes to events about a buyer's orders, for push messages to the buyer's browser.
    #[must_use]
    pub fn subscribe_for_push(&self, buyer: BuyerId) -> Subscription {
        let of_buyer = (Some(buyer), Vec::new());
        let subscribed = self.subscribe_to(of_buyer, ReaderKind::Push, usize::MAX, None);
        subscribed.expect("the number of subscriptions has no limit")
    }

    fn subscribe_to(
        &self,
        (buyer, sales): (Option<BuyerId>, Vec<String>),
        reader: ReaderKind,
        most: usize,
        after: Option<u64>,
    ) -> Option<Subscription> {
        let mailbox = Arc::new(Mailbox::new(reader));
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        // All readers of a sale share one copy of the sale's name.
        let name = |sale: String| match readers.sales.get_key_value(sale.as_str()) {
            Some((name, _)) => name.clone(),
            None => Arc::from(sale),
        };
        let sales: Box<[Arc<str>]> = sales.into_iter().map(name).collect();
        // While the hub had no readers, it kept no new events. So the kept events may have gaps,
        // and the hub drops them for its first new reader.
        if !self.may_have_readers() {
            readers.kept.clear();
        }
        let since = after.filter(|after| *after <= readers.last_id).unwrap_or(readers.last_id);
        if let Some(buyer) = &buyer {
            let followers = readers.buyers.entry(buyer.clone()).or_default();
            let is_stream = |mailbox: &Arc<Mailbox>| mailbox.reader == ReaderKind::Stream;
            if followers.len() >= most && followers.all().filter(is_stream).count() >= most {
                return None;
            }
            followers.add(&mailbox);
            readers.followed.add(buyer.as_str());
            if reader == ReaderKind::Stream {
                readers.streaming.add(buyer.as_str());
            }
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
            readers.sales.entry(sale.clone()).or_default().of(reader).add(&mailbox);
        }
        self.0.count.fetch_add(1, Ordering::Release);
        if let Some(count) = self.0.count_of(reader) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        drop(readers);
        Some(Subscription { since, mailbox, hub: self.clone(), buyer, sales, reader })
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
        // Only a buyer who has an event stream, or had one a moment ago, can ask for missed events.
        let is_streaming = event
            .kind
            .buyer()
            .is_some_and(|buyer| readers.streaming.has(buyer_tag(buyer.as_str()), Instant::now()));
        if is_streaming {
            if readers.kept.len() >= REPLAY_MAX {
                readers.kept.pop_front();
            }
            readers.kept.push_back(event.clone());
        }
        // The readers stay locked during the loop, so each reader gets the events in the sequence
        // of their ids.
        let overflowed = boxes.iter().filter(|mailbox| mailbox.push(event.clone())).count();
        drop(readers);
        self.0.dropped.fetch_add(overflowed as u64, Ordering::Relaxed);
    }

    /// Returns how many subscriptions ended because too many events waited for the reader.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Deletes the kept events about a buyer.
    pub fn forget_buyer(&self, buyer: &BuyerId) {
        let mut readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.kept.retain(|event| event.kind.buyer() != Some(buyer));
    }

    /// Returns whether there are readers, or whether there were readers so recently that one of
    /// them may come back for missed events.
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

    /// Returns whether this node must publish the orders of a buyer with this tag. A tag is a short
    /// hash of the buyer. The result is true if such a buyer has a reader on this node, or had a
    /// reader within the last minute.
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

    /// Returns the number of subscriptions that get events about sales.
    #[must_use]
    pub fn stream_readers(&self) -> usize {
        self.readers().saturating_sub(self.0.for_push.load(Ordering::Relaxed))
    }

    /// Returns the number of subscriptions that get statuses of sales.
    #[must_use]
    pub fn status_readers(&self) -> usize {
        self.stream_readers().saturating_sub(self.0.for_edges.load(Ordering::Relaxed))
    }

    /// Ends subscriptions of buyers, and stops after `most` of them.
    pub fn disconnect_buyers(&self, most: usize) {
        let readers = self.0.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let all = readers.buyers.values().flat_map(Followers::all);
        let boxes: Vec<_> = all.filter(|mailbox| !mailbox.has_ended()).take(most).collect();
        drop(readers);
        boxes.iter().for_each(|mailbox| mailbox.end());
    }
}

#[cfg(test)]
mod tests;
