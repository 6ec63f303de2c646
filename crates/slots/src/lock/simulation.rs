//! Tests locks in a simulation. The holders and waiters run the production code. The servers and
//! the time are simulated, and a seed determines each run.
//!
//! Messages arrive late or get lost, servers fail or lose their memory, and processes sleep past
//! their lease. There are three checks:
//!
//! - Two processes never rely on the same lock at the same time.
//! - Fencing numbers grow from holder to holder.
//! - After the faults end, every process gets the lock.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until};

use super::server::LockServer;
use super::{LockGuard, Locks};
use crate::SlotError;

const LEASE: Duration = Duration::from_secs(1);
/// Timeout of a call, as with a real server.
const ANSWER_MAX: Duration = Duration::from_millis(250);
const FAULTY_FOR: Duration = Duration::from_secs(20);
const NAME: &str = "loader";
/// The number of runs of each kind.
const SEEDS: u64 = 8;

/// A connection from one process to a simulated server.
#[derive(Clone, Debug)]
pub(super) struct SimulatedServer {
    server: Arc<Mutex<Server>>,
    process: Arc<Mutex<Process>>,
    world: World,
}

#[derive(Debug, Default)]
struct Server {
    locks: HashMap<String, (String, Instant)>,
    fences: HashMap<String, u64>,
    /// How far the server's clock is ahead, in microseconds.
    ahead: u64,
    down_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Process {
    /// The process does nothing until this time.
    paused_until: Option<Instant>,
}

/// The state that all simulated servers share: the random numbers and the faults.
#[derive(Clone, Debug)]
struct World {
    rng: Arc<Mutex<StdRng>>,
    began: Instant,
    faults_on: Faults,
}

/// The faults of a run.
#[derive(Clone, Copy, Debug)]
struct Faults {
    servers_forget: bool,
    clocks_differ: bool,
    /// A deliberate bug that the checks must find: a release that does not check the owner.
    releases_foreign_locks: bool,
    /// A deliberate bug that the checks must find: a renewal does not store a greater fencing
    /// number on the server.
    keeps_fence_number: bool,
}

const NO_FAULTS: Faults = Faults {
    servers_forget: false,
    clocks_differ: false,
    releases_foreign_locks: false,
    keeps_fence_number: false,
};

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn is_faulty(&self) -> bool {
        self.began.elapsed() < FAULTY_FOR
    }

    fn chance(&self, of: f64) -> bool {
        self.is_faulty() && lock(&self.rng).random_bool(of)
    }

    fn millis(&self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(lock(&self.rng).random_range(range))
    }
}

impl SimulatedServer {
    /// Performs a call: the request, the step and the answer. A sleeping process neither sends nor
    /// receives.
    async fn call<T>(&self, step: impl FnOnce(&mut Server, Instant) -> T) -> Result<T, SlotError> {
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

    async fn awake(&self) {
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

/// The observations that the checks compare.
#[derive(Debug, Default)]
struct LockChecker {
    /// The last handle of each process.
    held: Mutex<HashMap<usize, LockGuard>>,
    fence: Mutex<u64>,
    faults: Mutex<Vec<String>>,
    taken: Mutex<HashMap<usize, u32>>,
}

impl LockChecker {
    fn record_taken(&self, process: usize, held: &LockGuard, at: Duration) {
        let mut others = lock(&self.held);
        for (other, theirs) in others.iter().filter(|(other, _)| **other != process) {
            if theirs.is_held() && held.is_held() {
                lock(&self.faults)
                    .push(format!("{at:?}: processes {process} and {other} hold the same lock"));
            }
        }
        let mut last = lock(&self.fence);
        if held.fence() <= *last {
            lock(&self.faults).push(format!(
                "{at:?}: the fencing number {} is not above the last one, {}",
                held.fence(),
                *last
            ));
        }
        *last = held.fence();
        others.insert(process, held.share());
        drop(others);
        *lock(&self.taken).entry(process).or_default() += 1;
    }
}

/// Runs one simulation and returns the violations.
async fn run(seed: u64, servers: usize, faults_on: Faults) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let servers: Vec<_> = (0..servers)
        .map(|_| {
            let ahead = if faults_on.clocks_differ { rng.random_range(0..5_000_000) } else { 0 };
            Arc::new(Mutex::new(Server { ahead, ..Server::default() }))
        })
        .collect();
    let world = World { rng: Arc::new(Mutex::new(rng)), began: Instant::now(), faults_on };
    let checker = Arc::new(LockChecker::default());
    let mut tasks = tokio::task::JoinSet::new();
    const PROCESSES: usize = 4;
    for process in 0..PROCESSES {
        let me = Arc::new(Mutex::new(Process::default()));
        let model = |server: &Arc<Mutex<Server>>| {
            LockServer::SimulatedServer(SimulatedServer {
                server: server.clone(),
                process: me.clone(),
                world: world.clone(),
            })
        };
        let locks = Locks::with_servers(
            servers.iter().map(model).collect(),
            LEASE,
            StdRng::seed_from_u64(seed ^ (process as u64 + 1)),
        );
        tasks.spawn(run_process(
            process,
            locks.expect("there are servers"),
            me,
            world.clone(),
            checker.clone(),
        ));
    }
    tasks.spawn(break_servers(servers, world.clone()));
    while let Some(ended) = tasks.join_next().await {
        ended.expect("the task does not panic");
    }
    let mut faults = std::mem::take(&mut *lock(&checker.faults));
    let taken = lock(&checker.taken).clone();
    if taken.len() < PROCESSES {
        faults.push(format!("not every process got the lock: {taken:?}"));
    }
    faults
}

/// Runs a process: it takes the lock, works in steps, sometimes sleeps past its lease, and
/// releases.
async fn run_process(
    process: usize,
    locks: Locks,
    me: Arc<Mutex<Process>>,
    world: World,
    checker: Arc<LockChecker>,
) {
    let end = world.began + FAULTY_FOR + Duration::from_secs(10);
    while Instant::now() < end {
        if let Ok(Some(held)) = locks.take(NAME, Duration::from_secs(3)).await {
            checker.record_taken(process, &held, world.began.elapsed());
            for _ in 0..3 {
                sleep(world.millis(1..200)).await;
                if world.chance(0.1) {
                    let until = Instant::now() + world.millis(500..3_000);
                    lock(&me).paused_until = Some(until);
                    sleep_until(until).await;
                }
            }
            // The checker also has a handle of the lock. Drop it first, because only the drop of
            // the last handle releases the lock.
            let mine = lock(&checker.held).remove(&process);
            drop(mine);
            held.release().await;
        }
        sleep(world.millis(1..300)).await;
    }
}

async fn break_servers(servers: Vec<Arc<Mutex<Server>>>, world: World) {
    while world.is_faulty() {
        sleep(world.millis(200..3_000)).await;
        let nth = lock(&world.rng).random_range(0..servers.len());
        let until = Instant::now() + world.millis(50..1_500);
        let forgets = world.faults_on.servers_forget && world.chance(0.5);
        let mut server = lock(&servers[nth]);
        server.down_until = Some(until);
        if forgets {
            server.locks.clear();
            server.fences.clear();
        }
    }
}

fn runs(seeds: std::ops::Range<u64>, servers: usize, faults_on: Faults) -> Vec<(u64, Vec<String>)> {
    let of = |seed| {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(run(seed, servers, faults_on))
    };
    seeds.map(|seed| (seed, of(seed))).filter(|(_, faults)| !faults.is_empty()).collect()
}

#[test]
fn no_two_processes_hold_the_same_lock_and_fencing_numbers_grow() {
    for servers in [1, 3, 5] {
        assert_eq!(runs(0..SEEDS, servers, NO_FAULTS), vec![]);
        let clocks = Faults { clocks_differ: true, ..NO_FAULTS };
        assert_eq!(runs(SEEDS..2 * SEEDS, servers, clocks), vec![]);
    }
}

#[test]
fn fencing_numbers_grow_after_a_server_lost_its_memory() {
    let forget = Faults { servers_forget: true, ..NO_FAULTS };
    let found = runs(0..SEEDS, 1, forget);
    // If the only server loses its memory, a second process can get the lock too early. The fencing
    // numbers then protect against the first holder's writes.
    let is_about_fences = |fault: &String| !fault.contains("hold the same lock");
    assert!(!found.iter().any(|(_, faults)| faults.iter().any(is_about_fences)), "{found:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let forget = Faults { servers_forget: true, ..NO_FAULTS };
    assert_eq!(runs(0..3, 1, forget), runs(0..3, 1, forget));
}

#[test]
fn a_release_without_an_owner_check_is_noticed() {
    let any_owner = Faults { releases_foreign_locks: true, ..NO_FAULTS };
    assert!(!runs(0..SEEDS, 1, any_owner).is_empty());
}

#[test]
fn a_fencing_number_that_only_one_server_knows_is_noticed() {
    let keeps_fence_number = Faults { clocks_differ: true, keeps_fence_number: true, ..NO_FAULTS };
    assert!(!runs(0..SEEDS, 3, keeps_fence_number).is_empty());
}
