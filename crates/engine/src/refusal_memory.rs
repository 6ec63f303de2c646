//! Remembers a bounded number of refusals, so that operators see why a buyer got nothing.
//!
//! Refusals are frequent, so noting a refusal never allocates. A buyer's hash selects a small set
//! of entries, which several buyers share. A full set overwrites its oldest entry and becomes
//! incomplete.
//!
//! All sets together are larger than the processor's caches. So new entries wait in a short list,
//! and then move to their sets together. The processor can read these sets at the same time.
//!
//! All nodes hash buyers in the same way, so they can ask each other about a buyer without the
//! name.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_api::problem::Code;
use doorbuster_core::{IdKey, ItemId, Millis, Token};
use foldhash::fast::FixedState;

/// The number of sets of entries. The whole memory takes 8.5 MB.
const SETS: usize = 65_536;
/// The number of parts of the memory. Each part has a lock.
const PARTS: usize = 16;
/// The number of sets in a part.
const SETS_OF_PART: usize = SETS / PARTS;
/// When this many new entries of a part wait, they move to their sets.
const WAITING_MAX: usize = 64;
/// The number of entries in a set.
const ENTRIES: usize = 8;
/// The kind of an entry for a queued request. No problem code has this number.
const QUEUED: u8 = u8::MAX;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// A part of the buyer's hash. With the number of the set, it has 48 bits. Fewer than one in
    /// 10¹⁴ pairs of buyers have the same 48 bits. Zero marks an empty entry.
    buyer: u32,
    /// The item of a refusal, or a hash of the token of a queued request's ticket.
    subject: u32,
    /// The time in milliseconds, and the kind in the lowest byte.
    at_and_kind: u64,
}

impl Entry {
    fn new(buyer: u64, subject: u32, kind: u8, at: Millis) -> Self {
        let at = at.0.max(0).cast_unsigned();
        Self { buyer: buyer_of(buyer), subject, at_and_kind: at << 8 | u64::from(kind) }
    }

    fn refused(buyer: u64, refusal: NotedRefusal) -> Self {
        // The store numbers items from 1.
        let item = u32::try_from(refusal.item.0).unwrap_or(u32::MAX);
        Self::new(buyer, item, refusal.code as u8, refusal.at)
    }

    fn queued(buyer: u64, ticket: Token, at: Millis) -> Self {
        Self::new(buyer, (ticket.0 ^ ticket.0 >> 32) as u32, QUEUED, at)
    }

    fn kind(self) -> u8 {
        self.at_and_kind.to_le_bytes()[0]
    }

    /// Returns whether the entries differ only in their times.
    fn repeats(self, other: Self) -> bool {
        (self.buyer, self.subject, self.kind()) == (other.buyer, other.subject, other.kind())
    }

    fn refusal(self) -> Option<NotedRefusal> {
        Some(NotedRefusal {
            at: Millis((self.at_and_kind >> 8).cast_signed()),
            item: ItemId(self.subject.into()),
            code: Code::ALL.into_iter().find(|code| *code as u8 == self.kind())?,
        })
    }
}

/// A set fills two cache lines, which some processors read together.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
struct Set {
    entries: [Entry; ENTRIES],
}

impl Set {
    /// Replaces an entry that differs only in its time, or else takes an empty entry. If there is
    /// neither, overwrites the oldest entry and returns true.
    fn put(&mut self, new: Entry) -> bool {
        let equal = self.entries.iter().position(|entry| entry.repeats(new));
        let free = equal.or_else(|| self.entries.iter().position(|entry| entry.buyer == 0));
        let place = free.unwrap_or_else(|| {
            let oldest = (0..ENTRIES).min_by_key(|place| self.entries[*place].at_and_kind);
            oldest.unwrap_or_default()
        });
        self.entries[place] = new;
        free.is_none()
    }
}

/// A part of the sets. The alignment gives each part's lock its own cache lines.
#[derive(Debug)]
#[repr(align(128))]
struct Part {
    /// New entries with the numbers of their sets.
    waiting: Vec<(usize, Entry)>,
    sets: Box<[Set]>,
    /// For each set, whether a different entry has overwritten one of its entries.
    incomplete: Box<[bool]>,
}

impl Part {
    fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(WAITING_MAX),
            sets: vec![Set::default(); SETS_OF_PART].into(),
            incomplete: vec![false; SETS_OF_PART].into(),
        }
    }

    fn add(&mut self, buyer: u64, new: Entry) {
        self.waiting.push((set_of(buyer), new));
        if self.waiting.len() == WAITING_MAX {
            self.move_waiting();
        }
    }

    fn move_waiting(&mut self) {
        // This loop reads the sets before the next loop changes them. No read depends on another
        // read, so the processor does the reads at the same time.
        let mut read = 0;
        for (set, _) in &self.waiting {
            let entries = &self.sets[*set].entries;
            read ^= entries[0].buyer ^ entries[ENTRIES / 2].buyer;
        }
        std::hint::black_box(read);
        for (set, entry) in self.waiting.drain(..) {
            self.incomplete[set] |= self.sets[set].put(entry);
        }
    }
}

/// Returns the part of a buyer's hash that an entry contains. Zero marks an empty entry, so the
/// result is never zero.
fn buyer_of(buyer: u64) -> u32 {
    ((buyer / SETS as u64) as u32).wrapping_add(1).max(1)
}

fn set_of(buyer: u64) -> usize {
    buyer as usize % SETS_OF_PART
}

#[derive(Debug)]
pub(crate) struct RefusalMemory {
    hasher: FixedState,
    parts: Box<[Mutex<Part>]>,
}

/// A remembered refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedRefusal {
    /// When the request was refused.
    pub at: Millis,
    /// The requested item.
    pub item: ItemId,
    /// The problem code of the answer.
    pub code: Code,
}

impl RefusalMemory {
    /// Creates an empty memory for a deployment with this key.
    pub fn new(key: &IdKey) -> Self {
        let parts = std::iter::repeat_with(|| Mutex::new(Part::new())).take(PARTS).collect();
        // The hash depends on the secret key, so nobody can choose buyers whose entries overwrite
        // each other.
        Self { hasher: FixedState::with_seed(key.buyer_hash("refusals")), parts }
    }

    /// Returns a number that differs between nodes that hash buyers differently, such as nodes of
    /// two versions of the program.
    pub(crate) fn hash_check(&self) -> u64 {
        self.hash("refusals")
    }

    /// Returns the hash of a buyer.
    pub fn hash(&self, buyer: &str) -> u64 {
        self.hasher.hash_one(buyer)
    }

    /// Notes a refusal of the buyer with this hash.
    pub fn note(&self, buyer: u64, refusal: NotedRefusal) {
        self.part(buyer).add(buyer, Entry::refused(buyer, refusal));
    }

    /// Notes that a request of this buyer is queued and may be refused later.
    pub fn note_queued(&self, buyer: u64, ticket: Token, at: Millis) {
        self.part(buyer).add(buyer, Entry::queued(buyer, ticket, at));
    }

    /// Removes the note about a queued request whose result is known.
    pub(crate) fn forget_queued(&self, buyer: u64, ticket: Token) {
        let mut part = self.part(buyer);
        part.move_waiting();
        let note = Entry::queued(buyer, ticket, Millis(0));
        let entries = &mut part.sets[set_of(buyer)].entries;
        if let Some(noted) = entries.iter_mut().find(|entry| entry.repeats(note)) {
            *noted = Entry::default();
        }
    }

    /// Returns a buyer's remembered refusals, newest first, and whether the list is complete.
    pub fn of_buyer(&self, buyer: u64) -> (Vec<NotedRefusal>, bool) {
        let mut part = self.part(buyer);
        part.move_waiting();
        let (queued, refused): (Vec<Entry>, Vec<Entry>) = part.sets[set_of(buyer)]
            .entries
            .into_iter()
            .filter(|entry| entry.buyer == buyer_of(buyer))
            .partition(|entry| entry.kind() == QUEUED);
        let is_complete = queued.is_empty() && !part.incomplete[set_of(buyer)];
        drop(part);
        let mut found: Vec<NotedRefusal> = refused.into_iter().filter_map(Entry::refusal).collect();
        found.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        (found, is_complete)
    }

    fn part(&self, buyer: u64) -> MutexGuard<'_, Part> {
        let part = buyer as usize % SETS / SETS_OF_PART;
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
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
        // One set gets twice as many buyers as it has entries, so their notes overwrite each other.
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
