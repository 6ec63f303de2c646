//! The inbox: the tickets that readers got from the queues and that no settler has taken yet.
//! Readers wait while the inbox is full. If a ticket is read twice, it is in the inbox only once.
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_core::{SlotKey, Token};
use tokio::sync::Notify;

use super::limits::INBOX_MAX;
use crate::DequeuedTicket;

#[derive(Debug, Default)]
pub(super) struct TicketBuffer {
    queued: Mutex<Tickets>,
    arrived: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Tickets {
    waiting: VecDeque<DequeuedTicket>,
    known: HashSet<(SlotKey, u64, Token)>,
}

fn ticket_key(taken: &DequeuedTicket) -> (SlotKey, u64, Token) {
    (taken.slot, taken.delivery.at, taken.delivery.ticket.token)
}

impl TicketBuffer {
    fn queued(&self) -> MutexGuard<'_, Tickets> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn wait_for_room(&self) {
        loop {
            let room = self.room.notified();
            if self.queued().waiting.len() < INBOX_MAX {
                return;
            }
            room.await;
        }
    }

    pub(super) fn push(&self, tickets: impl IntoIterator<Item = DequeuedTicket>) {
        let mut queued = self.queued();
        for taken in tickets {
            if queued.known.insert(ticket_key(&taken)) {
                queued.waiting.push_back(taken);
            }
        }
        drop(queued);
        self.arrived.notify_one();
    }

    /// Replaces the slot's tickets in the inbox. `tickets` are all unacknowledged tickets of the
    /// slot, in sequence.
    pub(super) fn replace_slot(&self, slot: SlotKey, tickets: Vec<DequeuedTicket>) {
        let mut queued = self.queued();
        queued.waiting.retain(|t| t.slot != slot);
        queued.known.retain(|name| name.0 != slot);
        drop(queued);
        self.push(tickets);
    }

    /// Waits for tickets, and takes up to `at_most` of them. If the caller drops the future, no
    /// ticket is lost.
    pub(super) async fn take(&self, at_most: usize) -> Vec<DequeuedTicket> {
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

    fn take_now(&self, at_most: usize) -> (Vec<DequeuedTicket>, bool) {
        let mut queued = self.queued();
        let until = at_most.min(queued.waiting.len());
        let taken: Vec<DequeuedTicket> = queued.waiting.drain(..until).collect();
        for one in &taken {
            queued.known.remove(&ticket_key(one));
        }
        (taken, !queued.waiting.is_empty())
    }
}
