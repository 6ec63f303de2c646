//! Locks that nodes share to avoid duplicate work. These locks never protect stock, and correctness
//! never depends on the locks.
//!
//! A lock is on one server, or on a majority of several independent servers. Each holder gets a
//! fencing number that is greater than the numbers of all earlier holders. The holder sends this
//! number with every write. If the resource has seen a greater number, the write fails. So a holder
//! that slept longer than its lease does no harm. `docs/locks.md` says what locks are for.
mod guard;
mod server;
#[cfg(test)]
mod simulated_server;
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

use crate::{SharedRedis, SlotError};

/// The time after which a lock expires if its holder does not renew it. After a crash of the
/// holder, other nodes wait at most this long.
const LEASE: Duration = Duration::from_secs(10);
const RENEWALS_PER_LEASE: u32 = 3;
/// During a lease, two clocks may drift apart by the lease divided by this number, plus
/// `DRIFT_MIN`. The locks tolerate this drift.
const DRIFT_DIVISOR: u32 = 100;
/// The constant part of the tolerated drift (see `DRIFT_DIVISOR`).
const DRIFT_MIN: Duration = Duration::from_millis(2);

/// Locks on one server or on several servers. Clones share the servers.
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
    /// Returns locks on a majority of these servers. If the number of servers is even, the last
    /// server is not used, because an even number of servers tolerates no more failures than the
    /// odd number below it.
    ///
    /// # Errors
    /// Fails if there is no server.
    pub fn new(servers: Vec<SharedRedis>) -> Result<Self, SlotError> {
        Self::with_servers(
            servers.into_iter().map(LockServer::Redis).collect(),
            LEASE,
            StdRng::seed_from_u64(rand::random()),
        )
    }

    /// Returns locks on the same servers, but with this lease. If the lease is short, other nodes
    /// take over soon after a crash.
    #[must_use]
    pub fn lasting(&self, lease: Duration) -> Self {
        let rng = Mutex::new(StdRng::seed_from_u64(self.draw(|rng| rng.random())));
        Self(Arc::new(Inner { servers: self.0.servers.clone(), lease, rng }))
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

    /// Takes the lock of this name if it is free. Returns `None` if the lock has an owner.
    ///
    /// # Errors
    /// Fails if too few servers can be reached.
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
        // The lock's fencing number is the greatest number that a server returned. First, a
        // majority of the servers must store this number, so that every later holder gets a greater
        // number.
        let is_known = self.is_majority(fences.len())
            && (self.0.servers.len() == 1
                || self.renew(name, &owner, fence).await.is_ok_and(|renewed| renewed));
        let until = started + self.valid_for();
        if is_known && Instant::now() < until {
            return Ok(Some(LockGuard::new(self.clone(), name, owner, fence, until)));
        }
        // A server whose answer was lost may have stored the lock. So the lock is also released on
        // such a server.
        if taken.iter().any(|answer| !matches!(answer, Ok(None))) {
            self.release(name, &owner).await;
        }
        let unreachable = taken.iter().filter(|answer| answer.is_err()).count();
        match taken.into_iter().find_map(Result::err) {
            Some(error) if self.is_majority(unreachable) => Err(error),
            _ => Ok(None),
        }
    }

    /// Waits until this process has the lock of this name. The wait may last for hours. So this
    /// function makes only about one try in each `pause`.
    pub async fn wait(&self, name: &str, pause: Duration) -> LockGuard {
        loop {
            // If too few servers can be reached, a later try may succeed.
            if let Ok(Some(guard)) = self.try_take(name).await {
                return guard;
            }
            // The pause is random, so that waiting nodes do not try together.
            let factor = self.draw(|rng| rng.random_range(0.75..1.25));
            tokio::time::sleep(pause.mul_f64(factor)).await;
        }
    }

    /// Returns whether a majority of the servers renewed the lock. Fails if so few servers answered
    /// that neither a success nor a refusal has a majority.
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
        // If the release fails, the lock expires by itself.
        drop(released.await);
    }

    /// Calls all servers at the same time. Each server answers or fails within a bounded time.
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

    /// Returns how long a holder may rely on its lock. The time starts when the holder sends its
    /// request for the lock, or its last renewal.
    fn valid_for(&self) -> Duration {
        self.0.lease.saturating_sub(self.0.lease / DRIFT_DIVISOR + DRIFT_MIN)
    }

    fn renew_interval(&self) -> Duration {
        self.0.lease / RENEWALS_PER_LEASE
    }
}
