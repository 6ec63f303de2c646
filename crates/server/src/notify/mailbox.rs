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
    /// Only there while the reader rests.
    rest: Option<Rest>,
}

/// Where what comes is rung for while a reader rests, and by which key.
#[derive(Debug)]
struct Rest {
    bell: Arc<Bell>,
    key: u64,
    rung: Reason,
}

/// Why a reader that rests was rung for, the better reason behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// It was not.
    None,
    /// Something for a sale's crowd.
    Crowd,
    /// Something for its buyer alone.
    Own,
}

impl Rest {
    /// Once for each reason: whoever hears the bell looks at all that waits. Not for the crowd behind its own: it is looked for already, and sooner.
    fn ring(&mut self, reason: Reason) {
        if reason > self.rung {
            self.rung = reason;
            self.bell.ring(self.key, reason == Reason::Own);
        }
    }
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
        let reason = if event.kind.is_own() { Reason::Own } else { Reason::Crowd };
        let mut waiting = self.lock();
        // A status or a place that still waits says nothing that a newer one does not.
        match &event.kind {
            Kind::Status(sale) => {
                waiting.events.retain(|e| !matches!(&e.kind, Kind::Status(s) if s == sale))
            }
            Kind::Room(sale) => {
                waiting.events.retain(|e| !matches!(&e.kind, Kind::Room(s) if s == sale))
            }
            Kind::Order(_) | Kind::Refused { .. } | Kind::LineEnded { .. } | Kind::Place { .. } => {
            }
        }
        if waiting.events.len() >= BACKLOG_MAX {
            waiting.lagged = true;
        } else {
            waiting.events.push_back(event);
        }
        match &mut waiting.rest {
            Some(rest) => rest.ring(reason),
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
            let rest = Rest { bell: bell.clone(), key, rung: Reason::None };
            // With the room that events had.
            *waiting = Waiting { rest: Some(rest), ..Waiting::default() };
        }
        next
    }

    /// See [`super::Subscription::rouse`].
    pub(super) fn rouse(&self) {
        self.lock().rest = None;
    }

    /// The numbers of what waits.
    #[cfg(test)]
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.lock().events.iter().map(|event| event.id).collect()
    }
}

/// Where readers that rest are rung for. It holds two keys at most for each time that a reader went to rest.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<Rung>,
    wake: Notify,
}

/// For whom a bell was rung.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rung {
    /// Whom something of their own waits for.
    pub own: Vec<u64>,
    /// Whom something waits for that a sale's crowd hears.
    pub crowd: Vec<u64>,
}

impl Rung {
    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.crowd.is_empty()
    }
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, key: u64, is_own: bool) {
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

    /// Waits until it was rung, and tells for whom: each key once for each time. Dropping the future loses nothing.
    pub async fn rung(&self) -> Rung {
        loop {
            let rung = std::mem::take(&mut *self.lock());
            if !rung.is_empty() {
                return rung;
            }
            self.wake.notified().await;
        }
    }
}
