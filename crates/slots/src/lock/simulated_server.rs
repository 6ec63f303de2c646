//! A simulated server of locks. Its messages arrive late or get lost. The server may be unavailable
//! for some time, or lose its memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::SlotError;

/// Faults occur only in the first part of a run, which is this long.
pub(super) const FAULTY_FOR: Duration = Duration::from_secs(20);
/// After this time without an answer, a call fails, as with a real server.
const ANSWER_MAX: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub(super) struct SimulatedServer {
    pub(super) server: Arc<Mutex<Server>>,
    pub(super) process: Arc<Mutex<Process>>,
    pub(super) world: World,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) locks: HashMap<String, (String, Instant)>,
    pub(super) fences: HashMap<String, u64>,
    /// How far the server's clock is ahead of the simulated time, in microseconds.
    pub(super) ahead: u64,
    pub(super) down_until: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Process {
    /// The process does nothing until this time.
    pub(super) paused_until: Option<Instant>,
}

/// What all simulated servers of a run share: the random numbers, the start time, and the kinds of
/// faults.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) rng: Arc<Mutex<StdRng>>,
    pub(super) began: Instant,
    pub(super) faults_on: Faults,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) servers_forget: bool,
    pub(super) clocks_differ: bool,
    /// Switches on a deliberate bug that the checks must find: a release does not check the owner.
    pub(super) releases_foreign_locks: bool,
    /// Switches on a deliberate bug that the checks must find: a renewal does not store a greater
    /// fencing number.
    pub(super) keeps_fence_number: bool,
}

pub(super) const NO_FAULTS: Faults = Faults {
    servers_forget: false,
    clocks_differ: false,
    releases_foreign_locks: false,
    keeps_fence_number: false,
};

pub(super) fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn is_faulty(&self) -> bool {
        self.began.elapsed() < FAULTY_FOR
    }

    pub(super) fn chance(&self, of: f64) -> bool {
        self.is_faulty() && lock(&self.rng).random_bool(of)
    }

    pub(super) fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(lock(&self.rng).random_range(range))
    }
}

impl SimulatedServer {
    /// Simulates one call: sends the request, performs `step` on the server, and returns the
    /// answer. A paused process neither sends nor receives.
    pub(super) async fn call<T>(
        &self,
        step: impl FnOnce(&mut Server, Instant) -> T,
    ) -> Result<T, SlotError> {
        let lost = || SlotError { reason: "no answer".to_owned(), may_have_happened: true };
        self.awake().await;
        let started = Instant::now();
        sleep(self.world.millis(0..10)).await;
        let is_away = lock(&self.server).down_until.is_some_and(|until| Instant::now() < until);
        if is_away || self.world.chance(0.03) {
            sleep_until(started + ANSWER_MAX).await;
            return Err(lost());
        }
        let answer = step(&mut lock(&self.server), Instant::now());
        if self.world.chance(0.03) {
            sleep_until(started + ANSWER_MAX).await;
            return Err(lost());
        }
        sleep(self.world.millis(0..10)).await;
        self.awake().await;
        Ok(answer)
    }

    pub(super) async fn awake(&self) {
        loop {
            let until = lock(&self.process).paused_until;
            match until {
                Some(until) if Instant::now() < until => sleep_until(until).await,
                _ => return,
            }
        }
    }

    pub(super) async fn take(
        &self,
        name: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Option<u64>, SlotError> {
        let began = self.world.began;
        let step = |server: &mut Server, now: Instant| {
            if server.locks.get(name).is_some_and(|(_, until)| now < *until) {
                return None;
            }
            server.locks.insert(name.to_owned(), (owner.to_owned(), now + lease));
            let time =
                1 + server.ahead + u64::try_from((now - began).as_micros()).unwrap_or(u64::MAX);
            let fence = time.max(server.fences.get(name).map_or(0, |last| last + 1));
            server.fences.insert(name.to_owned(), fence);
            Some(fence)
        };
        self.call(step).await
    }

    pub(super) async fn renew(
        &self,
        name: &str,
        owner: &str,
        lease: Duration,
        fence: u64,
    ) -> Result<bool, SlotError> {
        let raises = !self.world.faults_on.keeps_fence_number;
        let step = |server: &mut Server, now: Instant| match server.locks.get_mut(name) {
            Some((who, until)) if who == owner && now < *until => {
                *until = now + lease;
                let last = server.fences.entry(name.to_owned()).or_default();
                *last = if raises { fence.max(*last) } else { *last };
                true
            }
            _ => false,
        };
        self.call(step).await
    }

    pub(super) async fn release(&self, name: &str, owner: &str) -> Result<bool, SlotError> {
        let any_owner = self.world.faults_on.releases_foreign_locks;
        let step = |server: &mut Server, _: Instant| {
            let is_owners = server.locks.get(name).is_some_and(|(who, _)| who == owner);
            if is_owners || any_owner {
                server.locks.remove(name);
            }
            is_owners
        };
        self.call(step).await
    }
}
