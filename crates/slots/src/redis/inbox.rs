//! Tickets that were read from their queues and not yet taken by a settler.
//!
//! Bounded: readers wait for room. A ticket that was read twice and not yet taken is there once.
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_core::{SlotKey, Token};
use tokio::sync::Notify;

use super::limits::INBOX_MAX;
use crate::Taken;

/// What was read and not taken.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    line: Mutex<Line>,
    arrived: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Taken>,
    known: HashSet<(SlotKey, u64, Token)>,
}

fn name(taken: &Taken) -> (SlotKey, u64, Token) {
    (taken.slot, taken.delivery.at, taken.delivery.ticket.token)
}

impl Inbox {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until another read fits.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.line().waiting.len() < INBOX_MAX {
                return;
            }
            room.await;
        }
    }

    pub(super) fn put(&self, tickets: impl IntoIterator<Item = Taken>) {
        let mut line = self.line();
        for taken in tickets {
            if line.known.insert(name(&taken)) {
                line.waiting.push_back(taken);
            }
        }
        drop(line);
        self.arrived.notify_one();
    }

    /// Puts all of a slot's open tickets, in their order, in the place of those that wait here.
    pub(super) fn replace(&self, slot: SlotKey, tickets: Vec<Taken>) {
        let mut line = self.line();
        line.waiting.retain(|t| t.slot != slot);
        line.known.retain(|name| name.0 != slot);
        drop(line);
        self.put(tickets);
    }

    /// Waits for tickets. Dropping the future loses nothing.
    pub(super) async fn take(&self, at_most: usize) -> Vec<Taken> {
        loop {
            let arrived = self.arrived.notified();
            let (taken, more) = self.take_now(at_most);
            if more {
                self.arrived.notify_one();
            }
            if !taken.is_empty() {
                self.room.notify_waiters();
                return taken;
            }
            arrived.await;
        }
    }

    fn take_now(&self, at_most: usize) -> (Vec<Taken>, bool) {
        let mut line = self.line();
        let until = at_most.min(line.waiting.len());
        let taken: Vec<Taken> = line.waiting.drain(..until).collect();
        for one in &taken {
            line.known.remove(&name(one));
        }
        (taken, !line.waiting.is_empty())
    }
}
