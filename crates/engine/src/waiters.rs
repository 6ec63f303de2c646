//! The requests of this node that wait for the verdicts of their tickets.
//!
//! Each ticket of this node has an entry. The entry is created before the ticket is issued, and
//! removed when the ticket's verdict is delivered. So if a ticket of this node has no entry, the
//! store has the ticket's verdict. If a slot loses a ticket, no verdict ever arrives, and the
//! ticket's entry is removed [later](VerdictWaiters::forget_overdue).
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{BuyerId, ItemId, Millis, Token, Units};
use tokio::sync::oneshot;

const SHARDS: usize = 64;

/// What a node remembers about a ticket that it issued. If the ticket is refused and no request
/// waits for its verdict, the node needs this information to publish the refusal.
#[derive(Clone, Debug)]
pub struct TicketInfo {
    /// The item.
    pub item: ItemId,
    /// The buyer.
    pub buyer: BuyerId,
    /// The units.
    pub units: Units,
    /// The last time at which the ticket can become an order, by the store's clock.
    pub decide_by: Millis,
}

#[derive(Debug)]
struct WaiterEntry {
    info: TicketInfo,
    first: Option<oneshot::Sender<TicketVerdict>>,
    others: Vec<oneshot::Sender<TicketVerdict>>,
}

/// Who received a verdict.
#[derive(Debug)]
pub enum DeliveryOutcome {
    /// A waiting request received the verdict.
    Received(TicketInfo),
    /// No request received the verdict, because all requests had stopped waiting.
    Abandoned(TicketInfo),
    /// This node has no entry for the ticket. For example, the ticket's verdict was already
    /// delivered.
    Unknown,
}

impl WaiterEntry {
    fn has_listener(&self) -> bool {
        let listens = |listener: &oneshot::Sender<TicketVerdict>| !listener.is_closed();
        self.first.as_ref().is_some_and(listens) || self.others.iter().any(listens)
    }
}

/// The entries of all tickets without a verdict, by the tokens of the tickets.
#[derive(Debug)]
pub struct VerdictWaiters {
    shards: Vec<Mutex<HashMap<Token, WaiterEntry, foldhash::fast::FixedState>>>,
}

impl Default for VerdictWaiters {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl VerdictWaiters {
    fn with_shard<T>(
        &self,
        token: Token,
        f: impl FnOnce(&mut HashMap<Token, WaiterEntry, foldhash::fast::FixedState>) -> T,
    ) -> T {
        let shard = &self.shards[token.0 as usize % SHARDS];
        f(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Creates an entry for a new ticket, before the ticket is issued. If the returned guard is
    /// dropped without a call of [`WaiterGuard::keep`], it removes the entry.
    pub fn register(
        &self,
        token: Token,
        info: TicketInfo,
    ) -> (oneshot::Receiver<TicketVerdict>, WaiterGuard<'_>) {
        let (tx, rx) = oneshot::channel();
        self.with_shard(token, |map| {
            map.insert(token, WaiterEntry { info, first: Some(tx), others: Vec::new() })
        });
        (rx, WaiterGuard { waiters: self, token: Some(token) })
    }

    /// Returns a receiver, through which another request can wait for the verdict of a ticket.
    /// Returns `None` if the ticket has no entry, for example because the verdict was already
    /// delivered.
    #[must_use]
    pub fn join(&self, token: Token) -> Option<oneshot::Receiver<TicketVerdict>> {
        self.with_shard(token, |map| {
            let entry = map.get_mut(&token)?;
            let (tx, rx) = oneshot::channel();
            entry.others.retain(|other| !other.is_closed());
            entry.others.push(tx);
            Some(rx)
        })
    }

    /// Returns what this node remembers about a ticket. Returns `None` if the ticket has no entry.
    #[must_use]
    pub fn info(&self, token: Token) -> Option<TicketInfo> {
        self.with_shard(token, |map| map.get(&token).map(|entry| entry.info.clone()))
    }

    /// Removes the ticket's entry, and delivers the verdict to all requests that wait for it.
    pub fn deliver(&self, token: Token, resolved: TicketVerdict) -> DeliveryOutcome {
        let Some(entry) = self.with_shard(token, |map| map.remove(&token)) else {
            return DeliveryOutcome::Unknown;
        };
        let mut is_received = false;
        for other in entry.others {
            is_received |= other.send(resolved.clone()).is_ok();
        }
        if let Some(first) = entry.first {
            is_received |= first.send(resolved).is_ok();
        }
        match is_received {
            true => DeliveryOutcome::Received(entry.info),
            false => DeliveryOutcome::Abandoned(entry.info),
        }
    }

    /// Removes entries of tickets that a slot has lost. A ticket counts as lost if no request waits
    /// for it and its `decide_by` is not later than `due`. `due` is a time of the store's clock.
    pub fn forget_overdue(&self, due: Millis) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, entry| entry.info.decide_by > due || entry.has_listener());
        }
    }

    /// Returns whether this node must still wait for verdicts. It must wait if a request waits for
    /// a verdict, or if a ticket's `decide_by` is later than the store's time `now`.
    #[must_use]
    pub fn has_pending(&self, now: Millis) -> bool {
        let is_open = |entry: &WaiterEntry| entry.info.decide_by > now || entry.has_listener();
        let any = |shard: &Mutex<HashMap<Token, WaiterEntry, _>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).values().any(is_open)
        };
        self.shards.iter().any(any)
    }
}

/// Guards the entry of a ticket that is not issued yet. The drop of the guard removes the entry,
/// because perhaps no slot will ever issue the ticket. [`WaiterGuard::keep`] prevents the removal.
#[must_use]
#[derive(Debug)]
pub struct WaiterGuard<'a> {
    waiters: &'a VerdictWaiters,
    token: Option<Token>,
}

impl WaiterGuard<'_> {
    /// Keeps the entry until the verdict is delivered. The caller must call this function once the
    /// ticket is issued.
    pub fn keep(mut self) {
        self.token = None;
    }
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.waiters.with_shard(token, |map| map.remove(&token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(decide_by: i64) -> TicketInfo {
        TicketInfo {
            item: ItemId(1),
            buyer: BuyerId::new("anna").expect("a buyer"),
            units: Units::new(1).expect("the number is in range"),
            decide_by: Millis(decide_by),
        }
    }

    #[test]
    fn an_entry_ends_with_a_request_that_stops_before_its_ticket_is_issued() {
        let waiters = VerdictWaiters::default();
        let (listener, entry) = waiters.register(Token(1), info(10));
        drop((listener, entry));
        assert!(waiters.join(Token(1)).is_none());
        let (_listener, entry) = waiters.register(Token(2), info(10));
        entry.keep();
        assert!(waiters.join(Token(2)).is_some());
    }

    #[test]
    fn a_lost_ticket_is_forgotten_after_its_decide_by_if_no_request_waits() {
        let waiters = VerdictWaiters::default();
        let keep = |token, decide_by| {
            let (listener, entry) = waiters.register(Token(token), info(decide_by));
            entry.keep();
            listener
        };
        let listener = keep(1, 10);
        drop((keep(2, 10), keep(3, 11)));
        let also = waiters.join(Token(2)).expect("the entry is open");
        waiters.forget_overdue(Millis(10));
        assert!(
            waiters.has_pending(Millis(11)),
            "a waiting request must count even after its ticket's decide_by"
        );
        assert!(
            [1, 2, 3].iter().all(|&token| waiters.join(Token(token)).is_some()),
            "tickets 1 and 2 have waiting requests, and the decide_by of ticket 3 has not passed, \
             so all must stay"
        );
        drop((listener, also));
        assert!(waiters.has_pending(Millis(10)) && !waiters.has_pending(Millis(11)));
        waiters.forget_overdue(Millis(10));
        assert!(
            waiters.join(Token(1)).is_none()
                && waiters.join(Token(2)).is_none()
                && waiters.join(Token(3)).is_some()
        );
    }
}
