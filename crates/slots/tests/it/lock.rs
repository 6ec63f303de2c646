//! Tests locks on real Redis servers: expired locks, paused holders, failovers, and majorities of
//! servers.
use std::time::{Duration, Instant};

use doorbuster_slots::{LockGuard, Locks, SharedRedis};

use super::server::Server;
use super::watch::Stopwatch;

const NAME: &str = "loader";
/// The lease is longer than the pauses of a busy machine, so that a renewed lock is not lost.
const LEASE: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(60);

fn on(servers: &[&Server]) -> Locks {
    let shared =
        servers.iter().map(|server| SharedRedis::new(&[server.url()], "shop").expect("an address"));
    Locks::new(shared.collect()).expect("there are servers").lasting(LEASE)
}

async fn take(locks: &Locks) -> LockGuard {
    let taken = locks.wait(NAME, Duration::from_millis(20));
    tokio::time::timeout(3 * TIMEOUT, taken).await.expect("the lock becomes free")
}

async fn lost(held: &LockGuard) {
    let until = Instant::now() + TIMEOUT;
    while held.is_held() {
        assert!(Instant::now() < until, "the next renewal must fail");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A resource that only the holder of a lock may write. It refuses a write whose fencing number is
/// smaller than the number of an earlier write.
#[derive(Default)]
struct Written(u64);

impl Written {
    fn write(&mut self, held: &LockGuard) -> bool {
        let is_newest = held.fence() >= self.0;
        self.0 = self.0.max(held.fence());
        is_newest
    }
}

#[tokio::test]
async fn work_longer_than_a_lease_keeps_the_lock_and_others_wait() {
    let server = Server::start(&[]);
    let (one, other) = (on(&[&server]), on(&[&server]));
    let held = take(&one).await;
    let until = Instant::now() + 2 * LEASE;
    while Instant::now() < until {
        assert!(held.is_held());
        assert!(other.try_take(NAME).await.expect("reachable").is_none());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fence = held.fence();
    held.release().await;
    let next = other.try_take(NAME).await.expect("reachable").expect("the lock is free");
    assert!(next.fence() > fence);
    drop(next);
    // The drop of a guard releases the lock a moment later, so `take` retries until then.
    take(&one).await.release().await;
}

#[tokio::test]
async fn a_holder_learns_that_its_lock_is_lost_and_its_late_write_is_refused() {
    let server = Server::start(&[]);
    let (one, other) = (on(&[&server]), on(&[&server]));
    let late = take(&one).await;
    let mut written = Written::default();
    assert!(written.write(&late));
    // The test deletes the lock's key. An operator might do this by mistake, or a server might lose
    // the key.
    assert_eq!(server.ask::<i64>(&["DEL", "shop:{shared}:lock:loader"]), 1);
    let next = take(&other).await;
    assert!(written.write(&next));
    assert!(!written.write(&late), "a write with a smaller number must be refused");
    lost(&late).await;
    assert!(!late.is_held() && next.is_held());
    late.release().await;
    assert!(
        next.is_held() && one.try_take(NAME).await.expect("reachable").is_none(),
        "releasing a lost lock must not release another owner's lock"
    );
}

#[tokio::test]
async fn only_its_owner_can_release_or_renew_a_lock() {
    let server = Server::start(&[]);
    let locks = on(&[&server]);
    let key = "shop:{shared}:lock:loader";
    let mine = take(&locks).await;
    server.ask::<String>(&["SET", key, "another owner", "PX", "60000"]);
    lost(&mine).await;
    mine.release().await;
    assert_eq!(server.ask::<String>(&["GET", key]), "another owner");
    let left: i64 = server.ask(&["PTTL", key]);
    assert!(left > 10_000, "{left}");
}

/// Pauses a whole process, as a debugger or a sleeping machine does.
#[test]
fn a_holder_that_was_paused_past_its_lease_knows_at_once_that_it_lost_the_lock() {
    let server = Server::start(&[]);
    let sleeper =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let late = sleeper.block_on(async { take(&on(&[&server])).await });
    // From here on, no task of the runtime `sleeper` runs. This includes the task that renews the
    // lock.
    let other =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    other.block_on(async {
        let locks = on(&[&server]);
        let next = take(&locks).await;
        assert!(!late.is_held(), "the lock must be lost before any call");
        assert!(next.is_held() && next.fence() > late.fence());
        let mut written = Written::default();
        assert!(written.write(&next) && !written.write(&late));
    });
}

#[tokio::test]
async fn fencing_numbers_grow_after_a_failover_that_lost_the_lock() {
    let mut server = Server::start_on_port(&[]);
    let (one, other) = (on(&[&server]), on(&[&server]));
    let late = take(&one).await;
    // The server restarts without data, as if a replica without the lock had been promoted.
    server.restart();
    let next = take(&other).await;
    assert!(
        next.fence() > late.fence(),
        "the fencing number {} follows {}",
        next.fence(),
        late.fence()
    );
    lost(&late).await;
}

/// Waits until the replica has every earlier write of the primary. The function writes a new key
/// and waits for it, because older keys may come from a snapshot without the newest writes.
async fn follows(replica: &Server, primary: &Server) {
    const MARK: &str = "mark";
    let until = Instant::now() + TIMEOUT;
    primary.ask::<String>(&["SET", MARK, "1"]);
    // While the replica loads its file, it answers only with an error.
    while !replica.try_ask::<Option<String>>(&["GET", MARK]).is_ok_and(|mark| mark.is_some()) {
        assert!(Instant::now() < until, "the replica does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_promoted_replica_without_the_lock_gives_a_greater_fencing_number() {
    // The holder renews this lease every ten seconds. So the holder notices a lost lock long before
    // the lease ends.
    const LONG: Duration = Duration::from_secs(30);
    const LOCK: &str = "shop:{shared}:lock:loader";
    const FENCE: &str = "shop:{shared}:fence:loader";
    let at_once = ["--repl-diskless-sync-delay", "0"];
    let mut servers = [Server::start_on_port(&at_once), Server::start_on_port(&at_once)];
    // A client uses the first reachable server of the sorted list, so it uses `primary` first.
    servers.sort_by_key(Server::url);
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let [primary, replica] = &mut servers;
    let connect = || SharedRedis::new(&urls, "shop").expect("addresses");
    let (mine, others) = (connect(), connect());
    let locks = |shared: &SharedRedis| {
        Locks::new(vec![shared.clone()]).expect("there is a server").lasting(LONG)
    };
    let (one, other) = (locks(&mine), locks(&others));
    replica.ask::<String>(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    take(&one).await.release().await;
    follows(replica, primary).await;
    // The test makes the replica follow an address without a server, so the replica gets no later
    // writes.
    replica.ask::<String>(&["REPLICAOF", "127.0.0.1", "1"]);
    let late = take(&one).await;
    let mut written = Written::default();
    assert!(written.write(&late));
    primary.kill();
    let taken_over = Stopwatch::start();
    replica.ask::<String>(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(replica.ask::<i64>(&["EXISTS", LOCK]), 0);
    let next = take(&other).await;
    assert!(
        next.fence() > late.fence(),
        "the fencing number {} follows {}",
        next.fence(),
        late.fence()
    );
    assert!(
        written.write(&next) && !written.write(&late),
        "a write with a smaller number must be refused"
    );
    // The next request of `mine` fails, because the connection of `mine` is broken. Later requests
    // go to the promoted replica, which `others` also uses.
    while mine.get(FENCE).await.is_err() {
        assert!(taken_over.elapsed() < TIMEOUT, "the replica is not found");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lost(&late).await;
    assert!(
        taken_over.elapsed() < LONG / 2,
        "the loss is noticed late: {:?}",
        taken_over.elapsed()
    );
    late.release().await;
    assert!(
        next.is_held() && one.try_take(NAME).await.expect("reachable").is_none(),
        "releasing a lost lock must not release another owner's lock"
    );
}

#[tokio::test]
async fn a_majority_of_servers_decides() {
    let mut servers =
        [Server::start_on_port(&[]), Server::start_on_port(&[]), Server::start_on_port(&[])];
    let all: Vec<&Server> = servers.iter().collect();
    let (one, other) = (on(&all), on(&all));
    let held = take(&one).await;
    assert!(other.try_take(NAME).await.expect("reachable").is_none());
    servers[0].kill();
    let until = Instant::now() + 2 * LEASE;
    let mut refused = 0;
    while Instant::now() < until || refused == 0 {
        assert!(held.is_held(), "two of three servers must be enough");
        // The call needs both remaining servers. On a busy machine, one of them may answer too
        // late, and the call fails.
        if let Ok(taken) = other.try_take(NAME).await {
            assert!(taken.is_none(), "the lock must have only one owner");
            refused += 1;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fence = held.fence();
    held.release().await;
    // The first server restarts without data, but the next fencing number must still be greater.
    servers[0].restart();
    servers[2].kill();
    let next = take(&other).await;
    assert!(next.fence() > fence);
    servers[1].kill();
    lost(&next).await;
    assert!(one.try_take(NAME).await.is_err(), "one of three servers must be too few");
}

#[tokio::test]
async fn each_waiting_caller_gets_the_lock_once_and_only_one_holds_it_at_a_time() {
    const MANY: usize = 20;
    let server = Server::start(&[]);
    let inside = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..MANY {
        let (locks, inside) = (on(&[&server]), inside.clone());
        tasks.spawn(async move {
            let held = take(&locks).await;
            assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
            tokio::time::sleep(Duration::from_millis(5)).await;
            inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            let fence = held.fence();
            held.release().await;
            fence
        });
    }
    let mut fences: Vec<u64> = tasks.join_all().await;
    fences.sort_unstable();
    fences.dedup();
    assert_eq!(fences.len(), MANY);
}
