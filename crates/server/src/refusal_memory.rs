//! Remembers a bounded number of refusals, so that operators see why a buyer got nothing.
//!
//! Refusals are frequent, so noting a refusal never waits and never allocates. The hash of a buyer
//! selects a small set of entries, which several buyers share. Each set has a short lock. A refusal
//! that finds its set locked is lost, and the set then says that it is incomplete. A repeated
//! refusal only renews the time of its entry. Every other refusal takes an empty entry, or
//! overwrites the oldest entry of its set.
//!
//! The hash of a buyer is the same on every node of a deployment. So nodes can ask each other about
//! a buyer without the buyer's name.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_api::problem::Code;
use doorbuster_core::{IdKey, ItemId, Millis, Token};
use foldhash::fast::FixedState;

/// The number of sets of entries. The whole memory takes 14 MB.
const SETS: usize = 65_536;
/// The number of entries in a set.
const ENTRIES: usize = 8;
/// The kind of an entry whose request is queued. No problem code has this number.
const QUEUED: u8 = u8::MAX;

/// One noted refusal, or one queued request.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The buyer's hash. Zero marks an empty entry.
    buyer: u64,
    /// The item of a refusal, or the token of a queued request's ticket.
    subject: u64,
    /// The time in milliseconds, and the kind in the lowest byte.
    at_and_kind: u64,
}

impl Entry {
    fn new(buyer: u64, subject: u64, kind: u8, at: Millis) -> Self {
        let at = at.0.max(0).cast_unsigned();
        Self { buyer, subject, at_and_kind: at << 8 | u64::from(kind) }
    }

    fn refused(buyer: u64, refusal: NotedRefusal) -> Self {
        let item = refusal.item.0.cast_unsigned();
        Self::new(buyer, item, refusal.code as u8, refusal.at)
    }

    fn kind(self) -> u8 {
        self.at_and_kind.to_le_bytes()[0]
    }

    /// Returns whether two entries differ only in their times.
    fn repeats(self, other: Self) -> bool {
        (self.buyer, self.subject, self.kind()) == (other.buyer, other.subject, other.kind())
    }

    fn refusal(self) -> Option<NotedRefusal> {
        Some(NotedRefusal {
            at: Millis((self.at_and_kind >> 8).cast_signed()),
            item: ItemId(self.subject.cast_signed()),
            code: Code::ALL.into_iter().find(|code| *code as u8 == self.kind())?,
        })
    }
}

#[derive(Debug, Default)]
struct Set {
    /// Whether a refusal was overwritten or not noted.
    is_incomplete: AtomicBool,
    entries: Mutex<[Entry; ENTRIES]>,
}

impl Set {
    /// Puts an entry in the place of an equal entry, of an empty entry, or of the oldest entry.
    fn put(&self, entries: &mut [Entry; ENTRIES], new: Entry) {
        let equal = entries.iter().position(|entry| entry.repeats(new));
        let free = equal.or_else(|| entries.iter().position(|entry| entry.buyer == 0));
        let place = free.unwrap_or_else(|| {
            self.is_incomplete.store(true, Ordering::Relaxed);
            let oldest = (0..ENTRIES).min_by_key(|place| entries[*place].at_and_kind);
            oldest.unwrap_or_default()
        });
        entries[place] = new;
    }
}

/// The refusals that this node remembers.
#[derive(Debug)]
pub(crate) struct RefusalMemory {
    hasher: FixedState,
    sets: Box<[Set]>,
}

/// A remembered refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotedRefusal {
    pub(crate) at: Millis,
    pub(crate) item: ItemId,
    pub(crate) code: Code,
}

impl RefusalMemory {
    /// Creates an empty memory for a deployment with this key.
    pub(crate) fn new(key: &IdKey) -> Self {
        let sets = std::iter::repeat_with(Set::default).take(SETS).collect();
        // The hash depends on the secret key. So an attacker cannot choose buyers whose entries
        // overwrite each other.
        Self { hasher: FixedState::with_seed(key.buyer_hash("refusals")), sets }
    }

    /// Returns a number that shows whether two nodes hash buyers in the same way. Nodes with
    /// different hashes, such as nodes of two versions of the program, have different numbers.
    pub(crate) fn hash_check(&self) -> u64 {
        self.hash("refusals")
    }

    /// Returns the hash of a buyer.
    pub(crate) fn hash(&self, buyer: &str) -> u64 {
        // Zero marks an empty entry, so no hash is zero.
        self.hasher.hash_one(buyer).max(1)
    }

    /// Notes a refusal of the buyer with this hash.
    pub(crate) fn note(&self, buyer: u64, refusal: NotedRefusal) {
        self.try_put(Entry::refused(buyer, refusal));
    }

    /// Notes that a request of this buyer is queued, so a refusal may follow.
    pub(crate) fn note_queued(&self, buyer: u64, ticket: Token, at: Millis) {
        self.try_put(Entry::new(buyer, ticket.0, QUEUED, at));
    }

    fn try_put(&self, new: Entry) {
        let set = self.set(new.buyer);
        match set.entries.try_lock() {
            Ok(mut entries) => set.put(&mut entries, new),
            Err(_) => set.is_incomplete.store(true, Ordering::Relaxed),
        }
    }

    /// Removes the note about a queued request, because its result is known.
    pub(crate) fn forget_queued(&self, buyer: u64, ticket: Token) {
        let mut entries = self.set(buyer).entries.lock().unwrap_or_else(PoisonError::into_inner);
        let note = Entry::new(buyer, ticket.0, QUEUED, Millis(0));
        if let Some(noted) = entries.iter_mut().find(|entry| entry.repeats(note)) {
            *noted = Entry::default();
        }
    }

    /// Returns the remembered refusals of a buyer, newest first. Also returns whether the list is
    /// complete.
    pub(crate) fn of_buyer(&self, buyer: u64) -> (Vec<NotedRefusal>, bool) {
        let set = self.set(buyer);
        let entries = *set.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (queued, refused): (Vec<Entry>, Vec<Entry>) = entries
            .into_iter()
            .filter(|entry| entry.buyer == buyer)
            .partition(|entry| entry.kind() == QUEUED);
        let mut found: Vec<NotedRefusal> = refused.into_iter().filter_map(Entry::refusal).collect();
        found.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        (found, queued.is_empty() && !set.is_incomplete.load(Ordering::Relaxed))
    }

    fn set(&self, buyer: u64) -> &Set {
        &self.sets[buyer as usize % SETS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(at: i64) -> NotedRefusal {
        NotedRefusal { at: Millis(at), item: ItemId(7), code: Code::SoldOut }
    }

    fn memory() -> RefusalMemory {
        RefusalMemory::new(&IdKey::new([7; 32]))
    }

    #[test]
    fn a_buyers_newest_refusals_are_remembered() {
        let memory = memory();
        assert_eq!(memory.of_buyer(1), (Vec::new(), true));
        memory.note(1, refusal(5));
        let failed = NotedRefusal { code: Code::ChallengeFailed, ..refusal(9) };
        memory.note(1, failed);
        memory.note(2, refusal(6));
        assert_eq!(memory.of_buyer(1), (vec![failed, refusal(5)], true));
        assert_eq!(memory.of_buyer(2), (vec![refusal(6)], true));
    }

    #[test]
    fn a_queued_request_makes_the_memory_incomplete_until_its_result() {
        let memory = memory();
        memory.note(1, refusal(5));
        for ticket in [Token(3), Token(4)] {
            memory.note_queued(1, ticket, Millis(8));
        }
        memory.forget_queued(1, Token(3));
        assert_eq!(memory.of_buyer(1), (vec![refusal(5)], false));
        memory.forget_queued(1, Token(4));
        assert_eq!(memory.of_buyer(1), (vec![refusal(5)], true));
    }

    #[test]
    fn an_overwritten_refusal_makes_the_memory_incomplete() {
        let memory = memory();
        let neighbour = 1 + SETS as u64;
        let of_item = |item| NotedRefusal { item: ItemId(item), ..refusal(item) };
        memory.note(1, refusal(0));
        (1..ENTRIES as i64).for_each(|item| memory.note(neighbour, of_item(item)));
        assert_eq!(memory.of_buyer(1), (vec![refusal(0)], true));
        memory.note(neighbour, of_item(99));
        assert_eq!(memory.of_buyer(1), (Vec::new(), false));
        assert_eq!(memory.of_buyer(neighbour).0.len(), ENTRIES);
    }

    #[test]
    fn a_repeated_refusal_overwrites_no_other_buyer() {
        let memory = memory();
        memory.note(1, refusal(5));
        (0..1_000).for_each(|at| memory.note(1 + SETS as u64, refusal(at)));
        assert_eq!(memory.of_buyer(1), (vec![refusal(5)], true));
        assert_eq!(memory.of_buyer(1 + SETS as u64), (vec![refusal(999)], true));
    }

    #[test]
    fn a_reader_never_sees_a_refusal_of_another_buyer() {
        let memory = memory();
        // More buyers than entries share one set, so each note overwrites an entry.
        let buyer = |n: i64| 1 + n.cast_unsigned() * SETS as u64;
        let of = |n: i64| NotedRefusal { at: Millis(n), item: ItemId(n), code: Code::SoldOut };
        let buyers = 2 * ENTRIES as i64;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    (0..20_000).for_each(|n| memory.note(buyer(n % buyers), of(n % buyers)));
                });
            }
            for n in (0..20_000).map(|n| n % buyers) {
                let (found, _) = memory.of_buyer(buyer(n));
                assert!(found.iter().all(|refusal| *refusal == of(n)), "{n}: {found:?}");
            }
        });
    }
}
