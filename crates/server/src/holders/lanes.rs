//! Lanes in which buyers are shown their orders again. A request that holds an order is never
//! refused, so what it costs is bounded here: each buyer is served by one reading of the store at a
//! time, all who ask for the same meanwhile by the next one, and a few buyers at once.
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_core::{Order, RequestHash};
use doorbuster_store::StoreError;
use hashbrown::HashMap;
use tokio::sync::{MutexGuard, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Buyers that have a lane; one that rests is given up for another.
const LANES_MAX: usize = 16_384;
/// Readings at once for all lanes: what else is read has sessions of its own left.
const READINGS_MAX: usize = 3;
/// Readings that a buyer may have in quick succession.
const BURST: u32 = 200;
/// And one more after each of these.
const EVERY: Duration = Duration::from_millis(10);
/// Longest wait for a turn; then whoever waits is asked to come again.
const PATIENCE: Duration = Duration::from_secs(5);

/// The lanes of a node.
#[derive(Debug)]
pub(crate) struct Lanes {
    by_buyer: Mutex<HashMap<u64, Arc<Lane>, foldhash::fast::FixedState>>,
    readings: Semaphore,
    pace: Pace,
}

/// How often one buyer is read for.
#[derive(Clone, Copy, Debug)]
struct Pace {
    burst: u32,
    every: Duration,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Lane {
    asked: AtomicU64,
    turn: tokio::sync::Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    /// When all that was read is made up for.
    rests_at: Option<Instant>,
    /// Who had asked when it was last read, for what, and what was found.
    last: Option<(u64, RequestHash, Option<Order>)>,
}

impl Default for Lanes {
    fn default() -> Self {
        let pace = Pace { burst: BURST, every: EVERY, patience: PATIENCE };
        Self { by_buyer: Mutex::default(), readings: Semaphore::new(READINGS_MAX), pace }
    }
}

/// Why there was no reading.
#[derive(Debug)]
pub(crate) enum Unread {
    /// Too many wait.
    Busy,
    /// The store could not be asked.
    Store(StoreError),
}

impl Lanes {
    /// The order of a request of this buyer, by a reading that begins after this is called, the
    /// caller's own or one that others share.
    pub(crate) async fn order(
        &self,
        buyer: u64,
        request: RequestHash,
        read: impl Future<Output = Result<Option<Order>, StoreError>>,
    ) -> Result<Option<Order>, Unread> {
        let lane = self.lane(buyer).ok_or(Unread::Busy)?;
        let mine = lane.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let until = Instant::now() + self.pace.patience;
        let mut turn = timeout_at(until, lane.turn.lock()).await.map_err(|_| Unread::Busy)?;
        if let Some((asked, of, order)) = &turn.last
            && (*asked >= mine && *of == request)
        {
            return Ok(order.clone());
        }
        let _reading = self.begin(&mut turn, until).await.ok_or(Unread::Busy)?;
        // Whoever asked by now is served by what is read from here on.
        let asked = lane.asked.load(Ordering::Acquire);
        let order = read.await.map_err(Unread::Store)?;
        turn.last = Some((asked, request, order.clone()));
        Ok(order)
    }

    /// Something else that is read for this buyer, in turn. `None`: too many wait.
    pub(crate) async fn read<T>(&self, buyer: u64, read: impl Future<Output = T>) -> Option<T> {
        let lane = self.lane(buyer)?;
        let until = Instant::now() + self.pace.patience;
        let mut turn = timeout_at(until, lane.turn.lock()).await.ok()?;
        let _reading = self.begin(&mut turn, until).await?;
        Some(read.await)
    }

    /// Waits until a reading may begin. `None`: not until then.
    async fn begin(
        &self,
        turn: &mut MutexGuard<'_, Turn>,
        until: Instant,
    ) -> Option<SemaphorePermit<'_>> {
        let now = Instant::now();
        let rests_at = turn.rests_at.map_or(now, |at| at.max(now)) + self.pace.every;
        let ahead = rests_at - now;
        let from = now + ahead.saturating_sub(self.pace.every * self.pace.burst);
        if from > until {
            return None;
        }
        tokio::time::sleep_until(from).await;
        let place = timeout_at(until, self.readings.acquire()).await.ok()?.ok()?;
        turn.rests_at = Some(rests_at);
        Some(place)
    }

    fn lane(&self, buyer: u64) -> Option<Arc<Lane>> {
        let mut lanes = self.by_buyer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&buyer) {
            return Some(lane.clone());
        }
        if lanes.len() >= LANES_MAX {
            let now = Instant::now();
            lanes.retain(|_, lane| {
                let rests =
                    lane.turn.try_lock().is_ok_and(|turn| turn.rests_at.is_none_or(|at| at <= now));
                Arc::strong_count(lane) > 1 || !rests
            });
        }
        (lanes.len() < LANES_MAX).then(|| lanes.entry(buyer).or_default().clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use doorbuster_core::IdKey;
    use tokio::task::JoinSet;

    use super::*;

    struct Rig {
        lanes: Lanes,
        /// Readings so far, at present, and most at once.
        readings: [AtomicUsize; 3],
    }

    impl Rig {
        fn new() -> Arc<Self> {
            Arc::new(Self { lanes: Lanes::default(), readings: Default::default() })
        }

        async fn reading(&self) -> Result<Option<Order>, StoreError> {
            self.readings[0].fetch_add(1, Ordering::SeqCst);
            let now = self.readings[1].fetch_add(1, Ordering::SeqCst) + 1;
            self.readings[2].fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.readings[1].fetch_sub(1, Ordering::SeqCst);
            Ok(None)
        }

        async fn ask(self: Arc<Self>, buyer: u64, key: u32) -> bool {
            let request = IdKey::new([1; 32]).request_hash(&buyer.to_string(), &key.to_string());
            self.lanes.order(buyer, request, self.reading()).await.is_ok()
        }

        fn count(&self) -> usize {
            self.readings[0].load(Ordering::SeqCst)
        }

        fn most_at_once(&self) -> usize {
            self.readings[2].load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn of_a_thousand_replays_of_one_key_few_are_read_and_all_are_answered() {
        let rig = Rig::new();
        let mut crowd = JoinSet::new();
        (0..1_000).for_each(|_| drop(crowd.spawn(rig.clone().ask(1, 1))));
        assert!(crowd.join_all().await.into_iter().all(|told| told));
        // They come while the first is read for; the next reading serves the rest.
        assert!(rig.count() <= 2, "{}", rig.count());
        let before = rig.count();
        assert!(rig.clone().ask(1, 1).await);
        assert_eq!(rig.count(), before + 1, "what is asked afterwards is read afterwards");
    }

    #[tokio::test]
    async fn a_few_buyers_are_read_for_at_once_and_each_once_at_a_time() {
        let (rig, alone) = (Rig::new(), Rig::new());
        let mut crowd = JoinSet::new();
        for n in 0..100 {
            crowd.spawn(rig.clone().ask(u64::from(n % 20), n));
            crowd.spawn(alone.clone().ask(1, n));
        }
        assert!(crowd.join_all().await.into_iter().all(|told| told));
        assert_eq!((rig.most_at_once(), alone.most_at_once()), (READINGS_MAX, 1));
    }

    #[tokio::test]
    async fn whoever_asks_without_end_is_slowed_and_in_the_end_asked_to_come_again() {
        let pace = Pace {
            burst: 5,
            every: Duration::from_secs(3_600),
            patience: Duration::from_secs(7_200),
        };
        let lanes = Lanes { pace, ..Lanes::default() };
        let rig = Arc::new(Rig { lanes, readings: Default::default() });
        for n in 0..5 {
            assert!(rig.clone().ask(1, n).await);
        }
        // The sixth would wait for an hour, and who comes meanwhile behind it.
        let slowed = tokio::time::timeout(Duration::from_millis(50), rig.clone().ask(1, 6)).await;
        assert!(slowed.is_err());
        assert!(rig.clone().ask(2, 1).await, "nobody else is");
        assert_eq!(rig.count(), 6);
        let hasty = Pace { patience: Duration::from_secs(1_800), ..pace };
        let rig = Arc::new(Rig {
            lanes: Lanes { pace: hasty, ..Lanes::default() },
            readings: Default::default(),
        });
        for n in 0..6 {
            assert_eq!(rig.clone().ask(1, n).await, n < 5, "{n}");
        }
    }

    #[tokio::test]
    async fn lanes_that_rest_are_given_up() {
        let rig = Rig::new();
        for buyer in 0..LANES_MAX as u64 {
            drop(rig.lanes.lane(buyer).expect("there is room"));
        }
        let busy = rig.lanes.lane(3).expect("it is there");
        drop(rig.lanes.lane(u64::MAX).expect("others rest"));
        let left = rig.lanes.by_buyer.lock().expect("nobody panicked").len();
        assert_eq!(left, 2, "the one in use and the new one");
        drop(busy);
    }
}
