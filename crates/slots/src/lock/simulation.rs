//! Tests locks in a simulation. The processes that hold a lock or wait for it run the production
//! code. The servers and the time are simulated, and a seed determines each run. There are three
//! checks:
//!
//! - Two processes never rely on the same lock at the same time.
//! - Each holder has a greater fencing number than the holder before it.
//! - After the faults end, every process gets the lock.
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::server::LockServer;
use super::simulated_server::{
    FAULTY_FOR, Faults, NO_FAULTS, Process, Server, SimulatedServer, World, lock,
};
use super::{LockGuard, Locks};

const LEASE: Duration = Duration::from_secs(1);
const NAME: &str = "loader";
/// The pause between two tries to take the lock.
const PAUSE: Duration = Duration::from_millis(25);
/// The number of runs of each kind.
const SEEDS: u64 = 8;

#[derive(Debug, Default)]
struct LockChecker {
    /// For each process, the time until which the process relies on its newest lock.
    held: Mutex<HashMap<usize, watch::Receiver<Instant>>>,
    fence: Mutex<u64>,
    faults: Mutex<Vec<String>>,
    taken: Mutex<HashMap<usize, u32>>,
}

impl LockChecker {
    fn record_taken(&self, process: usize, held: &LockGuard, at: Duration) {
        let mut others = lock(&self.held);
        for (other, theirs) in others.iter().filter(|(other, _)| **other != process) {
            if Instant::now() < *theirs.borrow() && held.is_held() {
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
        others.insert(process, held.until.clone());
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

/// Repeatedly takes the lock, works in steps, sometimes sleeps past the lease, and releases the
/// lock.
async fn run_process(
    process: usize,
    locks: Locks,
    me: Arc<Mutex<Process>>,
    world: World,
    checker: Arc<LockChecker>,
) {
    let end = world.began + FAULTY_FOR + Duration::from_secs(10);
    while Instant::now() < end {
        if let Ok(held) = timeout_at(end, locks.wait(NAME, PAUSE)).await {
            checker.record_taken(process, &held, world.began.elapsed());
            for _ in 0..3 {
                sleep(world.millis(1..200)).await;
                if world.chance(0.1) {
                    let until = Instant::now() + world.millis(500..3_000);
                    lock(&me).paused_until = Some(until);
                    sleep_until(until).await;
                }
            }
            lock(&checker.held).remove(&process);
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
    // If the only server loses its memory, a second process can get the lock too early. This is
    // allowed, because the fencing numbers then stop the first holder's writes. So only these
    // numbers are checked.
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
