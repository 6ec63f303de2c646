//! Who came to a sale whose room opens by itself since that was last counted: at the line, for a
//! pass, or at the button with a pass that they have already.
//!
//! However often one buyer asks, that is one who came. Nothing is locked: whoever comes sets the
//! bit of a hash that nobody can choose, and counts if it was not set. Two who meet at one bit are
//! one, of 2,000 about fifteen.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::limits::{arrivals_bits, arrivals_counted_max};

const WORD_BITS: usize = u64::BITS as usize;

/// Who came.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Taken when the first comes: 16 KiB where 2,000 may come in a second.
    seen: OnceLock<Box<[AtomicU64]>>,
    came: AtomicUsize,
    secret: RandomState,
}

impl Arrivals {
    /// This buyer came, to a room that so many may come to in a second.
    pub(super) fn record_arrival(&self, buyer: &str, per_sec: u64) {
        // So many are too many by any count.
        if self.came.load(Ordering::Relaxed) >= arrivals_counted_max(per_sec) {
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
            self.came.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many buyers came since this was last asked.
    pub(super) fn take_count(&self) -> usize {
        self.seen.get().into_iter().flatten().for_each(|word| word.store(0, Ordering::Relaxed));
        self.came.swap(0, Ordering::Relaxed)
    }
}
