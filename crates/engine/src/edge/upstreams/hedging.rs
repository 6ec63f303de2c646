//! Decides when the edge also sends a read to a second node, because the first node is slow. The
//! second request is called a repeat.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(1);
/// At most one of this many reads is repeated. If the edge repeated every slow read, slow nodes
/// would get twice as many reads and become even slower.
const READS_PER_REPEAT: u32 = 10;
/// The edge may repeat fewer reads than [`READS_PER_REPEAT`] allows. It then saves the unused
/// repeats for later, but at most this many.
const SAVED_REPEATS_MAX: u32 = 10;

/// How long the edge waits before it repeats a read, and how many repeats are saved. The edge
/// adjusts this delay so that nodes answer 95 % of all reads within the delay.
#[derive(Debug)]
pub(super) struct Hedging {
    delay_micros: AtomicU64,
    /// The saved repeats, counted in reads: each saved repeat counts as [`READS_PER_REPEAT`] reads.
    saved: AtomicU32,
}

impl Default for Hedging {
    fn default() -> Self {
        Self {
            delay_micros: AtomicU64::new(micros(DELAY_MIN)),
            saved: AtomicU32::new(SAVED_REPEATS_MAX * READS_PER_REPEAT),
        }
    }
}

impl Hedging {
    /// Counts a read. Each [`READS_PER_REPEAT`] reads allow the edge one more repeat. Returns how
    /// long the edge must wait before it may repeat this read.
    pub(super) fn begin_read(&self) -> Duration {
        let more = |saved: u32| Some((saved + 1).min(SAVED_REPEATS_MAX * READS_PER_REPEAT));
        // The update cannot fail, because the closure always returns `Some`.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        Duration::from_micros(self.delay_micros.load(Ordering::Relaxed))
    }

    /// Uses up one saved repeat. Returns false if no repeat is saved.
    pub(super) fn take_repeat(&self) -> bool {
        let less = |saved: u32| saved.checked_sub(READS_PER_REPEAT);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// Records how long a node took to answer a read, and adjusts the delay.
    ///
    /// After a read that took longer than the delay, the delay rises by 19 steps. After any other
    /// read, it falls by one step. If 19 of 20 reads are shorter than the delay, the rises and the
    /// falls cancel out, so the delay stays. If two threads adjust the delay at once, one
    /// adjustment may be lost. This does no harm.
    pub(super) fn record(&self, took: Duration) {
        let delay = self.delay_micros.load(Ordering::Relaxed);
        let next = match micros(took) > delay {
            true => delay + delay * 19 / 200,
            false => delay - delay / 200,
        };
        let next = next.clamp(micros(DELAY_MIN), micros(DELAY_MAX));
        self.delay_micros.store(next, Ordering::Relaxed);
    }
}

const fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_ten_reads_may_be_repeated() {
        let hedging = Hedging::default();
        let mut repeated = 0;
        for _ in 0..1_000 {
            hedging.begin_read();
            repeated += u32::from(hedging.take_repeat());
        }
        assert!((100..=100 + SAVED_REPEATS_MAX).contains(&repeated), "{repeated}");
    }

    #[test]
    fn the_delay_follows_the_slowest_twentieth_of_the_answers() {
        let hedging = Hedging::default();
        for _ in 0..1_000 {
            hedging.record(Duration::from_millis(1));
        }
        assert_eq!(
            hedging.begin_read(),
            DELAY_MIN,
            "fast answers must lower the delay to its minimum"
        );
        for n in 0..4_000 {
            hedging.record(Duration::from_millis(if n % 10 == 0 { 300 } else { 100 }));
        }
        let delay = hedging.begin_read();
        assert!((200..400).contains(&delay.as_millis()), "{delay:?}");
        for _ in 0..1_000 {
            hedging.record(Duration::from_secs(60));
        }
        assert_eq!(hedging.begin_read(), DELAY_MAX);
    }
}
