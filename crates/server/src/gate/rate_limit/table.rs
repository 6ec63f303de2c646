//! What is kept of whoever a limit was held to: a table of fixed size, so that no number of buyers
//! or addresses can fill the memory.
//!
//! The table is made of sets of eight cells; a key belongs to one set, found by a keyed hash, so
//! that nobody can choose whose set it is. A key that is not there takes the cell of its set that
//! is full again soonest: nearly always one that is full again, so that nothing is lost. Only when
//! all eight are in use does one that is not lose its state, and then the one that has used the
//! least: whoever is at a limit is the last to be forgotten, and would need as many others at
//! theirs as the table has cells. Such losses are counted. What is counted of an address takes a
//! cell too; one with a crowd behind it ranks as if it were at a limit for some seconds, any other
//! as if it had used nothing.
//!
//! A set is changed under the short lock of its shard, in which nothing waits. A shard's memory is
//! taken when it is first needed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::gate::distinct_buyers::DistinctBuyers;

/// Cells of a set.
const WAYS: usize = 8;
/// Shards, each with a lock of its own.
const SHARDS: usize = 128;
/// Sets of a shard.
const SETS: usize = 1_024;
/// Keys that are kept at most.
const CELLS: usize = SHARDS * SETS * WAYS;
/// Memory that they take up at most, in bytes.
const BYTES_MAX: usize = 32 << 20;

const _: () =
    assert!(SHARDS.is_power_of_two() && SETS.is_power_of_two(), "a key's set is found by its bits");
const _: () = assert!(
    CELLS / WAYS * size_of::<Set>() <= BYTES_MAX,
    "the table is as small as it is said to be"
);

/// What [`LimitCell::unshared`] holds at most; the bit above it says whether the cell is queued.
const UNSHARED_MAX: u64 = QUEUED - 1;
const QUEUED: u64 = 1 << 63;

/// Keys, states, crowds and the rest of eight cells, each kind side by side: a look at the keys
/// touches one line of memory.
type Set = [[u64; WAYS]; 4];

/// What is kept under a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitCell {
    /// State of the limit ([`doorbuster_core::gate::gcra`]), in nanoseconds since the table was
    /// made.
    pub state: u64,
    /// Buyers seen behind an address, in a cell that counts them.
    pub crowd: DistinctBuyers,
    /// What other nodes have not been told of, in nanoseconds of the limit's rate. In a cell that
    /// counts buyers, since when it does, and how many there were before.
    pub unshared: u64,
    /// Whether it waits to be told.
    pub is_queued: bool,
}

impl LimitCell {
    fn unpack(state: u64, crowd: u64, unshared: u64) -> Self {
        Self {
            state,
            crowd: DistinctBuyers(crowd),
            unshared: unshared & UNSHARED_MAX,
            is_queued: unshared & QUEUED != 0,
        }
    }

    fn packed(&self) -> u64 {
        let queued = if self.is_queued { QUEUED } else { 0 };
        queued | self.unshared.min(UNSHARED_MAX)
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct LimitTable {
    shards: Box<[Mutex<Vec<Set>>]>,
    /// Keys that lost a state that was not over.
    lost: AtomicU64,
}

impl Default for LimitTable {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), lost: AtomicU64::new(0) }
    }
}

impl LimitTable {
    /// One step on the cell of `key`, which is made if there is none.
    pub(crate) fn with_cell<T>(
        &self,
        key: u64,
        now: u64,
        step: impl FnOnce(&mut LimitCell) -> T,
    ) -> T {
        let key = key.max(1);
        let mut shard =
            self.shards[key as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.is_empty() {
            *shard = vec![[[0; WAYS]; 4]; SETS];
        }
        let [keys, states, crowds, rests] = &mut shard[(key / SHARDS as u64) as usize % SETS];
        let (at, mut cell) = match keys.iter().position(|&known| known == key) {
            Some(at) => (at, LimitCell::unpack(states[at], crowds[at], rests[at])),
            None => {
                let soonest = (0..WAYS).min_by_key(|&at| states[at]).unwrap_or(0);
                if states[soonest] > now {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                (soonest, LimitCell::default())
            }
        };
        let told = step(&mut cell);
        (keys[at], states[at], crowds[at], rests[at]) =
            (key, cell.state, cell.crowd.0, cell.packed());
        told
    }

    /// One step on the cell of `key`, if there is one.
    pub(crate) fn with_existing<T>(
        &self,
        key: u64,
        step: impl FnOnce(&mut LimitCell) -> T,
    ) -> Option<T> {
        let key = key.max(1);
        let mut shard =
            self.shards[key as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.is_empty() {
            return None;
        }
        let [keys, states, crowds, rests] = &mut shard[(key / SHARDS as u64) as usize % SETS];
        let at = keys.iter().position(|&known| known == key)?;
        let mut cell = LimitCell::unpack(states[at], crowds[at], rests[at]);
        let told = step(&mut cell);
        (states[at], crowds[at], rests[at]) = (cell.state, cell.crowd.0, cell.packed());
        Some(told)
    }

    /// Keys that lost a state that was not over.
    pub(crate) fn evicted(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Memory that it takes up.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let sets = |shard: &Mutex<Vec<Set>>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).capacity()
        };
        self.shards.iter().map(sets).sum::<usize>() * size_of::<Set>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(n: u64) -> u64 {
        let hash = blake3::hash(&n.to_le_bytes());
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"))
    }

    #[test]
    fn a_million_random_keys_take_no_more_memory_than_the_table_has() {
        let table = LimitTable::default();
        assert_eq!(table.bytes(), 0, "what is not used is not there");
        for n in 0..1_000_000 {
            // Each of them is done with before the next comes.
            table.with_cell(random(n), n * 10, |cell| cell.state = n * 10 + 5);
        }
        assert_eq!(table.bytes(), BYTES_MAX);
        assert_eq!(table.evicted(), 0, "keys that are full again make room for nothing lost");
    }

    #[test]
    fn whoever_is_at_a_limit_is_remembered_through_a_crowd_of_random_keys() {
        let table = LimitTable::default();
        let limited: Vec<u64> = (0..500).map(|n| random(1 << 40 | n)).collect();
        for &key in &limited {
            table.with_cell(key, 0, |cell| cell.state = 1_000_000);
        }
        // Twice as many as there are cells, none of which is full again; each has used less than
        // those at a limit.
        for n in 0..2 * CELLS as u64 {
            table.with_cell(random(n), 0, |cell| cell.state = 1_000 + n % 7);
        }
        let kept = limited
            .iter()
            .filter(|&&key| table.with_cell(key, 0, |cell| cell.state) == 1_000_000)
            .count();
        assert_eq!(kept, limited.len());
        assert!(table.evicted() > 0, "losses are counted");
        assert_eq!(table.bytes(), BYTES_MAX);
    }

    #[test]
    fn a_cell_is_kept_as_it_was_left() {
        let table = LimitTable::default();
        let cell = LimitCell {
            state: 7,
            crowd: DistinctBuyers(u64::MAX),
            unshared: UNSHARED_MAX,
            is_queued: true,
        };
        for key in [0, 1, u64::MAX] {
            table.with_cell(key, 0, |kept| *kept = cell);
            assert_eq!(table.with_cell(key, 0, |kept| *kept), cell);
            assert_eq!(table.with_existing(key, |kept| *kept), Some(cell));
        }
        assert_eq!(table.with_existing(99, |kept| *kept), None);
        table.with_cell(5, 0, |kept| kept.unshared = UNSHARED_MAX + 5);
        assert_eq!(
            table.with_cell(5, 0, |kept| *kept),
            LimitCell { unshared: UNSHARED_MAX, ..LimitCell::default() },
            "it stays at its bound"
        );
    }

    #[test]
    fn steps_from_many_threads_are_each_done_once() {
        let table = LimitTable::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..5_000_u64)
                        .for_each(|n| table.with_cell(random(n % 50), 0, |cell| cell.state += 1))
                });
            }
        });
        let all: u64 = (0..50).map(|n| table.with_cell(random(n), 0, |cell| cell.state)).sum();
        assert_eq!(all, 40_000);
    }
}
