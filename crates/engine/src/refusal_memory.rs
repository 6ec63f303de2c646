//! Remembers a bounded number of refusals, so that operators can see why a buyer got nothing.
//!
//! Refusals are frequent, so the server must store a new refusal without allocating memory. This
//! storage consists of many small sets of entries. A buyer's hash selects one set, which several
//! buyers share. If a set is full, a new entry overwrites the oldest entry, and the set is marked
//! as incomplete.
//!
//! All sets together are larger than the processor's caches, so a random access to a set is slow.
//! For this reason, new entries wait in a short list, and then move to their sets together. The
//! processor can then load many sets at the same time.
//!
//! All nodes hash buyers in the same way. So a node can ask another node about a buyer by the hash,
//! without the buyer's name.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use doorbuster_api::problem::Code;
use doorbuster_core::{IdKey, ItemId, Millis, Token};
use foldhash::fast::FixedState;

/// The number of sets of entries. The whole memory takes 8.5 MB.
const SETS: usize = 65_536;
/// The number of parts into which the sets are divided. Each part has its own lock.
const PARTS: usize = 16;
/// The number of sets in a part.
const SETS_OF_PART: usize = SETS / PARTS;
/// When a part of the memory has this many waiting entries, the node moves them to their sets.
const WAITING_MAX: usize = 64;
/// The number of entries in a set.
const ENTRIES: usize = 8;
/// The kind of an entry for a queued request. The kind of any other entry is the number of its
/// problem code, and no code has the number 255.
const QUEUED: u8 = u8::MAX;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// A part of the buyer's hash. This part and the number of the set are together 48 bits of the
    /// hash. The probability that two buyers have the same 48 bits is less than 1 in 10¹⁴. Zero
    /// marks an empty entry.
    buyer: u32,
    /// For a refusal, the item. For a queued request, a hash of its ticket's token.
    subject: u32,
    /// The kind of the entry is in the lowest byte. The other bytes have the time in milliseconds.
    at_and_kind: u64,
}

impl Entry {
    fn new(buyer: u64, subject: u32, kind: u8, at: Millis) -> Self {
        let at = at.0.max(0).cast_unsigned();
        Self { buyer: buyer_of(buyer), subject, at_and_kind: at << 8 | u64::from(kind) }
    }

    fn refused(buyer: u64, refusal: NotedRefusal) -> Self {
        // The store numbers items from 1, so in practice their numbers fit 32 bits.
        let item = u32::try_from(refusal.item.0).unwrap_or(u32::MAX);
        Self::new(buyer, item, refusal.code as u8, refusal.at)
    }

    fn queued(buyer: u64, ticket: Token, at: Millis) -> Self {
        Self::new(buyer, (ticket.0 ^ ticket.0 >> 32) as u32, QUEUED, at)
    }

    fn kind(self) -> u8 {
        self.at_and_kind.to_le_bytes()[0]
    }

    /// Returns whether the two entries are for the same refusal or queued request, perhaps at
    /// different times.
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

/// A set of entries. It fills two cache lines, which some processors load together.
#[derive(Clone, Debug, Default)]
#[repr(align(128))]
struct Set {
    entries: [Entry; ENTRIES],
}

impl Set {
    /// Stores `new` in the first of these places that exists: an entry that differs from `new` only
    /// in its time, an empty entry, the oldest entry. Returns `true` if the oldest entry is lost.
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
    /// New entries that have not yet moved to their sets, each with the number of its set.
    waiting: Vec<(usize, Entry)>,
    sets: Box<[Set]>,
    /// For each set, whether an entry was lost because another entry overwrote it.
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
        // This loop only loads the sets into the processor's cache, and the next loop changes them.
        // The loads do not depend on each other, so the processor does many of them at the same
        // time.
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

/// Returns the part of a buyer's hash that an entry stores. The result is never zero, because zero
/// marks an empty entry.
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
        // The hash depends on the deployment's secret key. So attackers cannot choose names of
        // buyers whose entries overwrite another buyer's entries.
        Self { hasher: FixedState::with_seed(key.buyer_hash("refusals")), parts }
    }

    /// Returns a number by which nodes detect that they hash buyers differently, for example
    /// because they run different versions of the program. If two nodes return the same number,
    /// they hash buyers in the same way.
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

    /// Removes the note about a queued request. Called when the request's verdict is known.
    pub(crate) fn forget_queued(&self, buyer: u64, ticket: Token) {
        let mut part = self.part(buyer);
        part.move_waiting();
        let note = Entry::queued(buyer, ticket, Millis(0));
        let entries = &mut part.sets[set_of(buyer)].entries;
        if let Some(noted) = entries.iter_mut().find(|entry| entry.repeats(note)) {
            *noted = Entry::default();
        }
    }

    /// Returns the buyer's remembered refusals, newest first. Also returns whether this list is
    /// complete.
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
        // These buyers all use the same set. The set has room for half of the buyers' entries, so
        // the entries overwrite each other.
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
