//! A subscription to events: which events it gets, and how its reader waits for them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use doorbuster_core::BuyerId;

use super::event::{NextEvent, ReaderKind};
use super::mailbox::{Mailbox, ReadyQueue};
use super::{Hub, REPLAY_FOR};

/// A subscription to events. It ends when it is dropped.
#[derive(Debug)]
pub struct Subscription {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) hub: Hub,
    /// The number of the last event before the subscription began.
    pub(super) since: u64,
    pub(super) buyer: Option<BuyerId>,
    pub(super) sales: Box<[Arc<str>]>,
    pub(super) reader: ReaderKind,
}

impl Subscription {
    /// Returns the number of the last event before the subscription began. A client that has
    /// received no event sends this number when it reconnects. It then gets all events since the
    /// subscription began.
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

    /// Waits until the subscription has ended, because its queue overflowed or because the hub
    /// ended it. If the future is dropped, no event is lost.
    pub fn lagged(&self) -> impl Future<Output = ()> + Send + use<> {
        let mailbox = self.mailbox.clone();
        async move { mailbox.lagged().await }
    }

    /// Waits for the next event. If the future is dropped, no event is lost.
    pub async fn next(&mut self) -> NextEvent {
        self.mailbox.next().await
    }

    /// Returns the next event. If no event waits, parks the reader and returns `None`. The next
    /// event then adds `key` to `ready_queue`. If that event was for all readers of a sale, a later
    /// event for this reader's buyer adds `key` a second time. The reader is then served sooner.
    pub fn next_or_park(&mut self, ready_queue: &Arc<ReadyQueue>, key: u64) -> Option<NextEvent> {
        self.mailbox.next_or_park(ready_queue, key)
    }

    /// Ends the parking of the reader. From then on, events no longer add the reader's key to the
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
        if let Some(count) = self.hub.0.count_of(self.reader) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(buyer) = &self.buyer {
            readers.followed.remove(buyer.as_str(), Instant::now(), REPLAY_FOR);
            if self.reader == ReaderKind::Stream {
                readers.streaming.remove(buyer.as_str(), Instant::now(), REPLAY_FOR);
            }
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
                followers.of(self.reader).remove(&self.mailbox);
                if followers.is_empty() {
                    readers.sales.remove(sale);
                }
            }
        }
    }
}
