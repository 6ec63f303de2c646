//! The states of the limits of buyers and addresses. The table has a fixed size, so that many
//! buyers or addresses cannot fill the memory.
//!
//! Each key belongs to a set of eight cells. A keyed hash selects the set, so a caller cannot
//! choose the set. A limit is in use until it has fully recovered. In its set, a new key takes the
//! cell whose limit recovers first. If all eight limits are in use, the new key evicts the key of
//! the least used limit, and the table counts this eviction. So a caller who has reached a limit is
//! evicted last.
//!
//! The count of the buyers at an address also needs a cell. For some seconds, a large count is kept
//! like a limit that is in use. A small count is evicted like a limit that has recovered.
//!
//! The memory of a shard is allocated when the shard is first used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::gate::shared_limit::NodeShare;

/// The number of cells of a set.
const WAYS: usize = 8;
const SHARDS: usize = 128;
const SETS: usize = 1_024;
/// The maximum number of keys.
const CELLS: usize = SHARDS * SETS * WAYS;
/// The maximum memory that the cells use, in bytes.
const BYTES_MAX: usize = 32 << 20;

const _: () = assert!(
    SHARDS.is_power_of_two() && SETS.is_power_of_two(),
    "SHARDS and SETS must be powers of two, because bits of a key select its set"
);
const _: () =
    assert!(CELLS / WAYS * size_of::<Set>() <= BYTES_MAX, "the table must fit into BYTES_MAX");

/// The maximum of [`LimitCell::unshared`]. In the table, the next higher bit ([`QUEUED`]) says
/// whether the cell is queued.
const UNSHARED_MAX: u64 = QUEUED - 1;
const QUEUED: u64 = 1 << 63;

/// Eight cells: their keys, states, shares and unreported use. All keys are next to each other, so
/// that a search reads only one cache line.
type Set = [[u64; WAYS]; 4];

/// The value of a key in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCell {
    /// The state of the limit ([`doorbuster_core::gate::gcra`]): a time in nanoseconds since the
    /// table was created.
    pub state: u64,
    /// This node's unspent share of the limit, as the time in nanoseconds in which the limit
    /// recovers by this share. If the cell counts the buyers at an address, this is the counter of
    /// the present counting period instead ([`doorbuster_core::gate::distinct_buyers`]).
    pub share: u64,
    /// How much of the limit this node has used but not yet reported to other nodes, in nanoseconds
    /// like `share`. If the cell counts buyers instead, the upper half is the number of the present
    /// counting period, and the lower half is the count of the previous period.
    pub unshared: u64,
    /// Whether the cell waits in the queue of cells to report.
    pub is_queued: bool,
}

impl LimitCell {
    /// Calls `step` with the cell's values as a [`NodeShare`]. Then writes the values back to the
    /// cell.
    pub fn with_share<T>(&mut self, step: impl FnOnce(&mut NodeShare) -> T) -> T {
        let mut node =
            NodeShare { state: self.state, share: self.share, unreported: self.unshared };
        let result = step(&mut node);
        (self.state, self.share, self.unshared) = (node.state, node.share, node.unreported);
        result
    }

    fn unpack(state: u64, share: u64, unshared: u64) -> Self {
        Self { state, share, unshared: unshared & UNSHARED_MAX, is_queued: unshared & QUEUED != 0 }
    }

    fn packed(&self) -> u64 {
        let queued = if self.is_queued { QUEUED } else { 0 };
        queued | self.unshared.min(UNSHARED_MAX)
    }
}

/// A table of fixed size with the state of each key's limit.
#[derive(Debug)]
pub struct LimitTable {
    shards: Box<[Mutex<Vec<Set>>]>,
    lost: AtomicU64,
}

impl Default for LimitTable {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), lost: AtomicU64::new(0) }
    }
}

impl LimitTable {
    /// Calls `step` with the cell of `key`. If the key has no cell, first gives it one.
    pub fn with_cell<T>(&self, key: u64, now: u64, step: impl FnOnce(&mut LimitCell) -> T) -> T {
        let key = key.max(1);
        let mut shard =
            self.shards[key as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.is_empty() {
            *shard = vec![[[0; WAYS]; 4]; SETS];
        }
        let [keys, states, shares, rests] = &mut shard[(key / SHARDS as u64) as usize % SETS];
        let (at, mut cell) = match keys.iter().position(|&known| known == key) {
            Some(at) => (at, LimitCell::unpack(states[at], shares[at], rests[at])),
            None => {
                let soonest = (0..WAYS).min_by_key(|&at| states[at]).unwrap_or(0);
                if states[soonest] > now {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                (soonest, LimitCell::default())
            }
        };
        let result = step(&mut cell);
        (keys[at], states[at], shares[at], rests[at]) =
            (key, cell.state, cell.share, cell.packed());
        result
    }

    /// Calls `step` with the cell of `key`, if the cell exists.
    pub fn with_existing<T>(&self, key: u64, step: impl FnOnce(&mut LimitCell) -> T) -> Option<T> {
        let key = key.max(1);
        let mut shard =
            self.shards[key as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        if shard.is_empty() {
            return None;
        }
        let [keys, states, shares, rests] = &mut shard[(key / SHARDS as u64) as usize % SETS];
        let at = keys.iter().position(|&known| known == key)?;
        let mut cell = LimitCell::unpack(states[at], shares[at], rests[at]);
        let result = step(&mut cell);
        (states[at], shares[at], rests[at]) = (cell.state, cell.share, cell.packed());
        Some(result)
    }

    /// Returns how many keys were evicted although their limits were still in use.
    pub fn evicted(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Returns the memory in use, in bytes.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
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
    fn a_million_random_keys_take_no_more_memory_than_the_bound() {
        let table = LimitTable::default();
        assert_eq!(table.bytes(), 0, "unused shards must take no memory");
        for n in 0..1_000_000 {
            // Each key's limit recovers before the test adds the next key. So the next key may use
            // the cell of the key before.
            table.with_cell(random(n), n * 10, |cell| cell.state = n * 10 + 5);
        }
        assert_eq!(table.bytes(), BYTES_MAX);
        assert_eq!(
            table.evicted(),
            0,
            "a key in use was evicted, although the limits of other keys had recovered"
        );
    }

    #[test]
    fn a_caller_at_a_limit_is_remembered_through_a_crowd_of_random_keys() {
        let table = LimitTable::default();
        let limited: Vec<u64> = (0..500).map(|n| random(1 << 40 | n)).collect();
        for &key in &limited {
            table.with_cell(key, 0, |cell| cell.state = 1_000_000);
        }
        // The test adds twice as many keys as the table has cells. The callers with these keys use
        // their limits, but less than the 500 callers at a limit.
        for n in 0..2 * CELLS as u64 {
            table.with_cell(random(n), 0, |cell| cell.state = 1_000 + n % 7);
        }
        let kept = limited
            .iter()
            .filter(|&&key| table.with_cell(key, 0, |cell| cell.state) == 1_000_000)
            .count();
        assert_eq!(kept, limited.len());
        assert!(table.evicted() > 0, "evictions of keys in use must be counted");
        assert_eq!(table.bytes(), BYTES_MAX);
    }

    #[test]
    fn a_cell_keeps_its_last_state() {
        let table = LimitTable::default();
        let cell = LimitCell { state: 7, share: u64::MAX, unshared: UNSHARED_MAX, is_queued: true };
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
            "`unshared` must stay at its bound"
        );
    }

    #[test]
    fn every_step_of_concurrent_threads_is_applied_once() {
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
