//! The queue of one reader, and the queue that wakes parked readers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::event::{EventKind, HubEvent, NextEvent, ReaderKind};

/// The maximum number of bytes that may wait for one reader. At more bytes, the reader is dropped.
pub const BACKLOG_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Mailbox {
    pub(super) reader: ReaderKind,
    waiting: Mutex<MailboxState>,
    wake: Notify,
    /// Signals an overflow of the queue. This is a signal of its own, because a task may wait for
    /// it and for events at the same time.
    overflow: Notify,
}

#[derive(Debug, Default)]
struct MailboxState {
    events: VecDeque<HubEvent>,
    /// In bytes.
    bytes: usize,
    /// Whether the subscription must end, because the queue overflowed or the hub ended it.
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

/// Why a parked reader was added to its ready queue. A later variant is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ReadyReason {
    /// The reader was not added.
    None,
    /// An event for all readers of a sale arrived.
    Crowd,
    /// An event for the reader's buyer alone arrived.
    Own,
}

impl Parked {
    /// Adds the key at most once for each reason, because a ready reader gets all its waiting
    /// events. After `Own`, the reason `Crowd` adds no key, because the reader is already served
    /// first.
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

    /// Adds an event to the queue, and returns whether this event made the queue overflow. An
    /// overflow discards all waiting events, because the reader is dropped.
    pub(super) fn push(&self, event: HubEvent) -> bool {
        let reason = if event.kind.is_own() { ReadyReason::Own } else { ReadyReason::Crowd };
        let mut waiting = self.lock();
        if waiting.lagged {
            return false;
        }
        // A new status replaces the waiting status of the same sale. A room's new progress replaces
        // that room's waiting progress.
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

    /// Dropping the future loses no event.
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
            // An empty state releases the memory of the queue.
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

/// The keys of parked readers with waiting events. Each time a reader is parked, its key is added
/// at most twice.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    ready: Mutex<ReadyReaders>,
    wake: Notify,
}

/// The keys of ready readers, with one list for each reason.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadyReaders {
    /// The keys of readers with a waiting event for the buyer alone.
    pub own: Vec<u64>,
    /// The keys of readers with a waiting event for all readers of a sale.
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

    /// Waits until there are keys, and returns each key as often as it was added. Dropping the
    /// future loses no key.
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
