//! The queue of events that wait for one reader, and the queue with the keys of parked readers that
//! have an event.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::{EventKind, HubEvent, NextEvent, ReaderKind};

/// The maximum number of bytes that may wait for one reader. If more bytes wait, the reader's
/// subscription ends.
pub const BACKLOG_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    pub(super) reader: ReaderKind,
    waiting: Mutex<MailboxState>,
    wake: Notify,
    /// Notified when the subscription ends. This signal is separate from `wake`, because a task may
    /// wait for the end and for events at the same time.
    overflow: Notify,
}

#[derive(Debug, Default)]
struct MailboxState {
    events: VecDeque<HubEvent>,
    /// In bytes.
    bytes: usize,
    /// Whether the subscription has ended: its queue overflowed, or the hub ended it.
    lagged: bool,
    /// Present while the reader is parked.
    rest: Option<Parked>,
}

#[derive(Debug)]
struct Parked {
    ready_queue: Arc<ReadyQueue>,
    key: u64,
    reason: ReadyReason,
}

/// Why a parked reader's key was added to its ready queue. Later variants are more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ReadyReason {
    /// The key was not added.
    None,
    /// An event for all readers of a sale arrived.
    Crowd,
    /// An event for this reader's buyer arrived.
    Own,
}

impl Parked {
    /// Adds the reader's key to the ready queue. Adds nothing if the key was already added for this
    /// reason or a more urgent one: the reader gets all its waiting events when it is served.
    fn notify(&mut self, reason: ReadyReason) {
        if reason > self.reason {
            self.reason = reason;
            self.ready_queue.notify(self.key, reason == ReadyReason::Own);
        }
    }
}

impl MailboxState {
    fn next(&mut self) -> Option<NextEvent> {
        if self.lagged {
            return Some(NextEvent::Lagged);
        }
        let event = self.events.pop_front()?;
        self.bytes -= event.kind.bytes();
        Some(NextEvent::HubEvent(event))
    }

    fn remove(&mut self, is_replaced: impl Fn(&EventKind) -> bool) {
        let Self { events, bytes, .. } = self;
        events.retain(|event| {
            let stays = !is_replaced(&event.kind);
            if !stays {
                *bytes -= event.kind.bytes();
            }
            stays
        });
    }
}

impl Mailbox {
    pub(super) fn new(reader: ReaderKind) -> Self {
        Self { reader, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, MailboxState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event to the queue. If the queue overflows, the subscription ends and its waiting
    /// events are discarded. Returns whether this event caused the overflow.
    pub(super) fn push(&self, event: HubEvent) -> bool {
        let reason = if event.kind.is_own() { ReadyReason::Own } else { ReadyReason::Crowd };
        let mut waiting = self.lock();
        if waiting.lagged {
            return false;
        }
        // Only the newest status of a sale matters, so it replaces a waiting status of the same
        // sale. In the same way, a room's progress replaces a waiting progress of the same room.
        match &*event.kind {
            EventKind::Status(sale) => {
                waiting.remove(|kind| matches!(kind, EventKind::Status(s) if s == sale))
            }
            EventKind::Room(room) => {
                waiting.remove(|kind| matches!(kind, EventKind::Room(other) if other == room))
            }
            EventKind::Order(_)
            | EventKind::Refused { .. }
            | EventKind::WaitlistEnded { .. }
            | EventKind::Position { .. }
            | EventKind::Relayed { .. } => {}
        }
        let bytes = event.kind.bytes();
        if waiting.bytes + bytes > BACKLOG_BYTES_MAX {
            (waiting.lagged, waiting.events, waiting.bytes) = (true, VecDeque::new(), 0);
            self.overflow.notify_one();
        } else {
            waiting.bytes += bytes;
            waiting.events.push_back(event);
        }
        match &mut waiting.rest {
            Some(rest) => rest.notify(reason),
            None => self.wake.notify_one(),
        }
        waiting.lagged
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().lagged
    }

    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        (waiting.lagged, waiting.events, waiting.bytes) = (true, VecDeque::new(), 0);
        self.overflow.notify_one();
        match &mut waiting.rest {
            Some(rest) => rest.notify(ReadyReason::Own),
            None => self.wake.notify_one(),
        }
    }

    /// See [`super::Subscription::lagged`].
    pub(super) async fn lagged(&self) {
        while !self.lock().lagged {
            self.overflow.notified().await;
        }
    }

    /// Waits for the reader's next event. If the future is dropped, no event is lost.
    pub(super) async fn next(&self) -> NextEvent {
        loop {
            let next = self.lock().next();
            if let Some(next) = next {
                return next;
            }
            self.wake.notified().await;
        }
    }

    /// See [`super::Subscription::next_or_park`].
    pub(super) fn next_or_park(
        &self,
        ready_queue: &Arc<ReadyQueue>,
        key: u64,
    ) -> Option<NextEvent> {
        let mut waiting = self.lock();
        let next = waiting.next();
        if next.is_none() {
            let rest = Parked { ready_queue: ready_queue.clone(), key, reason: ReadyReason::None };
            // The reader gets a new state with an empty queue, which frees the memory of the old
            // queue.
            *waiting = MailboxState { rest: Some(rest), ..MailboxState::default() };
        }
        next
    }

    /// See [`super::Subscription::unpark`].
    pub(super) fn unpark(&self) {
        self.lock().rest = None;
    }

    #[cfg(test)]
    pub(super) fn event_ids(&self) -> Vec<u64> {
        self.lock().events.iter().map(|event| event.id).collect()
    }
}

/// The keys of parked readers that have an event. Each time a reader is parked, its key is added at
/// most once to each of the two lists.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    ready: Mutex<ReadyReaders>,
    wake: Notify,
}

/// The keys of readers that have an event, in two lists by the kind of the event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadyReaders {
    /// The keys of readers for which an event waits that is about the reader's own buyer.
    pub own: Vec<u64>,
    /// The keys of readers that have an event for all readers of a sale.
    pub crowd: Vec<u64>,
}

impl ReadyReaders {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.crowd.is_empty()
    }
}

impl ReadyQueue {
    fn lock(&self) -> MutexGuard<'_, ReadyReaders> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, key: u64, is_own: bool) {
        let mut ready = self.lock();
        let is_first = ready.is_empty();
        match is_own {
            true => ready.own.push(key),
            false => ready.crowd.push(key),
        }
        drop(ready);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Waits until the queue has keys, and takes them all. A key that was added twice is returned
    /// twice. If the future is dropped, no key is lost.
    pub async fn wait_ready(&self) -> ReadyReaders {
        loop {
            let ready = std::mem::take(&mut *self.lock());
            if !ready.is_empty() {
                return ready;
            }
            self.wake.notified().await;
        }
    }
}
