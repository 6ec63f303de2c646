//! Disasters of a PostgreSQL server: fills its disk, or replaces its data with a backup.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Postgres;
use crate::cluster::error::{ClusterError, ClusterErrorContext};
use crate::cluster::limits::{POLL_INTERVAL, READY_WITHIN};
use crate::cluster::process::Process;

impl Postgres {
    /// Fills the simulated disk of the server, or frees space on it. Fails if the server was
    /// created without a simulated disk.
    pub fn set_disk_full(&self, is_full: bool) -> Result<(), ClusterError> {
        let no_disk = || ClusterError::failed("filling the disk", "it cannot become full");
        self.disk.as_ref().ok_or_else(no_disk)?.set_full(is_full)
    }

    /// Returns how many times the server reported a full disk.
    pub fn disk_full_reports(&self) -> usize {
        let log = std::fs::read(self.cluster_dir.log_file(&self.start.name)).unwrap_or_default();
        String::from_utf8_lossy(&log).matches("No space left on device").count()
    }

    /// Waits until the server accepts connections. If the server ended, starts it and returns true.
    pub fn recover(&mut self) -> Result<bool, ClusterError> {
        let begun = Instant::now();
        while begun.elapsed() < READY_WITHIN {
            if !self.process.as_mut().is_some_and(Process::is_running) {
                return self.start().map(|()| true);
            }
            if self.psql("postgres", &["-c", "SELECT 1"]).is_ok() {
                return Ok(false);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Err(ClusterError::failed("waiting for PostgreSQL", "it did not recover"))
    }

    /// Copies the running server's data into a new directory of this name. [`Postgres::restore`]
    /// and [`Postgres::put_back`] use such a copy.
    pub fn back_up(&self, name: &str) -> Result<PathBuf, ClusterError> {
        let copy = self.dir().join(name);
        self.copy_of(self, &copy.display().to_string(), &[])?;
        Ok(copy)
    }

    /// Replaces the data of the stopped server with a copy that [`Postgres::back_up`] made. Starts
    /// the server on a new timeline. Its commits do not wait for a standby.
    pub fn restore(&mut self, copy: &Path) -> Result<(), ClusterError> {
        self.replace_data(copy)?;
        self.start_on_new_timeline()
    }

    /// Replaces the data of the stopped server with a copy that [`Postgres::back_up`] made. Starts
    /// the server on the old timeline, so that clients cannot detect the restore by the timeline.
    pub fn put_back(&mut self, copy: &Path) -> Result<(), ClusterError> {
        self.replace_data(copy)?;
        self.start()
    }

    fn replace_data(&self, copy: &Path) -> Result<(), ClusterError> {
        let what = || format!("restoring {}", copy.display());
        std::fs::remove_dir_all(&self.data).with_operation(what)?;
        std::fs::rename(copy, &self.data).with_operation(what)
    }

    /// Starts the stopped server on a new timeline. Its commits do not wait for a standby.
    pub fn start_on_new_timeline(&mut self) -> Result<(), ClusterError> {
        let what = || format!("recovering {}", self.data);
        let data = Path::new(&self.data);
        // PostgreSQL requires a `restore_command`, which fetches WAL for a recovery. This command
        // always fails, because the copy already contains all WAL that the recovery needs.
        for (name, text) in
            [("recovery.signal", ""), ("postgresql.auto.conf", "restore_command = 'false'\n")]
        {
            let file = data.join(name);
            std::fs::write(&file, text).with_operation(what)?;
            self.give(&file)?;
        }
        self.start()?;
        let what = || format!("recovering {}", self.data);
        let recovering = "SELECT pg_is_in_recovery()";
        let begun = Instant::now();
        while self.psql("postgres", &["-c", recovering])?.trim() != "f" {
            if begun.elapsed() > READY_WITHIN {
                return Err(ClusterError::failed(what(), "the recovery did not end"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }
}
