//! Compares simulated sales with the real backends: with stores through their methods, and with
//! slots in Redis.
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::NodeId;
use doorbuster_core::slot::SlotBounds;
use doorbuster_sim::recorded::{RecordedRun, id_key};
use doorbuster_sim_backends::{StoreSetup, compare_slots, compare_store};
use doorbuster_slots::{RedisOptions, Slots};
use doorbuster_store::{KnownHistories, PostgresOptions, SqliteOptions, Store};
use doorbuster_testkit::{postgres, tool};
use tokio::runtime::{Builder, Runtime};

/// The number of lists of operations for each store, if `DOORBUSTER_SIM_LISTS` is not set. The
/// first seeds cover every profile.
const LISTS: u64 = 28;
/// The number of lists of operations for slots in Redis. This number is higher than [`LISTS`],
/// because a list takes less time on slots than on a store.
const SLOT_LISTS: u64 = 280;
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Starts a server. After a line of input, or at the end of the input, kills the server and removes
/// its directory. The input ends at the latest with the test process.
const KEEPER: &str = r#"
dir=$1; shift
"$@" >"$dir/log" 2>&1 & server=$!
read -r word; kill -9 $server; wait $server 2>/dev/null; rm -rf "$dir"
"#;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let dir =
            std::env::temp_dir().join(format!("doorbuster-sim-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&dir).expect("a fresh name in the temporary directory");
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // A failed removal is harmless.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Redis {
    dir: Dir,
    keeper: Option<(Child, ChildStdin)>,
}

impl Redis {
    fn start() -> Self {
        let dir = Dir::new();
        let here = dir.0.display().to_string();
        let socket = dir.0.join("socket").display().to_string();
        let program = tool::program("redis-server").display().to_string();
        let words =
            [&program, "--port", "0", "--unixsocket", &socket, "--dir", &here, "--save", ""];
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper", &here])
            .args(words)
            .stdin(Stdio::piped())
            .spawn();
        let mut keeper = keeper.expect("a shell");
        let input = keeper.stdin.take().expect("piped");
        let redis = Self { dir, keeper: Some((keeper, input)) };
        let since = Instant::now();
        while std::os::unix::net::UnixStream::connect(redis.dir.0.join("socket")).is_err() {
            let log = || std::fs::read_to_string(redis.dir.0.join("log")).unwrap_or_default();
            assert!(since.elapsed() < READY_WITHIN, "redis-server does not start: {}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
        redis
    }

    /// Returns options for slots that share no data with the slots of other calls.
    fn options(&self) -> RedisOptions {
        static MADE: AtomicU64 = AtomicU64::new(0);
        RedisOptions {
            urls: vec![format!("redis+unix://{}", self.dir.0.join("socket").display())],
            prefix: format!("s{}", MADE.fetch_add(1, Ordering::Relaxed)),
            id_key: id_key(),
            node: NodeId(1),
            bounds: SlotBounds::default(),
            wait_replicas: 0,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some((mut keeper, mut input)) = self.keeper.take() {
            // A failed write is harmless: when the input ends, the script ends the server too.
            let _ = input.write_all(b"end\n");
            drop(input);
            let _ = keeper.wait();
        }
    }
}

pub(super) fn wanted_lists(usual: u64) -> u64 {
    let setting = std::env::var("DOORBUSTER_SIM_LISTS").ok();
    setting.map_or(usual, |text| text.parse().expect("DOORBUSTER_SIM_LISTS is a number of lists"))
}

fn check(lists: u64, follows: impl Fn(&Runtime, &RecordedRun) -> Result<(), String>) {
    let runtime = runtime();
    for seed in 0..wanted_lists(lists) {
        let story = RecordedRun::from_seed(seed).expect("the run has no finding");
        if let Err(how) = follows(&runtime, &story) {
            panic!("seed {seed}: {how}");
        }
    }
}

#[test]
fn a_store_on_disk_behaves_like_the_model() {
    let open = |dir: PathBuf| {
        async move |StoreSetup { id_key, clock, sink }: StoreSetup| {
            let on_fatal = Arc::new(|reason: &str| panic!("the store failed: {reason}"));
            let options = SqliteOptions { dir: dir.clone(), id_key, clock, sink, on_fatal };
            Store::open_sqlite(options).map_err(|e| e.to_string())
        }
    };
    check(LISTS, |runtime, story| {
        let dir = Dir::new();
        runtime.block_on(compare_store(story, open(dir.0.clone())))
    });
}

#[test]
fn a_store_in_postgresql_behaves_like_the_model() {
    let cluster = postgres::shared();
    let open = async |StoreSetup { id_key, clock, sink }: StoreSetup| {
        let on_fatal = Arc::new(|reason: &str| panic!("the store failed: {reason}"));
        let options = PostgresOptions {
            url: cluster.url(&cluster.database()),
            id_key,
            clock: Some(clock),
            monotonic_clock: None,
            node: NodeId(1),
            sink,
            follows: Arc::new(|_| true),
            on_fatal,
            allow_fsync_off: true,
            history: KnownHistories::default(),
        };
        Store::open_postgres(options).await.map_err(|e| e.to_string())
    };
    check(LISTS, |runtime, story| runtime.block_on(compare_store(story, open)));
}

#[test]
fn slots_in_redis_behave_like_the_reference() {
    let redis = Redis::start();
    check(SLOT_LISTS, |runtime, story| {
        runtime.block_on(compare_slots(story, async || Slots::redis(redis.options()).await))
    });
}
