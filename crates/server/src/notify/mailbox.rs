//! What waits for one reader, and how a reader that rests is rung for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{BACKLOG_MAX, Event, Kind, Next};

/// What waits for one reader.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Event>,
    /// More came than may wait.
    lagged: bool,
    /// Where the next event is rung for, and by which key; only there while the reader rests, and then nothing waits.
    bell: Option<(Arc<Bell>, u64)>,
}

impl Waiting {
    fn next(&mut self) -> Option<Next> {
        if self.lagged {
            return Some(Next::Lagged);
        }
        self.events.pop_front().map(Next::Event)
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, event: Event) {
        let mut waiting = self.lock();
        // A status or a place that still waits says nothing that a newer one does not.
        match &event.kind {
            Kind::Status(sale) => waiting.events.retain(|e| !matches!(&e.kind, Kind::Status(s) if s == sale)),
            Kind::Room(sale) => waiting.events.retain(|e| !matches!(&e.kind, Kind::Room(s) if s == sale)),
            Kind::Order(_) | Kind::Refused { .. } | Kind::Place { .. } => {}
        }
        if waiting.events.len() >= BACKLOG_MAX {
            waiting.lagged = true;
        } else {
            waiting.events.push_back(event);
        }
        // Once: whoever hears the bell looks at all that waits.
        let bell = waiting.bell.take();
        drop(waiting);
        match bell {
            Some((bell, key)) => bell.ring(key),
            None => self.wake.notify_one(),
        }
    }

    /// Waits for the next of what waits. Dropping the future loses nothing.
    pub(super) async fn next(&self) -> Next {
        loop {
            let next = self.lock().next();
            if let Some(next) = next {
                return next;
            }
            self.wake.notified().await;
        }
    }

    /// See [`super::Subscription::rest`].
    pub(super) fn rest(&self, bell: &Arc<Bell>, key: u64) -> Option<Next> {
        let mut waiting = self.lock();
        let next = waiting.next();
        if next.is_none() {
            // With the room that events had.
            *waiting = Waiting { bell: Some((bell.clone(), key)), ..Waiting::default() };
        }
        next
    }

    /// See [`super::Subscription::rouse`].
    pub(super) fn rouse(&self) {
        self.lock().bell = None;
    }

    /// The numbers of what waits.
    #[cfg(test)]
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.lock().events.iter().map(|event| event.id).collect()
    }
}

/// Where readers that rest are rung for. It holds one key at most for each time that a reader went to rest.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<Vec<u64>>,
    wake: Notify,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, key: u64) {
        let mut rung = self.lock();
        rung.push(key);
        let is_first = rung.len() == 1;
        drop(rung);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Waits until it was rung, and tells for whom: each key once for each time. Dropping the future loses nothing.
    pub async fn rung(&self) -> Vec<u64> {
        loop {
            let rung = std::mem::take(&mut *self.lock());
            if !rung.is_empty() {
                return rung;
            }
            self.wake.notified().await;
        }
    }
}
