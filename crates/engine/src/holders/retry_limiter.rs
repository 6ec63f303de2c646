//! Limits the reads of the store for repeated requests. If a repeated request holds an order, the
//! server must not refuse the request, but must read and return the order. Clients can cause many
//! such reads, so their number must be limited. Each buyer has only one read at a time. If a client
//! repeats a request many times during a read, one further read serves all these repeats.
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_core::{Order, RequestHash};
use doorbuster_store::StoreError;
use hashbrown::HashMap;
use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// The maximum number of buyers with an entry. If a new buyer needs an entry, idle entries are
/// removed. If no entry is idle, the new buyer is asked to retry.
const BUYERS_MAX: usize = 16_384;
/// After a search that found no idle entry, the limiter does not search again for this long. A
/// search is slow because it reads all entries, and all buyers wait for its end.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);
/// The maximum number of concurrent reads for all buyers together. Other work uses the store's
/// other sessions.
const READS_MAX: usize = 3;
/// How many reads one buyer may cause in quick succession. After these reads, [`READ_INTERVAL`]
/// applies.
const READ_BURST: u32 = 200;
/// A buyer gets one more read each time this interval has passed.
const READ_INTERVAL: Duration = Duration::from_millis(10);
/// The longest time that a request waits for its read. After that, the server asks the client to
/// retry.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Limits a node's reads of the store for repeated requests.
#[derive(Debug)]
pub struct RetryLimiter {
    buyers: Mutex<Buyers>,
    reads: Semaphore,
    pace: ReadPace,
}

#[derive(Debug, Default)]
struct Buyers {
    entries: HashMap<u64, Arc<BuyerReads>, foldhash::fast::FixedState>,
    /// The limiter searches for idle entries only after this time. `None` if it may search at any
    /// time.
    search_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct ReadPace {
    burst: u32,
    every: Duration,
    turn_wait: Duration,
}

#[derive(Debug, Default)]
struct BuyerReads {
    requested: AtomicU64,
    turn: tokio::sync::Mutex<ReadTurn>,
}

#[derive(Debug, Default)]
struct ReadTurn {
    /// When the buyer will again have the full [`READ_BURST`].
    idle_at: Option<Instant>,
    /// The last read: how many of the buyer's requests had arrived when the read began, the request
    /// that was looked up, and its order, if any.
    last: Option<(u64, RequestHash, Option<Order>)>,
}

impl Default for RetryLimiter {
    fn default() -> Self {
        let pace = ReadPace { burst: READ_BURST, every: READ_INTERVAL, turn_wait: TURN_WAIT_MAX };
        Self { buyers: Mutex::default(), reads: Semaphore::new(READS_MAX), pace }
    }
}

impl RetryLimiter {
    /// Returns a limiter that allows each buyer one read at a time, and has no limit for all buyers
    /// together.
    pub(super) fn for_buyers_alone() -> Self {
        Self { reads: Semaphore::new(Semaphore::MAX_PERMITS), ..Self::default() }
    }
}

/// Why a read had no result.
#[derive(Debug)]
pub enum ReadError {
    /// Too many requests are waiting.
    Busy,
    /// The store failed.
    Store(StoreError),
}

impl RetryLimiter {
    /// Returns the order of this buyer's request, or `None` if the request holds no order. The
    /// result comes from a read that began after this call. Other calls for the same request may
    /// share this read.
    pub async fn read_order(
        &self,
        buyer: u64,
        request: RequestHash,
        read: impl Future<Output = Result<Option<Order>, StoreError>>,
    ) -> Result<Option<Order>, ReadError> {
        let buyer_reads = self.buyer_reads(buyer).ok_or(ReadError::Busy)?;
        let mine = buyer_reads.requested.fetch_add(1, Ordering::AcqRel) + 1;
        let until = Instant::now() + self.pace.turn_wait;
        let mut turn =
            timeout_at(until, buyer_reads.turn.lock()).await.map_err(|_| ReadError::Busy)?;
        if let Some((requested, of, order)) = &turn.last
            && (*requested >= mine && *of == request)
        {
            return Ok(order.clone());
        }
        let _reading = self.begin_read(&mut turn, until).await.ok_or(ReadError::Busy)?;
        // Repeats of this request that have arrived by now can use the result of this read.
        let requested = buyer_reads.requested.load(Ordering::Acquire);
        let order = read.await.map_err(ReadError::Store)?;
        turn.last = Some((requested, request, order.clone()));
        Ok(order)
    }

    /// Runs `read` when it is this buyer's turn. Returns `None` if too many requests are waiting.
    pub async fn read<T>(&self, buyer: u64, read: impl Future<Output = T>) -> Option<T> {
        let buyer_reads = self.buyer_reads(buyer)?;
        let until = Instant::now() + self.pace.turn_wait;
        let mut turn = timeout_at(until, buyer_reads.turn.lock()).await.ok()?;
        let _reading = self.begin_read(&mut turn, until).await?;
        Some(read.await)
    }

    /// Waits until the buyer may read. Returns `None` if the wait would end after `until`.
    async fn begin_read(
        &self,
        turn: &mut MutexGuard<'_, ReadTurn>,
        until: Instant,
    ) -> Option<SemaphorePermit<'_>> {
        let now = Instant::now();
        let idle_at = turn.idle_at.map_or(now, |at| at.max(now)) + self.pace.every;
        let ahead = idle_at - now;
        let from = now + ahead.saturating_sub(self.pace.every * self.pace.burst);
        if from > until {
            return None;
        }
        tokio::time::sleep_until(from).await;
        let place = timeout_at(until, self.reads.acquire()).await.ok()?.ok()?;
        turn.idle_at = Some(idle_at);
        Some(place)
    }

    fn buyer_reads(&self, buyer: u64) -> Option<Arc<BuyerReads>> {
        let mut buyers = self.buyers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buyer_reads) = buyers.entries.get(&buyer) {
            return Some(buyer_reads.clone());
        }
        if buyers.entries.len() >= BUYERS_MAX && !buyers.remove_idle(Instant::now()) {
            return None;
        }
        Some(buyers.entries.entry(buyer).or_default().clone())
    }
}

impl Buyers {
    /// Removes all idle entries. Returns whether there were any.
    fn remove_idle(&mut self, now: Instant) -> bool {
        if self.search_at.is_some_and(|at| now < at) {
            return false;
        }
        let before = self.entries.len();
        self.entries.retain(|_, buyer_reads| {
            let rests = |turn: &ReadTurn| turn.idle_at.is_none_or(|at| at <= now);
            Arc::strong_count(buyer_reads) > 1
                || !buyer_reads.turn.try_lock().is_ok_and(|turn| rests(&turn))
        });
        let is_any_removed = self.entries.len() < before;
        self.search_at = (!is_any_removed).then(|| now + SEARCH_PAUSE);
        is_any_removed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use doorbuster_core::IdKey;
    use tokio::task::JoinSet;

    use super::*;

    struct Fixture {
        limiter: RetryLimiter,
        /// Three numbers: all reads until now, the reads that run now, and the highest number of
        /// reads that ran at the same time.
        reads: [AtomicUsize; 3],
    }

    impl Fixture {
        fn new() -> Arc<Self> {
            Arc::new(Self { limiter: RetryLimiter::default(), reads: Default::default() })
        }

        async fn reading(&self) -> Result<Option<Order>, StoreError> {
            self.reads[0].fetch_add(1, Ordering::SeqCst);
            let now = self.reads[1].fetch_add(1, Ordering::SeqCst) + 1;
            self.reads[2].fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.reads[1].fetch_sub(1, Ordering::SeqCst);
            Ok(None)
        }

        async fn ask(self: Arc<Self>, buyer: u64, key: u32) -> bool {
            let request = IdKey::new([1; 32]).request_hash(&buyer.to_string(), &key.to_string());
            self.limiter.read_order(buyer, request, self.reading()).await.is_ok()
        }

        fn count(&self) -> usize {
            self.reads[0].load(Ordering::SeqCst)
        }

        fn most_at_once(&self) -> usize {
            self.reads[2].load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn a_thousand_repeats_of_one_request_share_two_reads() {
        let fixture = Fixture::new();
        let mut crowd = JoinSet::new();
        (0..1_000).for_each(|_| drop(crowd.spawn(fixture.clone().ask(1, 1))));
        assert!(crowd.join_all().await.into_iter().all(|is_ok| is_ok));
        // The first request causes a read. All other requests arrive during this read, and share a
        // second read.
        assert!(fixture.count() <= 2, "{}", fixture.count());
        let before = fixture.count();
        assert!(fixture.clone().ask(1, 1).await);
        assert_eq!(
            fixture.count(),
            before + 1,
            "a request that arrives after the end of all reads must cause a new read"
        );
    }

    #[tokio::test]
    async fn a_few_buyers_are_served_at_once_with_one_read_each() {
        let (fixture, alone) = (Fixture::new(), Fixture::new());
        let mut crowd = JoinSet::new();
        for n in 0..100 {
            crowd.spawn(fixture.clone().ask(u64::from(n % 20), n));
            crowd.spawn(alone.clone().ask(1, n));
        }
        assert!(crowd.join_all().await.into_iter().all(|is_ok| is_ok));
        assert_eq!((fixture.most_at_once(), alone.most_at_once()), (READS_MAX, 1));
    }

    #[tokio::test]
    async fn a_buyer_who_asks_too_often_is_slowed_down_and_then_asked_to_retry() {
        let pace = ReadPace {
            burst: 5,
            every: Duration::from_secs(3_600),
            turn_wait: Duration::from_secs(7_200),
        };
        let limiter = RetryLimiter { pace, ..RetryLimiter::default() };
        let fixture = Arc::new(Fixture { limiter, reads: Default::default() });
        for n in 0..5 {
            assert!(fixture.clone().ask(1, n).await);
        }
        // The five reads have used up the burst, so this buyer's next read would wait for an hour.
        let slowed =
            tokio::time::timeout(Duration::from_millis(50), fixture.clone().ask(1, 6)).await;
        assert!(slowed.is_err());
        assert!(fixture.clone().ask(2, 1).await, "other buyers must not be slowed down");
        assert_eq!(fixture.count(), 6);
        let hasty = ReadPace { turn_wait: Duration::from_secs(1_800), ..pace };
        let fixture = Arc::new(Fixture {
            limiter: RetryLimiter { pace: hasty, ..RetryLimiter::default() },
            reads: Default::default(),
        });
        for n in 0..6 {
            assert_eq!(fixture.clone().ask(1, n).await, n < 5, "{n}");
        }
    }

    #[tokio::test]
    async fn entries_of_idle_buyers_are_removed_for_new_buyers() {
        let fixture = Fixture::new();
        for buyer in 0..BUYERS_MAX as u64 {
            drop(fixture.limiter.buyer_reads(buyer).expect("the limiter has room for the buyer"));
        }
        let busy = fixture.limiter.buyer_reads(3).expect("the buyer has an entry");
        drop(
            fixture
                .limiter
                .buyer_reads(u64::MAX)
                .expect("idle entries must make room for a new buyer"),
        );
        let left = fixture.limiter.buyers.lock().expect("no thread panicked").entries.len();
        assert_eq!(left, 2, "only the entry in use and the new entry must remain");
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn while_all_entries_are_in_use_the_limiter_rarely_searches_for_idle_ones() {
        let limiter = RetryLimiter::default();
        let enter = |buyer| limiter.buyer_reads(buyer);
        let mut busy: Vec<_> = (0..BUYERS_MAX as u64).map(enter).collect();
        assert!(busy.iter().all(Option::is_some));
        assert!(enter(u64::MAX).is_none());
        busy.pop();
        assert!(enter(u64::MAX).is_none(), "a second search must not follow at once");
        tokio::time::advance(SEARCH_PAUSE).await;
        assert!(enter(u64::MAX).is_some(), "a later search must find the idle entry");
    }
}
