//! A stopwatch for tests of a server's speed. The stopwatch does not count the time for which the
//! whole machine paused.
//!
//! On a shared machine, a test or its disk can stop for seconds. A background thread wakes up at a
//! fixed interval, and sometimes syncs a byte to the disk. If the thread wakes up late, or if a
//! sync is slow, the delay counts as a pause.
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

const CHECK_INTERVAL: Duration = Duration::from_millis(10);
const CHECKS_PER_SYNC: u32 = 25;
/// A delay counts as a pause of the machine only if it is at least this long.
const STALL: Duration = Duration::from_millis(250);
/// The stopwatch counts at least the real time divided by this number, however long the pauses are.
/// So a test that waits for a measured time always ends.
const COUNTS_AT_LEAST: u32 = 10;

/// The time of the thread's last measurement, and the sum of all earlier pauses.
struct Seen {
    last: Instant,
    stalls: Duration,
}

impl Seen {
    /// Returns the sum of all pauses. If a pause has not ended, its time so far is included.
    fn stalls(&self, now: Instant) -> Duration {
        let waits = now.saturating_duration_since(self.last);
        self.stalls + if waits < STALL { Duration::ZERO } else { waits }
    }
}

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(|| {
    // The thread ends with the test program.
    std::thread::spawn(look);
    Mutex::new(Seen { last: Instant::now(), stalls: Duration::ZERO })
});

fn look() {
    let path =
        std::env::temp_dir().join(format!("doorbuster-watch-{:016x}", rand::random::<u64>()));
    let mut file = File::create_new(&path).expect("a fresh name in the temporary directory");
    // The open file stays usable without its name. So no file is left when the program ends.
    std::fs::remove_file(&path).expect("the file exists");
    for checks in 0_u32.. {
        std::thread::sleep(CHECK_INTERVAL);
        if checks.is_multiple_of(CHECKS_PER_SYNC) {
            let synced = file
                .seek(SeekFrom::Start(0))
                .and_then(|_| file.write_all(b"x"))
                .and_then(|()| file.sync_all());
            synced.expect("a byte can be written");
        }
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        (seen.stalls, seen.last) = (seen.stalls(now), now);
    }
}

fn stalls(now: Instant) -> Duration {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).stalls(now)
}

/// A stopwatch that leaves out pauses of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    begun: Instant,
    stalls: Duration,
}

impl Stopwatch {
    /// Starts a stopwatch.
    pub fn start() -> Self {
        let begun = Instant::now();
        Self { begun, stalls: stalls(begun) }
    }

    /// Returns the measured time.
    pub fn elapsed(&self) -> Duration {
        let now = Instant::now();
        let all = now - self.begun;
        all.saturating_sub(stalls(now).saturating_sub(self.stalls)).max(all / COUNTS_AT_LEAST)
    }
}
