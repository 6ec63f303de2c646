//! Requests that wait for their ticket's verdict on this node.
//!
//! An entry exists from before its ticket is cut until its verdict is out, so whoever finds none can ask the store.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use doorbuster_core::settle::Resolved;
use doorbuster_core::slot::Request;
use doorbuster_core::{BuyerId, ItemId, Token, Units};
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
}

impl About {
    /// What this request is about.
    #[must_use]
    pub fn of(item: ItemId, request: &Request) -> Self {
        Self { item, buyer: request.buyer.clone(), units: request.units }
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
    fn with<T>(&self, token: Token, f: impl FnOnce(&mut HashMap<Token, Entry, foldhash::fast::FixedState>) -> T) -> T {
        let shard = &self.shards[token.0 as usize % SHARDS];
        f(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens an entry for a token that was just drawn. Unless it is [kept](Opened::keep), it goes with the second of the two.
    pub fn open(&self, token: Token, about: About) -> (oneshot::Receiver<Resolved>, Opened<'_>) {
        let (tx, rx) = oneshot::channel();
        self.with(token, |map| map.insert(token, Entry { about, first: Some(tx), others: Vec::new() }));
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

    /// Entries open now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An entry whose ticket is not cut yet, and may never be: the request may be refused, or its client hang up.
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
