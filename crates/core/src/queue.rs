//! A slot's queue: tickets in the order in which they were issued. The queue delivers each ticket
//! to a settler, and keeps the ticket until the settler acknowledges it.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::rules::{Rule, enforces};
use crate::ticket::Ticket;
use crate::value::{GrantId, Millis, TicketN, Token};

/// A ticket as a settler receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuedTicket {
    /// The position in the slot's queue. If the slot loses its memory, another ticket can later get
    /// the same position. So an acknowledgement must also name the ticket's token.
    pub at: u64,
    /// The ticket.
    pub ticket: Arc<Ticket>,
}

#[derive(Clone, Debug)]
struct QueueEntry {
    ticket: Arc<Ticket>,
    done: bool,
}

/// A slot's tickets. A ticket is removed when this ticket and all earlier tickets are acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    entries: VecDeque<QueueEntry>,
    /// The position of `entries[0]`.
    first: u64,
    /// How many entries, counted from the front of the queue, were delivered.
    delivered: usize,
    open: usize,
}

impl Queue {
    /// Returns the `decide_by` of the oldest ticket not yet acknowledged.
    pub(crate) fn oldest(&self) -> Option<Millis> {
        self.entries.front().map(|e| e.ticket.decide_by)
    }

    /// Returns the queued ticket with this number under `grant`, which must be the newest grant.
    /// The tickets of the newest grant are at the end of the queue, sorted by number. The search
    /// relies on this order.
    pub(crate) fn find(&self, grant: GrantId, n: TicketN) -> Option<&Ticket> {
        let i = self.entries.partition_point(|e| e.ticket.grant != grant || e.ticket.n < n);
        self.entries.get(i).map(|e| &*e.ticket).filter(|t| t.n == n)
    }

    pub(crate) fn open(&self) -> usize {
        self.open
    }

    pub(crate) fn waiting(&self) -> usize {
        self.entries.len() - self.delivered
    }

    pub(crate) fn push(&mut self, ticket: Arc<Ticket>) {
        self.entries.push_back(QueueEntry { ticket, done: false });
        self.open += 1;
    }

    pub(crate) fn take(&mut self, at_most: usize, out: &mut Vec<QueuedTicket>) {
        let until = out.len() + at_most;
        while out.len() < until
            && let Some(entry) = self.entries.get(self.delivered)
        {
            // In a queue that was restored from an older copy, a ticket can be acknowledged
            // although this queue did not deliver it.
            if !entry.done {
                let at = self.first + self.delivered as u64;
                out.push(QueuedTicket { at, ticket: entry.ticket.clone() });
            }
            self.delivered += 1;
        }
    }

    /// Marks all unacknowledged tickets as not delivered, because their settler stopped.
    pub(crate) fn redeliver(&mut self) {
        self.entries.retain(|e| !e.done);
        self.first += 1 << 32;
        self.delivered = 0;
    }

    pub(crate) fn acknowledge(&mut self, at: u64, token: Token) {
        let Some(i) = at.checked_sub(self.first) else { return };
        let Some(entry) = self.entries.get_mut(i as usize) else { return };
        let same = entry.ticket.token == token || !enforces(Rule::AcknowledgeCompares);
        if !same || entry.done {
            return;
        }
        entry.done = true;
        self.open -= 1;
        while self.entries.front().is_some_and(|e| e.done) {
            self.entries.pop_front();
            self.first += 1;
            self.delivered = self.delivered.saturating_sub(1);
        }
    }
}
