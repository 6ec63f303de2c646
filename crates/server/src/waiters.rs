//! Requests that wait for their ticket's verdict on this node.
//!
//! An entry exists from before its ticket is cut until its verdict is out, so whoever finds none
//! can ask the store. A ticket that was lost with its slot has no verdict until somebody asks for
//! one: once it can no longer be consumed and nobody listens, its entry is
//! [forgotten](Waiters::forget_lost).
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use doorbuster_core::settle::Resolved;
use doorbuster_core::slot::TicketRequest;
use doorbuster_core::{BuyerId, ItemId, Millis, Token, Units};
use tokio::sync::oneshot;

const SHARDS: usize = 64;

/// What a ticket is about, for whoever is told of it without waiting any more.
#[derive(Clone, Debug)]
pub struct About {
    /// Of which item.
    pub item: ItemId,
    /// Whose.
    pub buyer: BuyerId,
    /// How many units.
    pub units: Units,
    /// The verdict's last instant (store time).
    pub decide_by: Millis,
}

impl About {
    /// What this request is about.
    #[must_use]
    pub fn of(item: ItemId, request: &TicketRequest) -> Self {
        Self {
            item,
            buyer: request.buyer.clone(),
            units: request.units,
            decide_by: request.decide_by,
        }
    }
}

/// Whoever wait for one ticket.
#[derive(Debug)]
struct Entry {
    about: About,
    first: Option<oneshot::Sender<Resolved>>,
    others: Vec<oneshot::Sender<Resolved>>,
}

/// What became of telling a verdict.
#[derive(Debug)]
pub enum Told {
    /// Somebody waited.
    Heard,
    /// Nobody waits any more, but somebody did.
    Unheard(About),
    /// Nobody of this node ever waited for it, or it was told before.
    Unknown,
}

impl Entry {
    fn is_heard(&self) -> bool {
        let listens = |listener: &oneshot::Sender<Resolved>| !listener.is_closed();
        self.first.as_ref().is_some_and(listens) || self.others.iter().any(listens)
    }
}

/// Waiting requests by their tickets' tokens.
#[derive(Debug)]
pub struct Waiters {
    shards: Vec<Mutex<HashMap<Token, Entry, foldhash::fast::FixedState>>>,
}

impl Default for Waiters {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Waiters {
    fn with<T>(
        &self,
        token: Token,
        f: impl FnOnce(&mut HashMap<Token, Entry, foldhash::fast::FixedState>) -> T,
    ) -> T {
        let shard = &self.shards[token.0 as usize % SHARDS];
        f(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens an entry for a token that was just drawn. Unless it is [kept](Opened::keep), it goes
    /// with the second of the two.
    pub fn open(&self, token: Token, about: About) -> (oneshot::Receiver<Resolved>, Opened<'_>) {
        let (tx, rx) = oneshot::channel();
        self.with(token, |map| {
            map.insert(token, Entry { about, first: Some(tx), others: Vec::new() })
        });
        (rx, Opened { waiters: self, token: Some(token) })
    }

    /// Waits too, if the verdict is not out yet.
    #[must_use]
    pub fn join(&self, token: Token) -> Option<oneshot::Receiver<Resolved>> {
        self.with(token, |map| {
            let entry = map.get_mut(&token)?;
            let (tx, rx) = oneshot::channel();
            entry.others.retain(|other| !other.is_closed());
            entry.others.push(tx);
            Some(rx)
        })
    }

    /// What the ticket of this token is about, while its verdict is to come.
    #[must_use]
    pub fn about(&self, token: Token) -> Option<About> {
        self.with(token, |map| map.get(&token).map(|entry| entry.about.clone()))
    }

    /// Tells everybody, and says whether anybody listened.
    pub fn tell(&self, token: Token, resolved: Resolved) -> Told {
        let Some(entry) = self.with(token, |map| map.remove(&token)) else { return Told::Unknown };
        let mut heard = false;
        for other in entry.others {
            heard |= other.send(resolved.clone()).is_ok();
        }
        if let Some(first) = entry.first {
            heard |= first.send(resolved).is_ok();
        }
        if heard { Told::Heard } else { Told::Unheard(entry.about) }
    }

    /// Forgets tickets whose verdict was due at this instant (store time) and that nobody listens
    /// for: they were lost with their slot.
    pub fn forget_lost(&self, due: Millis) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, entry| entry.about.decide_by > due || entry.is_heard());
        }
    }

    /// Whether a verdict is still to come: somebody listens for it, or it is not due at this
    /// instant (store time).
    #[must_use]
    pub fn are_open(&self, now: Millis) -> bool {
        let is_open = |entry: &Entry| entry.about.decide_by > now || entry.is_heard();
        let any = |shard: &Mutex<HashMap<Token, Entry, _>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).values().any(is_open)
        };
        self.shards.iter().any(any)
    }
}

/// An entry whose ticket is not cut yet, and may never be: the request may be refused, or its
/// client hang up.
#[must_use]
#[derive(Debug)]
pub struct Opened<'a> {
    waiters: &'a Waiters,
    token: Option<Token>,
}

impl Opened<'_> {
    /// The ticket is cut: the entry stays until its verdict.
    pub fn keep(mut self) {
        self.token = None;
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.waiters.with(token, |map| map.remove(&token));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(decide_by: i64) -> About {
        About {
            item: ItemId(1),
            buyer: BuyerId::new("anna").expect("a buyer"),
            units: Units::new(1).expect("in range"),
            decide_by: Millis(decide_by),
        }
    }

    #[test]
    fn an_entry_goes_with_a_request_that_gives_up_before_its_ticket_is_cut() {
        let waiters = Waiters::default();
        let (listener, entry) = waiters.open(Token(1), about(10));
        drop((listener, entry));
        assert!(waiters.join(Token(1)).is_none());
        let (_listener, entry) = waiters.open(Token(2), about(10));
        entry.keep();
        assert!(waiters.join(Token(2)).is_some());
    }

    #[test]
    fn a_lost_ticket_is_forgotten_when_it_is_due_and_nobody_listens() {
        let waiters = Waiters::default();
        let keep = |token, decide_by| {
            let (listener, entry) = waiters.open(Token(token), about(decide_by));
            entry.keep();
            listener
        };
        let listener = keep(1, 10);
        drop((keep(2, 10), keep(3, 11)));
        let also = waiters.join(Token(2)).expect("it is open");
        waiters.forget_lost(Millis(10));
        assert!(waiters.are_open(Millis(11)), "it is due, and heard");
        assert!(
            [1, 2, 3].iter().all(|&token| waiters.join(Token(token)).is_some()),
            "heard, heard, not due"
        );
        drop((listener, also));
        assert!(waiters.are_open(Millis(10)) && !waiters.are_open(Millis(11)));
        waiters.forget_lost(Millis(10));
        assert!(
            waiters.join(Token(1)).is_none()
                && waiters.join(Token(2)).is_none()
                && waiters.join(Token(3)).is_some()
        );
    }
}
