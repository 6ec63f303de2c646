//! Machine faults for one server: a wall clock that steps, and a disk that is slow, full or
//! failing. See faults.c.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::fixture::ServerFixture;
use crate::test_server::TempDir;

/// Words of the page that both processes map, as faults.c numbers them.
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

/// What is wrong with a server's machine.
pub struct MachineFaults(File);

impl MachineFaults {
    /// A server whose machine can fail, healthy for now.
    pub fn fixture(settings: &[(&str, &str)]) -> (ServerFixture, Self) {
        let temp_dir = TempDir::new();
        let (library, page) = (temp_dir.join("faults.so"), temp_dir.join("faults"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/windows/faults.c");
        // Whatever linked this test can compile a page of C.
        let built = Command::new("cc")
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
            .expect("a fresh name");
        file.set_len(WORDS * 8).expect("a small file");
        let text = |path: &Path| path.to_str().expect("it is text").to_owned();
        let (library, page) = (text(&library), text(&page));
        let faults = [("LD_PRELOAD", library.as_str()), ("FAULTS", page.as_str())];
        let fixture =
            ServerFixture::with_launcher(temp_dir, &[settings, &faults].concat(), r#"exec "$@""#);
        let faults = Self(file);
        assert_eq!(faults.get(LOADED), 1, "the server was not started with its faults");
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

    /// From now on the wall clock is this far ahead of the true time.
    pub fn wall_ahead_ms(&self, ms: i64) {
        self.set(WALL_AHEAD_MS, ms);
    }

    /// From now on each sync takes this much longer, also one that is under way: none at all lets
    /// it go.
    pub fn slow_disk(&self, by: Duration) {
        self.set(SYNC_DELAY_MS, i64::try_from(by.as_millis()).expect("a short time"));
    }

    /// From now on each sync returns only so long after it is done, also one that waits for that:
    /// what it wrote is on the disk, and nobody knows.
    pub fn linger(&self, after: Duration) {
        self.set(SYNC_LINGER_MS, i64::try_from(after.as_millis()).expect("a short time"));
    }

    /// From now on no file of the store can grow; or it can again.
    pub fn full_disk(&self, is_full: bool) {
        self.set(DISK_FULL, is_full.into());
    }

    /// The next sync fails, and only that one.
    pub fn fail_next_sync(&self) {
        self.set(SYNC_FAILS_ONCE, 1);
    }

    /// The next sync of the store's main file fails, and only that one; syncs of its log do not.
    pub fn fail_next_sync_of_main(&self) {
        self.set(MAIN_SYNC_FAILS_ONCE, 1);
    }

    /// Syncs of the main file that failed so.
    pub fn syncs_of_main_failed(&self) -> i64 {
        self.get(MAIN_SYNCS_FAILED)
    }

    /// Syncs of the main file that were asked for after one of them had failed so.
    pub fn syncs_of_main_after_failure(&self) -> i64 {
        self.get(MAIN_SYNCS_AFTER)
    }

    /// From now on nothing can be written to the store's files; or it can again.
    pub fn fail_writes(&self, is_so: bool) {
        self.set(WRITES_FAIL, is_so.into());
    }

    /// From now on nothing can be read from the store's files; or it can again.
    pub fn fail_reads(&self, is_so: bool) {
        self.set(READS_FAIL, is_so.into());
    }

    /// Syncs that succeeded so far.
    pub fn syncs(&self) -> i64 {
        self.get(SYNCS_DONE)
    }

    /// Syncs that were tried after one had failed.
    pub fn syncs_after_failure(&self) -> i64 {
        self.get(SYNCS_AFTER)
    }

    /// Locks of files that were taken or given back so far: the store's files are read and written
    /// under them.
    pub fn locks(&self) -> i64 {
        self.get(LOCKS)
    }

    /// What a power cut does to the store of a server that was killed: what was written to its log
    /// and not synced is gone. How many bytes.
    pub fn cut_power(&self, data_dir: &Path) -> u64 {
        let log = data_dir.join("doorbuster.sqlite3-wal");
        let Ok(file) = File::options().write(true).open(log) else { return 0 };
        let written = file.metadata().expect("it is there").len();
        let kept = written.min(self.get(LOG_SYNCED).unsigned_abs());
        file.set_len(kept).expect("it can be cut");
        written - kept
    }
}
