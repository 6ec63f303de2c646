//! The continuous backup of an embedded store, to a directory or a bucket.
//!
//! A *generation* is one unbroken sequence of commits. A generation has *bases* and *segments*. A
//! base is a copy of the whole store. A segment has the pages of the store's file that one or more
//! commits changed. To restore the store's state at a time, a base from before that time and the
//! segments up to that time are enough. [`names`] defines the names of the objects.
//!
//! The target may fail at any time. Sales never wait for the target. While the target fails,
//! changed pages stay in memory. If the size of these pages reaches a limit, the server drops the
//! pages and begins a new generation. A new generation also begins when the server starts.

mod base;
mod key;
mod names;
mod restore;
mod retention;
mod target;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use doorbuster_store::{BackupFile, CommitBuffer, Segment, TakenPages};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use key::BackupKey;
pub use restore::{ContinuousRestoreError, RestoredCopy, restore};
pub use target::{BackupPlace, BackupTarget, PlaceError, TargetError};

use base::{BaseBackup, BaseMaker};
use doorbuster_base::clock::Clock;
use names::Generation;

/// How often changed pages are written to the target.
const COPY_INTERVAL: Duration = Duration::from_millis(250);
/// How long the write of a small object may take. A write that takes longer counts as failed.
/// [`write_within`] returns the limit for an object of any size.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// For each group of this many bytes, the write of an object may take one second longer.
const BYTES_PER_SECOND: usize = 1024 * 1024;
/// How long the list of the target's objects may take. A list that takes longer counts as failed.
const LIST_WITHIN: Duration = Duration::from_secs(60);
/// The pause after a failed write.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How long the server may take to write the last commits to the target when it stops.
const LAST_WRITE_WITHIN: Duration = Duration::from_secs(2);
/// The number of segments after which a generation gets a new base. So a restore never has to read
/// many segments.
const SEGMENTS_FOR_BASE: u64 = 2_000;
/// A generation gets a new base when its segments since the last base have at least this size in
/// bytes. The segments must also be at least as large as that base.
const SEGMENT_BYTES_FOR_BASE: u64 = 64 * 1024 * 1024;
/// The pause after a failed attempt to make a base.
const BASE_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The continuous backup of one server.
pub struct ContinuousBackup {
    /// The commits of the store that the backup does not have yet.
    pub copy: CommitBuffer,
    /// Where the backup is kept.
    pub target: BackupTarget,
    /// The directory of the store.
    pub data_dir: PathBuf,
    /// The files with the generated secrets.
    pub files: Vec<BackupFile>,
    /// The key that encrypts the objects. If it is `None`, the objects are not encrypted.
    pub key: Option<Arc<BackupKey>>,
    /// For how long the backup keeps old states. A restore can choose any time within this period.
    pub kept_for: Duration,
    /// The store's clock.
    pub clock: Clock,
}

impl ContinuousBackup {
    /// Runs until `stop` is cancelled, and then writes the last commits.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            self.copy.restart();
            self.set_waiting(Some(self.clock.now()));
            let Some((generation, failing)) = self.next_generation(&stop).await else { return };
            tracing::info!(
                target = %self.target,
                generation = %generation,
                encrypted = self.key.is_some(),
                event = "backup.started",
                "started a new generation of the continuous backup"
            );
            if !self.run_generation(&generation, failing, &stop).await {
                return;
            }
        }
    }

    /// Returns a new generation. Its name sorts after all generations of the target. So the names
    /// of the target's objects are read first. Repeats this until the target answers. Also returns
    /// the failures until then. Returns `None` if `stop` is cancelled first.
    async fn next_generation(
        &self,
        stop: &CancellationToken,
    ) -> Option<(Generation, Option<Failures>)> {
        let mut failing = None;
        loop {
            let listed = tokio::select! {
                () = stop.cancelled() => {
                    warn_incomplete("the names of the backup's objects could not be read");
                    return None;
                }
                listed = timeout(LIST_WITHIN, self.target.list()) => listed,
            };
            let error = match listed {
                Ok(Ok(names)) => {
                    let generations = names.iter().filter_map(|name| names::parse(name));
                    let newest = generations.map(|(generation, _)| generation).max();
                    let generation = Generation::after(newest.as_ref(), self.clock.now());
                    return Some((generation, failing));
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", LIST_WITHIN.as_secs()),
            };
            self.count_failure(&mut failing, &error);
            sleep(RETRY_AFTER).await;
        }
    }

    /// Counts a failure. Logs only the first of several failures in a row.
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

    /// Writes one generation. Returns true if the server dropped pages. In that case, the caller
    /// must begin a new generation.
    async fn run_generation(
        &self,
        generation: &Generation,
        failing: Option<Failures>,
        stop: &CancellationToken,
    ) -> bool {
        let mut run = GenerationRun::new(self, generation, failing);
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(COPY_INTERVAL) => {}
            }
            run.tend_base().await;
            // The backup lacks the taken commits until their segment is written, but `take` forgets
            // the time of the oldest of these commits. So this time is recorded before `take`.
            self.set_waiting(run.waiting_since());
            match self.copy.take() {
                TakenPages::Nothing => {}
                TakenPages::Broken => {
                    tracing::warn!(
                        event = "backup.fell_behind",
                        "the backup fell behind and dropped changes; a new base follows"
                    );
                    return true;
                }
                TakenPages::Segment(segment) => {
                    tokio::select! {
                        () = stop.cancelled() => {
                            // The stop interrupted the write, so `write_last` repeats it.
                            self.write_last(generation, Some(segment)).await;
                            return false;
                        }
                        () = run.write(&segment) => {}
                    }
                }
            }
            self.set_waiting(run.waiting_since());
        }
        self.write_last(generation, None).await;
        false
    }

    /// Writes the remaining commits when the server stops.
    async fn write_last(&self, generation: &Generation, pending: Option<Segment>) {
        let last = match self.copy.take() {
            TakenPages::Segment(segment) => Some(segment),
            TakenPages::Nothing | TakenPages::Broken => None,
        };
        let write = async {
            for segment in pending.iter().chain(&last) {
                let name = names::segment(generation, segment.first, segment.at);
                self.target.put(&name, self.encode(segment)?).await?;
            }
            Ok::<_, TargetError>(())
        };
        let error = match timeout(LAST_WRITE_WITHIN, write).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", LAST_WRITE_WITHIN.as_secs()),
        };
        warn_incomplete(&error);
    }

    /// Returns the bytes of a segment's object, encrypted if the backup is encrypted.
    fn encode(&self, segment: &Segment) -> std::io::Result<Bytes> {
        let bytes = segment.encode();
        let Some(key) = &self.key else { return Ok(bytes.into()) };
        Ok(key.encrypt(&bytes)?.into())
    }

    fn set_waiting(&self, since: Option<doorbuster_core::Millis>) {
        self.copy.set_progress(|progress| progress.waiting_since = since);
    }
}

/// Returns how long the write of an object of this size may take.
const fn write_within(bytes: usize) -> Duration {
    Duration::from_secs(WRITE_WITHIN.as_secs() + (bytes / BYTES_PER_SECOND) as u64)
}

fn warn_incomplete(error: &str) {
    tracing::warn!(
        error,
        event = "backup.incomplete",
        "failed to write the last commits to the backup at shutdown; they are in the data directory"
    );
}

/// When the target began to fail, and the number of failures since that time.
type Failures = (Instant, u64);

/// A generation that is being written.
struct GenerationRun<'a> {
    backup: &'a ContinuousBackup,
    generation: &'a Generation,
    begun: doorbuster_core::Millis,
    /// The base that is being made.
    making: Option<JoinHandle<Result<BaseBackup, String>>>,
    /// The task that deletes old objects.
    deleting: Option<JoinHandle<()>>,
    bases: u64,
    base_bytes: u64,
    /// The number of segments since the newest base, and the total of their bytes.
    segments: u64,
    segment_bytes: u64,
    next_try: Instant,
    /// The failures since the last success. `None` if the last write succeeded.
    failing: Option<Failures>,
}

impl<'a> GenerationRun<'a> {
    fn new(
        backup: &'a ContinuousBackup,
        generation: &'a Generation,
        failing: Option<Failures>,
    ) -> Self {
        Self {
            backup,
            generation,
            begun: backup.clock.now(),
            making: None,
            deleting: None,
            bases: 0,
            base_bytes: 0,
            segments: 0,
            segment_bytes: 0,
            next_try: Instant::now(),
            failing,
        }
    }

    /// Returns the time since which the backup lacks commits. Until the first base is complete,
    /// this is the start of the generation. `None` means that the backup has every commit.
    fn waiting_since(&self) -> Option<doorbuster_core::Millis> {
        if self.bases == 0 { Some(self.begun) } else { self.backup.copy.oldest_at() }
    }

    /// If the copy of a base is done, records the new base. If a new base is due, starts its copy.
    /// The copy runs in a separate task, so the server can write segments at the same time.
    async fn tend_base(&mut self) {
        if let Some(making) = self.making.take_if(|making| making.is_finished()) {
            let made = making.await.unwrap_or_else(|error| Err(error.to_string()));
            match made {
                Ok(base) => {
                    self.bases += 1;
                    self.base_bytes = base.bytes;
                    (self.segments, self.segment_bytes) = (0, 0);
                    let generation = self.generation;
                    let bytes = base.bytes;
                    tracing::info!(%generation, bytes, event = "backup.base", "copied the store");
                    self.delete_old();
                }
                Err(error) => {
                    self.next_try = Instant::now() + BASE_RETRY_AFTER;
                    self.failed(&error);
                }
            }
        }
        let is_long = self.segments >= SEGMENTS_FOR_BASE
            || self.segment_bytes >= SEGMENT_BYTES_FOR_BASE.max(self.base_bytes);
        let is_due = self.bases == 0 || is_long;
        if is_due && self.making.is_none() && Instant::now() >= self.next_try {
            let backup = self.backup;
            let maker = BaseMaker {
                copy: backup.copy.clone(),
                target: backup.target.clone(),
                data_dir: backup.data_dir.clone(),
                files: backup.files.clone(),
                key: backup.key.clone(),
                clock: backup.clock.clone(),
                generation: self.generation.clone(),
            };
            self.making = Some(tokio::spawn(maker.make()));
        }
    }

    /// Starts a task that deletes old objects. The task is separate, so the deletion does not delay
    /// the writes of new commits.
    fn delete_old(&mut self) {
        if self.deleting.as_ref().is_some_and(|deleting| !deleting.is_finished()) {
            return;
        }
        let kept_ms = i64::try_from(self.backup.kept_for.as_millis()).unwrap_or(i64::MAX);
        let (target, kept_since) =
            (self.backup.target.clone(), self.backup.clock.now().0.saturating_sub(kept_ms));
        let delete = async move { retention::delete_old(&target, kept_since).await };
        self.deleting = Some(tokio::spawn(delete));
    }

    /// Writes a segment. Repeats the write until it succeeds. If the server drops pages meanwhile,
    /// gives up, because a new generation must begin.
    async fn write(&mut self, segment: &Segment) {
        let name = names::segment(self.generation, segment.first, segment.at);
        let object = loop {
            match self.backup.encode(segment) {
                Ok(object) => break object,
                Err(error) => self.failed(&error.to_string()),
            }
            sleep(RETRY_AFTER).await;
        };
        let within = write_within(object.len());
        loop {
            let put = self.backup.target.put(&name, object.clone());
            let error = match timeout(within, put).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", within.as_secs()),
            };
            self.failed(&error);
            if self.backup.copy.is_broken() {
                return;
            }
            self.backup.set_waiting(Some(segment.at));
            sleep(RETRY_AFTER).await;
        }
        self.segments += 1;
        self.segment_bytes += object.len() as u64;
        self.backup.copy.set_progress(|progress| progress.copied_at = Some(segment.at));
        if let Some((since, failures)) = self.failing.take() {
            let for_secs = since.elapsed().as_secs();
            tracing::info!(
                for_secs,
                failures,
                event = "backup.continues",
                "the target of the backup works again"
            );
        }
    }

    fn failed(&mut self, error: &str) {
        self.backup.count_failure(&mut self.failing, error);
    }
}

impl Drop for GenerationRun<'_> {
    fn drop(&mut self) {
        if let Some(making) = &self.making {
            making.abort();
        }
        if let Some(deleting) = &self.deleting {
            deleting.abort();
        }
    }
}
