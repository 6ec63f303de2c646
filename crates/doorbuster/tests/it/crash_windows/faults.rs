//! Machine faults for one server: a wall clock that steps, and a disk that is slow, full or
//! failing. See faults.c.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::fixture::ServerFixture;
use crate::test_server::TempDir;
use doorbuster_testkit::tool;

/// The index of each 64-bit word in the page of memory that the test shares with the server.
/// faults.c has the same indices.
const LOADED: u64 = 0;
const WALL_AHEAD_MS: u64 = 1;
const SYNC_DELAY_MS: u64 = 2;
const SYNC_FAILS_ONCE: u64 = 3;
const SYNCS_DONE: u64 = 4;
const SYNCS_AFTER: u64 = 6;
const SYNC_LINGER_MS: u64 = 7;
const LOG_SYNCED: u64 = 8;
const LOCKS: u64 = 9;
const DISK_FULL: u64 = 10;
const MAIN_SYNC_FAILS_ONCE: u64 = 11;
const MAIN_SYNCS_FAILED: u64 = 12;
const MAIN_SYNCS_AFTER: u64 = 13;
const WRITES_FAIL: u64 = 14;
const READS_FAIL: u64 = 15;
const WORDS: u64 = 16;

/// Controls the faults of one server's machine.
pub struct MachineFaults(File);

impl MachineFaults {
    /// Starts a server whose machine can fail. At first, no fault is set.
    pub fn fixture(settings: &[(&str, &str)]) -> (ServerFixture, Self) {
        let temp_dir = TempDir::new();
        let (library, page) = (temp_dir.join("faults.so"), temp_dir.join("faults"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/crash_windows/faults.c");
        let built = Command::new(tool::program("cc"))
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(source)
            .arg("-ldl")
            .output();
        let built = built.expect("a C compiler");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&page)
            .expect("a new file");
        file.set_len(WORDS * 8).expect("a small file");
        let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        let (library, page) = (text(&library), text(&page));
        let faults = [("LD_PRELOAD", library.as_str()), ("FAULTS", page.as_str())];
        let fixture =
            ServerFixture::with_launcher(temp_dir, &[settings, &faults].concat(), r#"exec "$@""#);
        let faults = Self(file);
        assert_eq!(faults.get(LOADED), 1, "the fault library is not loaded");
        (fixture, faults)
    }

    fn get(&self, word: u64) -> i64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, word * 8).expect("the page is there");
        i64::from_ne_bytes(bytes)
    }

    fn set(&self, word: u64, value: i64) {
        self.0.write_all_at(&value.to_ne_bytes(), word * 8).expect("the page is there");
    }

    /// Sets how far the wall clock is ahead of the true time.
    pub fn wall_ahead_ms(&self, ms: i64) {
        self.set(WALL_AHEAD_MS, ms);
    }

    /// Delays each sync by this time, including a sync in progress. Zero also ends the delay of a
    /// sync in progress.
    pub fn slow_disk(&self, by: Duration) {
        self.set(SYNC_DELAY_MS, i64::try_from(by.as_millis()).expect("a short time"));
    }

    /// Delays the return of each sync, including a sync in progress. During the delay, the data is
    /// on the disk, but the program waits for the result of the sync.
    pub fn linger(&self, after: Duration) {
        self.set(SYNC_LINGER_MS, i64::try_from(after.as_millis()).expect("a short time"));
    }

    /// Sets whether the disk is full. On a full disk, the store's files cannot grow.
    pub fn full_disk(&self, is_full: bool) {
        self.set(DISK_FULL, is_full.into());
    }

    /// Makes only the next sync fail.
    pub fn fail_next_sync(&self) {
        self.set(SYNC_FAILS_ONCE, 1);
    }

    /// Makes only the next sync of the store's main file fail. A sync of the log does not fail.
    pub fn fail_next_sync_of_main(&self) {
        self.set(MAIN_SYNC_FAILS_ONCE, 1);
    }

    /// Returns the number of failed syncs of the main file.
    pub fn syncs_of_main_failed(&self) -> i64 {
        self.get(MAIN_SYNCS_FAILED)
    }

    /// Returns the number of syncs of the main file that came after a failed sync of that file.
    pub fn syncs_of_main_after_failure(&self) -> i64 {
        self.get(MAIN_SYNCS_AFTER)
    }

    /// Sets whether every write to the store's files fails.
    pub fn fail_writes(&self, is_so: bool) {
        self.set(WRITES_FAIL, is_so.into());
    }

    /// Sets whether every read of the store's files fails.
    pub fn fail_reads(&self, is_so: bool) {
        self.set(READS_FAIL, is_so.into());
    }

    /// Returns the number of syncs that have succeeded.
    pub fn syncs(&self) -> i64 {
        self.get(SYNCS_DONE)
    }

    /// Returns the number of syncs that came after a failed sync.
    pub fn syncs_after_failure(&self) -> i64 {
        self.get(SYNCS_AFTER)
    }

    /// Returns how often the server has taken or released a file lock. Each read or write of the
    /// store's files takes a lock.
    pub fn locks(&self) -> i64 {
        self.get(LOCKS)
    }

    /// Simulates a power cut for the store of a killed server: removes the unsynced bytes of the
    /// store's log. Returns the number of removed bytes.
    pub fn cut_power(&self, data_dir: &Path) -> u64 {
        let log = data_dir.join("doorbuster.sqlite3-wal");
        let Ok(file) = File::options().write(true).open(log) else { return 0 };
        let written = file.metadata().expect("the log exists").len();
        let kept = written.min(self.get(LOG_SYNCED).unsigned_abs());
        file.set_len(kept).expect("the log is truncated");
        written - kept
    }
}
