//! Writes one generation: its bases and its segments.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use doorbuster_core::Millis;
use doorbuster_store::Segment;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::base::{BaseBackup, BaseMaker};
use super::names::{self, Generation};
use super::{ContinuousBackup, RETRY_AFTER, retention, write_within};

/// A generation gets a new base after this many segments. This limits the time of a restore, which
/// must read all segments since its base.
const SEGMENTS_FOR_BASE: u64 = 2_000;
/// A generation gets a new base when the segments since the last base are large enough: at least
/// this many bytes, and at least as many bytes as the last base.
const SEGMENT_BYTES_FOR_BASE: u64 = 64 * 1024 * 1024;
const BASE_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Old objects are deleted after each new base, and at least this often.
const DELETE_EVERY: Duration = Duration::from_secs(3_600);

/// When the target began to fail, and the number of failures since that time.
pub(super) type Failures = (Instant, u64);

/// The backup lacks the commits since the time `since`, because the server has just started or has
/// dropped the pages of these commits. The first base of the next generation closes the gap.
pub(super) struct Gap {
    pub(super) since: Millis,
    pub(super) failing: Option<Failures>,
}

pub(super) struct GenerationRun<'a> {
    backup: &'a ContinuousBackup,
    generation: &'a Generation,
    /// Until the first base is complete, the backup lacks the commits since this time.
    lacks_since: Millis,
    making: Option<JoinHandle<Result<BaseBackup, String>>>,
    deleting: Option<JoinHandle<()>>,
    bases: u64,
    base_bytes: u64,
    /// The number of segments since the newest base, and their total bytes.
    pub(super) segments: u64,
    segment_bytes: u64,
    next_try: Instant,
    /// When old objects are deleted next. If a new base is complete earlier, they are deleted then.
    pub(super) next_deletion: Instant,
    /// The failures since the last successful write of a segment.
    failing: Option<Failures>,
    /// Whether the server has logged that it keeps old generations of another store.
    is_other_store_reported: Arc<AtomicBool>,
    /// Whether the last attempt to make a base failed. Writes of segments do not change this.
    is_base_failing: bool,
}

impl<'a> GenerationRun<'a> {
    pub(super) fn new(
        backup: &'a ContinuousBackup,
        generation: &'a Generation,
        Gap { since, failing }: Gap,
    ) -> Self {
        Self {
            backup,
            generation,
            lacks_since: since,
            making: None,
            deleting: None,
            bases: 0,
            base_bytes: 0,
            segments: 0,
            segment_bytes: 0,
            next_try: Instant::now(),
            next_deletion: Instant::now() + DELETE_EVERY,
            failing,
            is_other_store_reported: Arc::default(),
            is_base_failing: false,
        }
    }

    /// Returns the time since which the backup lacks commits. Returns `None` if the backup has all
    /// commits.
    pub(super) fn waiting_since(&self) -> Option<Millis> {
        if self.bases == 0 { Some(self.lacks_since) } else { self.backup.copy.oldest_at() }
    }

    /// Logs that the server dropped pages, and ends this generation. Returns the gap, which begins
    /// at `since`. The next generation closes the gap.
    pub(super) fn fell_behind(mut self, since: Millis) -> Gap {
        tracing::warn!(
            event = "backup.fell_behind",
            "the backup fell behind and dropped changes; a full copy follows"
        );
        Gap { since, failing: self.failing.take() }
    }

    /// Records a completed base, and starts a new base if one is needed. The new copy runs in a
    /// separate task, so the server can write segments meanwhile.
    pub(super) async fn update_base(&mut self) {
        if let Some(making) = self.making.take_if(|making| making.is_finished()) {
            let made = making.await.unwrap_or_else(|error| Err(error.to_string()));
            match made {
                Ok(base) => {
                    self.bases += 1;
                    self.base_bytes = base.bytes;
                    (self.segments, self.segment_bytes) = (0, 0);
                    self.is_base_failing = false;
                    let generation = self.generation;
                    let bytes = base.bytes;
                    tracing::info!(%generation, bytes, event = "backup.base", "copied the store");
                    self.delete_old();
                }
                Err(error) => {
                    self.next_try = Instant::now() + BASE_RETRY_AFTER;
                    self.base_failed(&error);
                }
            }
        }
        if Instant::now() >= self.next_deletion {
            self.delete_old();
        }
        let is_long = self.segments >= SEGMENTS_FOR_BASE
            || self.segment_bytes >= SEGMENT_BYTES_FOR_BASE.max(self.base_bytes);
        let is_due = self.bases == 0 || is_long;
        let now = self.backup.clock.now();
        self.backup.copy.set_progress(|progress| {
            progress.base_due_since = is_due.then(|| progress.base_due_since.unwrap_or(now));
        });
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

    /// Returns whether this generation has a complete base, even if [`Self::update_base`] has not
    /// recorded this base yet.
    pub(super) async fn has_base(&mut self) -> bool {
        if let Some(making) = self.making.take_if(|making| making.is_finished()) {
            self.bases += u64::from(matches!(making.await, Ok(Ok(_))));
        }
        self.bases > 0
    }

    /// Deletes old objects in a separate task, so that the deletion does not delay the writes of
    /// new commits.
    fn delete_old(&mut self) {
        self.next_deletion = Instant::now() + DELETE_EVERY;
        if self.deleting.as_ref().is_some_and(|deleting| !deleting.is_finished()) {
            return;
        }
        let kept_ms = i64::try_from(self.backup.kept_for.as_millis()).unwrap_or(i64::MAX);
        let (target, kept_since) =
            (self.backup.target.clone(), self.backup.clock.now().0.saturating_sub(kept_ms));
        let is_reported = self.is_other_store_reported.clone();
        let delete = async move { retention::delete_old(&target, kept_since, &is_reported).await };
        self.deleting = Some(tokio::spawn(delete));
    }

    /// Writes a segment, and repeats the write until it succeeds. `since` is the time since which
    /// the backup lacks commits. If the server drops pages meanwhile, or if the generation's
    /// directory was removed, returns `false`, and the caller must begin a new generation.
    pub(super) async fn write(&mut self, segment: &Segment, since: Millis) -> bool {
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
                Ok(Err(error)) => {
                    if error.is_missing && self.backup.target.has_lost(self.generation).await {
                        self.backup.copy.break_off();
                    }
                    error.to_string()
                }
                Err(_) => format!("no answer within {} s", within.as_secs()),
            };
            self.failed(&error);
            if self.backup.copy.is_broken() {
                return false;
            }
            self.backup.set_waiting(Some(since));
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
        true
    }

    fn failed(&mut self, error: &str) {
        self.backup.count_failure(&mut self.failing, error);
    }

    /// Counts a failure to make a base. Logs only the first of several failures in a row.
    fn base_failed(&mut self, error: &str) {
        self.backup.copy.set_progress(|progress| progress.failures += 1);
        if !std::mem::replace(&mut self.is_base_failing, true) {
            tracing::warn!(
                error,
                target = %self.backup.target,
                event = "backup.base_failed",
                "failed to copy the store to the backup; sales continue, and the copy is repeated"
            );
        }
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
