//! The private servers by themselves: they start, fail as they are told to, come back, and leave nothing behind.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

/// A directory that is gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("doorbuster-lab-{:016x}", rand::random::<u64>())))
    }

    fn place(&self) -> Place {
        Place::make(&self.0).expect("a fresh name")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays among the temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_postgresql_that_crashed_comes_back() {
    let scratch = Scratch::new();
    let mut postgres = Postgres::make(&scratch.place(), true).expect("it is installed");
    postgres.crash().expect("it ends");
    postgres.start().expect("it recovers");
    postgres.stop().expect("it ends");
}

#[test]
fn a_redis_cluster_loses_a_primary_and_is_whole_again() {
    let scratch = Scratch::new();
    let mut redis =
        Redis::make(&scratch.place(), 3, true, true, |_| Ok(None)).expect("it is installed");
    let (primary, replica) = redis.pair(1);
    assert_eq!((primary, replica), (1, 4));
    redis.server(primary).kill().expect("it ends");
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while redis.server(replica).role() != Role::Primary {
        assert!(std::time::Instant::now() < until, "nobody took over");
        std::thread::sleep(Duration::from_millis(50));
    }
    redis.server(primary).start().expect("it starts");
    redis.until_healthy().expect("it is whole");
    assert_eq!(redis.pair(1), (replica, primary));
}

#[test]
fn a_replica_that_may_not_follow_goes_stale_and_takes_over_when_told() {
    let scratch = Scratch::new();
    let mut redis =
        Redis::make(&scratch.place(), 1, true, true, |_| Ok(None)).expect("it is installed");
    redis.server(0).ask(&["SET", "k", "before"]).expect("it is set");
    redis.server(0).ask(&["WAIT", "1", "1000"]).expect("it is there");
    redis.server(0).let_follow(false).expect("it is forbidden");
    redis.server(0).ask(&["SET", "k", "after"]).expect("it is set");
    redis.server(0).kill().expect("it ends");
    redis.server(1).ask(&["CLUSTER", "FAILOVER", "TAKEOVER"]).expect("it takes over");
    assert_eq!(redis.server(1).ask(&["GET", "k"]).expect("it answers"), "before");
    redis.server(0).start().expect("it starts");
    redis.until_healthy().expect("it is whole");
}

#[test]
fn what_is_noted_is_found_and_stopped_by_its_file() {
    let scratch = Scratch::new();
    let place = scratch.place();
    let start = Start {
        name: "sleeper".into(),
        program: "/bin/sleep".into(),
        arguments: vec!["600".into()],
        environment: Vec::new(),
        user: None,
        tethered: false,
    };
    let mut started = Process::start(&place, &start).expect("it starts");
    let mut found = Process::noted(&place).expect("it is noted");
    assert_eq!((found.len(), found[0].pid(), found[0].is_running()), (1, started.pid(), true));
    // Somebody must wait for it, or it stays as a name without a life.
    let waiter = std::thread::spawn(move || started.ended(Duration::from_secs(20)));
    assert_eq!(down(Path::new(&scratch.0)).expect("it stops"), ["sleeper"]);
    assert!(waiter.join().expect("it does not panic"), "it ended");
    assert!(Process::noted(&place).expect("it is noted").is_empty());
    remove(&scratch.0).expect("it can be removed");
    assert!(!scratch.0.exists());
}
