//! Remembers a bounded number of refusals, so that operators see why a buyer got nothing.
//!
//! Refusals are frequent, so recording a refusal takes only a few atomic stores, without a lock or
//! an allocation. The hash of a buyer selects a small set of entries, which several buyers share. A
//! new entry overwrites the oldest entry of its set. A reader skips an entry that is being changed.
//!
//! The hash of a buyer is the same on every node of a deployment. So nodes can ask each other about
//! a buyer without the buyer's name.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_core::{IdKey, ItemId, Millis};
use foldhash::fast::FixedState;

use crate::answer_counts::AnswerKind;

/// The number of sets of entries.
const SETS: usize = 8_192;
/// The number of entries in a set.
const ENTRIES: usize = 8;

/// One noted refusal.
#[derive(Debug, Default)]
struct Entry {
    buyer: AtomicU64,
    item: AtomicU64,
    /// The time in milliseconds, and the answer in the lowest byte.
    at_and_answer: AtomicU64,
}

#[derive(Debug, Default)]
struct Set {
    noted: AtomicU64,
    entries: [Entry; ENTRIES],
}

/// The refusals that this node remembers: 8,192 sets of 8 entries.
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
    pub(crate) answer: AnswerKind,
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
        let set = self.set(buyer);
        let turn = set.noted.fetch_add(1, Ordering::Relaxed);
        let entry = &set.entries[turn as usize % ENTRIES];
        entry.buyer.store(0, Ordering::Release);
        entry.item.store(refusal.item.0.cast_unsigned(), Ordering::Relaxed);
        let at = refusal.at.0.max(0).cast_unsigned();
        entry.at_and_answer.store(at << 8 | refusal.answer as u64, Ordering::Relaxed);
        entry.buyer.store(buyer, Ordering::Release);
    }

    /// Returns the remembered refusals of a buyer, newest first. Also returns whether the list is
    /// complete.
    pub(crate) fn of_buyer(&self, buyer: u64) -> (Vec<NotedRefusal>, bool) {
        let set = self.set(buyer);
        let of_buyer = |entry: &&Entry| entry.buyer.load(Ordering::Acquire) == buyer;
        let read = |entry: &Entry| {
            let packed = entry.at_and_answer.load(Ordering::Relaxed);
            Some(NotedRefusal {
                at: Millis((packed >> 8).cast_signed()),
                item: ItemId(entry.item.load(Ordering::Relaxed).cast_signed()),
                answer: *AnswerKind::ALL.get((packed & 0xFF) as usize)?,
            })
        };
        let mut found: Vec<NotedRefusal> =
            set.entries.iter().filter(of_buyer).filter_map(read).collect();
        found.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        let is_complete = set.noted.load(Ordering::Relaxed) <= ENTRIES as u64
            && found.iter().all(|refusal| refusal.answer != AnswerKind::Queued);
        found.retain(|refusal| refusal.answer.is_refusal());
        (found, is_complete)
    }

    fn set(&self, buyer: u64) -> &Set {
        &self.sets[buyer as usize % SETS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(at: i64) -> NotedRefusal {
        NotedRefusal { at: Millis(at), item: ItemId(7), answer: AnswerKind::SoldOut }
    }

    #[test]
    fn a_buyers_newest_refusals_are_remembered() {
        let memory = RefusalMemory::new(&IdKey::new([7; 32]));
        assert_eq!(memory.of_buyer(1), (Vec::new(), true));
        memory.note(1, refusal(5));
        memory.note(1, NotedRefusal { answer: AnswerKind::RateLimited, ..refusal(9) });
        memory.note(2, refusal(6));
        let limited = NotedRefusal { answer: AnswerKind::RateLimited, ..refusal(9) };
        assert_eq!(memory.of_buyer(1), (vec![limited, refusal(5)], true));
        assert_eq!(memory.of_buyer(2), (vec![refusal(6)], true));
    }

    #[test]
    fn a_queued_request_makes_the_memory_incomplete() {
        let memory = RefusalMemory::new(&IdKey::new([7; 32]));
        memory.note(1, refusal(5));
        memory.note(1, NotedRefusal { answer: AnswerKind::Queued, ..refusal(9) });
        assert_eq!(memory.of_buyer(1), (vec![refusal(5)], false));
    }

    #[test]
    fn an_overwritten_refusal_makes_the_memory_incomplete() {
        let memory = RefusalMemory::new(&IdKey::new([7; 32]));
        let neighbour = 1 + SETS as u64;
        memory.note(1, refusal(1));
        (0..ENTRIES as i64 - 1).for_each(|at| memory.note(neighbour, refusal(at)));
        assert_eq!(memory.of_buyer(1), (vec![refusal(1)], true));
        memory.note(neighbour, refusal(99));
        assert_eq!(memory.of_buyer(1), (Vec::new(), false));
        assert_eq!(memory.of_buyer(neighbour).0.len(), ENTRIES);
    }
}
