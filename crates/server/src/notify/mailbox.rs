//! What waits for one reader, and how a reader that rests is rung for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{BACKLOG_MAX, EventKind, HubEvent, NextEvent};

/// What waits for one reader.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<MailboxState>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct MailboxState {
    events: VecDeque<HubEvent>,
    /// More came than may wait.
    lagged: bool,
    /// Only there while the reader rests.
    rest: Option<Parked>,
}

/// Where what comes is rung for while a reader rests, and by which key.
#[derive(Debug)]
struct Parked {
    ready_queue: Arc<ReadyQueue>,
    key: u64,
    rung: ReadyReason,
}

/// Why a reader that rests was rung for, the better reason behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ReadyReason {
    /// It was not.
    None,
    /// Something for a sale's crowd.
    Crowd,
    /// Something for its buyer alone.
    Own,
}

impl Parked {
    /// Once for each reason: whoever hears the bell looks at all that waits. Not for the crowd
    /// behind its own: it is looked for already, and sooner.
    fn notify(&mut self, reason: ReadyReason) {
        if reason > self.rung {
            self.rung = reason;
            self.ready_queue.notify(self.key, reason == ReadyReason::Own);
        }
    }
}

impl MailboxState {
    fn next(&mut self) -> Option<NextEvent> {
        if self.lagged {
            return Some(NextEvent::Lagged);
        }
        self.events.pop_front().map(NextEvent::HubEvent)
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, MailboxState> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, event: HubEvent) {
        let reason = if event.kind.is_own() { ReadyReason::Own } else { ReadyReason::Crowd };
        let mut waiting = self.lock();
        // A status or a place that still waits says nothing that a newer one does not.
        match &event.kind {
            EventKind::Status(sale) => {
                waiting.events.retain(|e| !matches!(&e.kind, EventKind::Status(s) if s == sale))
            }
            EventKind::Room(sale) => {
                waiting.events.retain(|e| !matches!(&e.kind, EventKind::Room(s) if s == sale))
            }
            EventKind::Order(_)
            | EventKind::Refused { .. }
            | EventKind::WaitlistEnded { .. }
            | EventKind::Place { .. } => {}
        }
        if waiting.events.len() >= BACKLOG_MAX {
            waiting.lagged = true;
        } else {
            waiting.events.push_back(event);
        }
        match &mut waiting.rest {
            Some(rest) => rest.notify(reason),
            None => self.wake.notify_one(),
        }
    }

    /// Waits for the next of what waits. Dropping the future loses nothing.
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
            let rest = Parked { ready_queue: ready_queue.clone(), key, rung: ReadyReason::None };
            // With the room that events had.
            *waiting = MailboxState { rest: Some(rest), ..MailboxState::default() };
        }
        next
    }

    /// See [`super::Subscription::unpark`].
    pub(super) fn unpark(&self) {
        self.lock().rest = None;
    }

    /// The numbers of what waits.
    #[cfg(test)]
    pub(super) fn event_ids(&self) -> Vec<u64> {
        self.lock().events.iter().map(|event| event.id).collect()
    }
}

/// Where readers that rest are rung for. It holds two keys at most for each time that a reader went
/// to rest.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    rung: Mutex<ReadyReaders>,
    wake: Notify,
}

/// For whom a bell was rung.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadyReaders {
    /// Whom something of their own waits for.
    pub own: Vec<u64>,
    /// Whom something waits for that a sale's crowd hears.
    pub crowd: Vec<u64>,
}

impl ReadyReaders {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.crowd.is_empty()
    }
}

impl ReadyQueue {
    fn lock(&self) -> MutexGuard<'_, ReadyReaders> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, key: u64, is_own: bool) {
        let mut rung = self.lock();
        let is_first = rung.is_empty();
        match is_own {
            true => rung.own.push(key),
            false => rung.crowd.push(key),
        }
        drop(rung);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Waits until it was rung, and tells for whom: each key once for each time. Dropping the
    /// future loses nothing.
    pub async fn wait_ready(&self) -> ReadyReaders {
        loop {
            let rung = std::mem::take(&mut *self.lock());
            if !rung.is_empty() {
                return rung;
            }
            self.wake.notified().await;
        }
    }
}
