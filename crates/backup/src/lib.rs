//! The continuous backup of an embedded store, to a directory or a bucket.
//!
//! A *generation* is an unbroken sequence of commits. It has *bases*, which are copies of the whole
//! store, and *segments*, which have the pages that one or more commits changed. A restore needs
//! one base and the segments after it. [`names`] defines the names of the objects.
//!
//! Sales never wait for the target. While the target fails, changed pages stay in memory. If these
//! pages reach a size limit, the server drops them and begins a new generation. The server also
//! begins a new generation at each start.

mod base;
mod generation_run;
mod key;
mod names;
mod restore;
mod retention;
mod space;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorbuster_store::{BackupFile, CommitBuffer, Segment, TakenPages};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use key::BackupKey;
pub use restore::{ContinuousRestoreError, RestoredCopy, restore, restore_part_paths};
pub use space::{check_space, is_on_disk_of};
pub use target::{BackupPlace, BackupTarget, PlaceError, TargetError};

use doorbuster_base::clock::Clock;
use generation_run::{Failures, Gap, GenerationRun};
use names::Generation;

/// The time between two writes of changed pages to the target.
const COPY_INTERVAL: Duration = Duration::from_millis(250);
/// How long the write of a small object may take. See [`write_within`] for other objects.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The time limit for the write of an object is one second longer for every `BYTES_PER_SECOND`
/// bytes of the object.
const BYTES_PER_SECOND: usize = 1024 * 1024;
/// How long the server may take to find the newest generation, to delete its incomplete files, and
/// to create a new generation.
const LIST_WITHIN: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long a stopping server may take to write the last commits.
const LAST_WRITE_WITHIN: Duration = Duration::from_secs(2);

/// The continuous backup of one server.
pub struct ContinuousBackup {
    /// The commits that the backup does not have yet.
    pub copy: CommitBuffer,
    /// Where the backup is kept.
    pub target: BackupTarget,
    /// The directory of the store.
    pub data_dir: PathBuf,
    /// The files with the generated secrets.
    pub files: Vec<BackupFile>,
    /// The key that encrypts the objects, if they are encrypted.
    pub key: Option<Arc<BackupKey>>,
    /// How far back a restore can go.
    pub kept_for: Duration,
    /// The store's clock.
    pub clock: Clock,
}

impl ContinuousBackup {
    /// Runs until `stop` is cancelled, and then writes the last commits.
    pub async fn run(self, stop: CancellationToken) {
        let mut gap: Option<Gap> = None;
        loop {
            self.copy.restart();
            let begun = self.clock.now();
            let Gap { since, failing } = gap.take().unwrap_or(Gap { since: begun, failing: None });
            self.set_waiting(Some(since));
            let next = self.next_generation(failing, &stop).await;
            let Some((generation, failing)) = next else { return };
            tracing::info!(
                target = %self.target,
                generation = %generation,
                encrypted = self.key.is_some(),
                event = "backup.started",
                "started a new generation of the continuous backup"
            );
            gap = self.run_generation(&generation, Gap { since, failing }, &stop).await;
            if gap.is_none() {
                return;
            }
        }
    }

    /// Deletes the incomplete files of the target's newest generation, and creates a new
    /// generation. The new generation's name sorts after the names of all generations of the
    /// target. Repeats failed attempts until one succeeds, and then returns the new generation and
    /// the failures. Returns `None` if `stop` is cancelled first.
    async fn next_generation(
        &self,
        mut failing: Option<Failures>,
        stop: &CancellationToken,
    ) -> Option<(Generation, Option<Failures>)> {
        loop {
            let create = async {
                let newest = self.target.newest_generation().await?;
                // This call reads only the newest generation's directory, because the time limit
                // may be too short for all directories.
                if let Some(newest) = &newest {
                    self.target.delete_incomplete(newest).await?;
                }
                let generation = Generation::after(newest.as_ref(), self.clock.now());
                self.target.create_generation(&generation).await?;
                Ok::<_, TargetError>(generation)
            };
            let created = tokio::select! {
                () = stop.cancelled() => {
                    warn_incomplete("the new generation of the backup could not be created");
                    return None;
                }
                created = timeout(LIST_WITHIN, create) => created,
            };
            let error = match created {
                Ok(Ok(generation)) => return Some((generation, failing)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", LIST_WITHIN.as_secs()),
            };
            self.count_failure(&mut failing, &error);
            sleep(RETRY_AFTER).await;
        }
    }

    /// Counts a failure of the target. Logs only the first of several failures in a row.
    fn count_failure(&self, failing: &mut Option<Failures>, error: &str) {
        self.copy.set_progress(|progress| progress.failures += 1);
        if let Some((_, failures)) = failing {
            *failures += 1;
            return;
        }
        *failing = Some((Instant::now(), 1));
        tracing::warn!(
            error,
            target = %self.target,
            event = "backup.failed",
            "failed to write to the backup; sales continue, and the write is repeated"
        );
    }

    /// Writes one generation, until `stop` is cancelled or the server drops pages. The generation's
    /// first base closes the earlier gap `gap`. If the server drops pages, returns a new gap, and
    /// the caller must begin a new generation.
    async fn run_generation(
        &self,
        generation: &Generation,
        gap: Gap,
        stop: &CancellationToken,
    ) -> Option<Gap> {
        let (mut since, mut pending) = (gap.since, None);
        let mut run = GenerationRun::new(self, generation, gap);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(COPY_INTERVAL) => {}
            }
            run.update_base().await;
            // `take` removes the commits and the time of the oldest one from the buffer. The backup
            // lacks these commits until their segment is written, so this code reads the time
            // before `take`. If the buffer dropped pages, it no longer has the time, and `since`
            // keeps its value.
            let (is_broken, waiting_since) = (self.copy.is_broken(), run.waiting_since());
            if !is_broken {
                since = waiting_since.unwrap_or_else(|| self.clock.now());
            }
            self.set_waiting(if is_broken { Some(since) } else { waiting_since });
            match self.copy.take() {
                TakenPages::Nothing => {}
                TakenPages::Broken => return Some(run.fell_behind(since)),
                TakenPages::Segment(segment) => {
                    tokio::select! {
                        () = stop.cancelled() => {
                            // The server's stop interrupted the write, so `write_last` repeats the
                            // write.
                            pending = Some(segment);
                            break;
                        }
                        is_written = run.write(&segment, since) => {
                            if !is_written {
                                return Some(run.fell_behind(since));
                            }
                        }
                    }
                }
            }
            if !self.copy.is_broken() {
                self.set_waiting(run.waiting_since());
            }
        }
        if let Err(error) = self.write_last(&mut run, generation, pending).await {
            warn_incomplete(&error);
        }
        None
    }

    /// Writes the remaining commits when the server stops. Fails if the backup still lacks commits.
    /// Also fails if the generation has no base, because segments alone are useless.
    async fn write_last(
        &self,
        run: &mut GenerationRun<'_>,
        generation: &Generation,
        pending: Option<Segment>,
    ) -> Result<(), String> {
        let (last, is_broken) = match self.copy.take() {
            TakenPages::Segment(segment) => (Some(segment), false),
            TakenPages::Nothing => (None, false),
            TakenPages::Broken => (None, true),
        };
        let write = async {
            for segment in pending.iter().chain(&last) {
                let name = names::segment(generation, segment.first, segment.at);
                self.target.put(&name, self.encode(segment)?).await?;
            }
            Ok::<_, TargetError>(())
        };
        match timeout(LAST_WRITE_WITHIN, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no answer within {} s", LAST_WRITE_WITHIN.as_secs())),
        }
        if is_broken {
            return Err("the backup fell behind and dropped changes".to_owned());
        }
        if !run.has_base().await {
            return Err("the copy of the store was not complete".to_owned());
        }
        Ok(())
    }

    fn encode(&self, segment: &Segment) -> std::io::Result<Bytes> {
        let bytes = segment.encode();
        let Some(key) = &self.key else { return Ok(bytes.into()) };
        Ok(key.encrypt(&bytes)?.into())
    }

    fn set_waiting(&self, since: Option<doorbuster_core::Millis>) {
        self.copy.set_progress(|progress| progress.waiting_since = since);
    }
}

/// How long the write of an object of this size may take.
const fn write_within(bytes: usize) -> Duration {
    Duration::from_secs(WRITE_WITHIN.as_secs() + (bytes / BYTES_PER_SECOND) as u64)
}

fn warn_incomplete(error: &str) {
    tracing::warn!(
        error,
        event = "backup.incomplete",
        "failed to write the last commits to the backup at shutdown; the data directory has these \
         commits"
    );
}
