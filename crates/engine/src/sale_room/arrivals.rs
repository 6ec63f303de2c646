//! Counts the buyers who arrived at an automatic waiting room since the last count. A buyer arrives
//! by entering the room, requesting a pass, or purchasing with a pass.
//!
//! The counting needs no lock. A secret hash of the buyer selects one of many bits. If the bit was
//! not set, the buyer counts. A few buyers are not counted, because they share a bit with another
//! buyer. For example, if 2,000 buyers arrive at a room that admits 2,000 per second, about fifteen
//! buyers are not counted.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The set `seen` has at least this many bits for each buyer that the room admits per second.
const BITS_PER_ARRIVAL: usize = 64;

/// Returns the number of arrivals at which the counting stops, for a room that admits `per_sec`
/// buyers per second.
pub const fn arrivals_counted_max(per_sec: u64) -> usize {
    4 * per_sec as usize
}

const fn arrivals_bits(per_sec: u64) -> usize {
    (BITS_PER_ARRIVAL * per_sec as usize).next_power_of_two()
}

const WORD_BITS: usize = u64::BITS as usize;

/// The arrivals since the last count.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Allocated at the first arrival: 16 KiB for a room that admits 2,000 buyers per second.
    seen: OnceLock<Box<[AtomicU64]>>,
    count: AtomicUsize,
    secret: RandomState,
}

impl Arrivals {
    /// Records an arrival at a room that admits `per_sec` buyers per second.
    pub fn record_arrival(&self, buyer: &str, per_sec: u64) {
        // With this many arrivals, the room is overcrowded in any case. So the counting stops.
        if self.count.load(Ordering::Relaxed) >= arrivals_counted_max(per_sec) {
            return;
        }
        let seen = self.seen.get_or_init(|| {
            (0..arrivals_bits(per_sec) / WORD_BITS).map(|_| AtomicU64::new(0)).collect()
        });
        let at = self.secret.hash_one(buyer) as usize % (seen.len() * WORD_BITS);
        let (word, bit) = (&seen[at / WORD_BITS], 1 << (at % WORD_BITS));
        let is_new = word.load(Ordering::Relaxed) & bit == 0
            && word.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        if is_new {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of buyers who arrived since the last call.
    pub fn take_count(&self) -> usize {
        self.seen.get().into_iter().flatten().for_each(|word| word.store(0, Ordering::Relaxed));
        self.count.swap(0, Ordering::Relaxed)
    }
}
