//! Locks that nodes share to avoid duplicate work: one loader, one exporter. They never protect
//! stock, and no safety depends on them.
//!
//! A lock lives on one server, or on several independent ones by majority. Its holder renews it
//! until the release, and learns when a renewal fails. The fencing number only grows and is part of
//! every write under the lock. A write is refused where a greater number was seen, so a holder that
//! slept past its lease does no harm. `docs/locks.md` says what locks are for.
mod guard;
mod server;
#[cfg(test)]
mod simulation;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use guard::LockGuard;
use server::LockServer;

use crate::{Shared, SlotError};

/// How long a lock lives without a renewal, and so how long others wait after its holder died.
const LEASE: Duration = Duration::from_secs(10);
/// Renewals in one lease.
const RENEWALS_PER_LEASE: u32 = 3;
/// Shortest and longest pause between two attempts to take a lock, drawn at random each time so
/// that waiting nodes do not retry together.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// Clock drift that is tolerated: this fraction of the lease plus `DRIFT_MIN`.
const DRIFT_DIVISOR: u32 = 100;
/// The constant part of the tolerated drift.
const DRIFT_MIN: Duration = Duration::from_millis(2);

/// The servers of the locks. Clones share them.
#[derive(Clone, Debug)]
pub struct Locks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// An odd number of independent servers.
    servers: Vec<LockServer>,
    lease: Duration,
    rng: Mutex<StdRng>,
}

impl Locks {
    /// Locks on these servers, decided by majority. The last server of an even number is not used,
    /// because it would only add a way to fail.
    ///
    /// # Errors
    /// If there is no server.
    pub fn new(servers: Vec<Shared>) -> Result<Self, SlotError> {
        Self::with_lease(servers, LEASE)
    }

    /// Like [`Self::new`], with this lease.
    ///
    /// # Errors
    /// If there is no server.
    pub fn with_lease(servers: Vec<Shared>, lease: Duration) -> Result<Self, SlotError> {
        Self::with_servers(
            servers.into_iter().map(LockServer::Redis).collect(),
            lease,
            StdRng::seed_from_u64(rand::random()),
        )
    }

    fn with_servers(
        mut servers: Vec<LockServer>,
        lease: Duration,
        rng: StdRng,
    ) -> Result<Self, SlotError> {
        if servers.len().is_multiple_of(2) {
            servers.pop();
        }
        if servers.is_empty() {
            return Err(SlotError {
                reason: "no server is configured for locks".to_owned(),
                may_have_happened: false,
            });
        }
        Ok(Self(Arc::new(Inner { servers, lease, rng: Mutex::new(rng) })))
    }

    /// Takes the lock of this name if it is free.
    ///
    /// # Errors
    /// If too few servers can be reached.
    pub async fn try_take(&self, name: &str) -> Result<Option<LockGuard>, SlotError> {
        let owner = format!("{:032x}", self.draw(|rng| rng.random::<u128>()));
        let started = Instant::now();
        let taken = self.ask_all(|server, lease| {
            let (name, owner) = (name.to_owned(), owner.clone());
            async move { server.take(&name, &owner, lease).await }
        });
        let taken = taken.await;
        let fences: Vec<u64> = taken.iter().filter_map(|answer| *answer.as_ref().ok()?).collect();
        let fence = fences.iter().copied().max().unwrap_or(0);
        // With several servers, a majority must know the greatest number before it is used: any
        // later majority then continues from it.
        let is_known = self.is_majority(fences.len())
            && (self.0.servers.len() == 1
                || self.renew(name, &owner, fence).await.is_ok_and(|renewed| renewed));
        let until = started + self.valid_for();
        if is_known && Instant::now() < until {
            return Ok(Some(LockGuard::new(self.clone(), name, owner, fence, until)));
        }
        // This includes servers whose answer was lost: the lock may have been taken there.
        self.release(name, &owner).await;
        let unreachable = taken.iter().filter(|answer| answer.is_err()).count();
        match taken.into_iter().find_map(Result::err) {
            Some(error) if self.is_majority(unreachable) => Err(error),
            _ => Ok(None),
        }
    }

    /// Takes the lock of this name and waits for it at most this long. `None` if another owner held
    /// it all the time.
    ///
    /// # Errors
    /// If too few servers could be reached at the end.
    pub async fn take(
        &self,
        name: &str,
        patience: Duration,
    ) -> Result<Option<LockGuard>, SlotError> {
        let until = Instant::now() + patience;
        loop {
            let tried = self.try_take(name).await;
            if matches!(tried, Ok(Some(_))) || Instant::now() >= until {
                return tried;
            }
            let pause = self.draw(|rng| rng.random_range(RETRY_PAUSE.0..RETRY_PAUSE.1));
            tokio::time::sleep_until((Instant::now() + pause).min(until)).await;
        }
    }

    /// Whether a majority renewed the lock. `Err` if too few servers answered to decide.
    async fn renew(&self, name: &str, owner: &str, fence: u64) -> Result<bool, SlotError> {
        let renewed = self.ask_all(|server, lease| {
            let (name, owner) = (name.to_owned(), owner.to_owned());
            async move { server.renew(&name, &owner, lease, fence).await }
        });
        let renewed = renewed.await;
        if self.is_majority(renewed.iter().filter(|answer| matches!(answer, Ok(true))).count()) {
            return Ok(true);
        }
        let refused = renewed.iter().filter(|answer| matches!(answer, Ok(false))).count();
        match renewed.into_iter().find_map(Result::err) {
            Some(error) if !self.is_majority(refused) => Err(error),
            _ => Ok(false),
        }
    }

    async fn release(&self, name: &str, owner: &str) {
        let released = self.ask_all(|server, _| {
            let (name, owner) = (name.to_owned(), owner.to_owned());
            async move { server.release(&name, &owner).await }
        });
        // A lock that cannot be released lapses by itself.
        drop(released.await);
    }

    /// Calls all servers at the same time and waits for all: each answers or fails within a bounded
    /// time.
    async fn ask_all<T, F>(
        &self,
        ask: impl Fn(LockServer, Duration) -> F,
    ) -> Vec<Result<T, SlotError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, SlotError>> + Send + 'static,
    {
        if let [server] = self.0.servers.as_slice() {
            return vec![ask(server.clone(), self.0.lease).await];
        }
        let mut asking = JoinSet::new();
        for server in &self.0.servers {
            asking.spawn(ask(server.clone(), self.0.lease));
        }
        let mut answers = Vec::with_capacity(self.0.servers.len());
        while let Some(one) = asking.join_next().await {
            let lost = |e: tokio::task::JoinError| SlotError {
                reason: e.to_string(),
                may_have_happened: true,
            };
            answers.push(one.map_err(lost).and_then(|one| one));
        }
        answers
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_majority(&self, servers: usize) -> bool {
        servers > self.0.servers.len() / 2
    }

    /// How long a holder may rely on its lock, counted from the start of its request.
    fn valid_for(&self) -> Duration {
        self.0.lease.saturating_sub(self.0.lease / DRIFT_DIVISOR + DRIFT_MIN)
    }

    fn renew_interval(&self) -> Duration {
        self.0.lease / RENEWALS_PER_LEASE
    }
}
