//! Tests of the private servers: they start, fail as requested, recover, and leave no files.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;

struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        Self(
            std::env::temp_dir().join(format!("doorbuster-harness-{:016x}", rand::random::<u64>())),
        )
    }

    fn cluster_dir(&self) -> ClusterDir {
        ClusterDir::create(&self.0).expect("a fresh name")
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A failed removal is harmless.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn postgresql_recovers_after_a_crash() {
    let temp_dir = TempDir::new();
    let mut postgres =
        Postgres::create(&temp_dir.cluster_dir(), true).expect("the server is installed");
    postgres.crash().expect("the server ends");
    postgres.start().expect("the server recovers");
    postgres.stop().expect("the server ends");
}

#[test]
fn a_redis_cluster_recovers_from_the_loss_of_a_primary() {
    let temp_dir = TempDir::new();
    let mut redis = Redis::create(&temp_dir.cluster_dir(), 3, true, true, |_| Ok(None))
        .expect("the server is installed");
    let (primary, replica) = redis.primary_and_replica(1);
    assert_eq!((primary, replica), (1, 4));
    redis.server(primary).kill().expect("the server ends");
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while redis.server(replica).role() != Role::Primary {
        assert!(std::time::Instant::now() < until, "the replica did not become the primary");
        std::thread::sleep(Duration::from_millis(50));
    }
    redis.server(primary).start().expect("the server starts");
    redis.wait_until_healthy().expect("the cluster is healthy");
    assert_eq!(redis.primary_and_replica(1), (replica, primary));
}

#[test]
fn a_replica_without_replication_is_stale_when_it_takes_over() {
    let temp_dir = TempDir::new();
    let mut redis = Redis::create(&temp_dir.cluster_dir(), 1, true, true, |_| Ok(None))
        .expect("the server is installed");
    redis.server(0).run_command(&["SET", "k", "before"]).expect("the key is set");
    redis.server(0).run_command(&["WAIT", "1", "1000"]).expect("the replica has the key");
    redis.server(0).set_replication_allowed(false).expect("replication is disabled");
    redis.server(0).run_command(&["SET", "k", "after"]).expect("the key is set");
    redis.server(0).kill().expect("the server ends");
    redis
        .server(1)
        .run_command(&["CLUSTER", "FAILOVER", "TAKEOVER"])
        .expect("the replica takes over");
    assert_eq!(redis.server(1).run_command(&["GET", "k"]).expect("the replica answers"), "before");
    redis.server(0).start().expect("the server starts");
    redis.wait_until_healthy().expect("the cluster is healthy");
}

#[test]
fn a_process_is_found_and_stopped_by_its_process_id_file() {
    let temp_dir = TempDir::new();
    let cluster_dir = temp_dir.cluster_dir();
    let start = ProcessSpec {
        name: "sleeper".into(),
        program: "/bin/sleep".into(),
        arguments: vec!["600".into()],
        environment: Vec::new(),
        user: None,
        ends_with_caller: false,
    };
    let mut started = Process::start(&cluster_dir, &start).expect("the process starts");
    let mut found =
        Process::from_pid_files(&cluster_dir).expect("the process-id files can be read");
    assert_eq!((found.len(), found[0].pid(), found[0].is_running()), (1, started.pid(), true));
    // The test is the parent of the process, so it must wait until the process has ended.
    // Otherwise, the ended process would stay as a zombie.
    let waiter = std::thread::spawn(move || started.has_ended_within(Duration::from_secs(20)));
    assert_eq!(shut_down(Path::new(&temp_dir.0)).expect("the process stops"), ["sleeper"]);
    assert!(waiter.join().expect("the thread does not panic"), "the process must end");
    assert!(
        Process::from_pid_files(&cluster_dir).expect("the process-id files can be read").is_empty()
    );
    remove(&temp_dir.0).expect("the directory can be removed");
    assert!(!temp_dir.0.exists());
}

#[test]
fn only_the_directory_of_an_installation_is_changed_and_removed() {
    let temp_dir = TempDir::new();
    let data = temp_dir.0.join("postgres");
    std::fs::create_dir_all(&data).expect("a new directory");
    std::fs::write(data.join("rows"), "1").expect("a file");
    std::fs::write(temp_dir.0.join("admin_key"), "key").expect("a file");
    let mode = || temp_dir.0.metadata().expect("a directory").permissions().mode() & 0o777;
    std::fs::set_permissions(&temp_dir.0, Permissions::from_mode(0o750)).expect("our directory");
    for refused in [
        ClusterDir::create(&temp_dir.0).map(drop),
        shut_down(&temp_dir.0).map(drop),
        remove(&temp_dir.0),
    ] {
        refused.expect_err("this directory is not of an installation");
    }
    assert_eq!(mode(), 0o750);
    assert!(data.join("rows").exists() && temp_dir.0.join("admin_key").exists());

    std::fs::remove_file(temp_dir.0.join("admin_key")).expect("our file");
    std::fs::remove_dir_all(&data).expect("our directory");
    temp_dir.cluster_dir();
    temp_dir.cluster_dir();
    assert_eq!(mode(), 0o750, "the mode of an existing directory must not change");
    remove(&temp_dir.0).expect("the installation can be removed");
    assert!(!temp_dir.0.exists());
}
