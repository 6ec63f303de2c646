//! The writer: one thread that owns the connection that writes, and commits whole groups of jobs.
//!
//! It takes the first job that waits and whatever waits behind it up to a bound, commits them
//! together, looks whether the files are still where they were, tells the sink what changed, and
//! only then answers. While a commit is on its way to the disk, further jobs gather: the busier the
//! store, the larger its groups.
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::contract::StoreError;
use crate::limits::{
    CHECKPOINT_LAST_PAGES, CHECKPOINT_LAST_PART, CHECKPOINT_PAGES, FILES_CHECK_EVERY,
    GROUP_JOBS_MAX, GROUP_WEIGHT_MAX, LOG_PAUSE, STATEMENTS_MAX,
};

use super::failure::Failure;
use super::open_files::OpenFiles;
use super::shared::Shared;
use super::statements::Statements;
use super::txn::Txn;

/// Answers the caller once the fate of the commit is known.
pub(super) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs in a transaction, or hears why it cannot.
pub(super) type Run =
    Box<dyn FnOnce(Result<&mut Txn<'_>, StoreError>) -> Result<Reply, StoreError> + Send>;

/// What a handle sends to the writer.
pub(super) enum Job {
    /// Something to do.
    Write {
        /// How many tickets it resolves; at least 1.
        weight: usize,
        /// The work.
        run: Run,
    },
    /// Finish what came before, then end.
    Stop,
}

/// Everything that the writer's thread owns.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) jobs: Receiver<Job>,
    pub(super) shared: Arc<Shared>,
    /// Wakes the thread that carries pages of the log into the database.
    pub(super) checkpoint: SyncSender<()>,
    /// That thread.
    pub(super) checkpointer: JoinHandle<()>,
    /// The file that it syncs, held by whoever has a connection to it.
    pub(super) data: Arc<File>,
    /// The files that nobody may take away meanwhile.
    pub(super) files: OpenFiles,
    /// The lock on the directory, given free when everything else ended.
    pub(super) lock: File,
}

impl Writer {
    /// Works until it is stopped or every handle is gone.
    pub(super) fn run(self) {
        let Self { conn, jobs, shared, checkpoint, checkpointer, data, files, lock } = self;
        let ends = WriterGuard(Arc::clone(&shared));
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let mut txn = Txn::new(Statements::new(&conn));
        while let Some((weight, run)) = next_job(&jobs, &mut txn, &files, &shared) {
            let (group, stop) = collect_group(&jobs, weight, run);
            match shared.health() {
                Ok(()) => commit(&mut txn, group, &files, &shared, &checkpoint),
                Err(why) => fail_group(group, &why),
            }
            if stop {
                break;
            }
        }
        drop(txn);
        shared.stop_accepting();
        let closed = StoreError::closed();
        while let Ok(job) = jobs.try_recv() {
            if let Job::Write { run, .. } = job {
                fail_group(vec![run], &closed);
            }
        }
        drop(checkpoint);
        if checkpointer.join().is_err() {
            tracing::warn!("the thread that carries the write-ahead log panicked");
        }
        if shared.health().is_ok()
            && let Err(error) = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        {
            tracing::warn!(%error, "the write-ahead log stays; the next start reads it");
        }
        if let Err((_, error)) = conn.close() {
            tracing::warn!(%error, "the store's file was not closed cleanly; the next start recovers it");
        }
        drop(data);
        drop(ends);
        drop(lock);
    }
}

/// Whatever way the writer ends, a panic too, those who still ask hear of it.
struct WriterGuard(Arc<Shared>);

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the writer panicked");
        }
        self.0.stop_accepting();
    }
}

/// Waits for the first job of a group; `None` when no more shall come. Without work it looks after
/// the files now and then.
fn next_job(
    jobs: &Receiver<Job>,
    txn: &mut Txn<'_>,
    files: &OpenFiles,
    shared: &Shared,
) -> Option<(usize, Run)> {
    loop {
        match jobs.recv_timeout(FILES_CHECK_EVERY) {
            Ok(Job::Write { weight, run }) => return Some((weight, run)),
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                if shared.health().is_ok()
                    && let Err(gone) = check_in_place(txn, files)
                {
                    shared.store_error(gone);
                }
            }
        }
    }
}

/// Looks after the files. Where one is gone, what the log still holds is carried into the store's
/// own file, which may be found again: the log lives as long as this process.
fn check_in_place(txn: &mut Txn<'_>, files: &OpenFiles) -> Result<(), Failure> {
    files.check_in_place().inspect_err(|_| {
        let carried = txn.checkpoint_all();
        if !matches!(carried, Ok(true)) {
            tracing::warn!(
                ?carried,
                "the write-ahead log of a store that is gone could not be carried into its file"
            );
        }
    })
}

fn collect_group(jobs: &Receiver<Job>, mut weight: usize, first: Run) -> (Vec<Run>, bool) {
    let mut group = vec![first];
    while weight < GROUP_WEIGHT_MAX && group.len() < GROUP_JOBS_MAX {
        match jobs.try_recv() {
            Ok(Job::Write { weight: more, run }) => {
                weight += more;
                group.push(run);
            }
            Ok(Job::Stop) => return (group, true),
            Err(_) => break,
        }
    }
    (group, false)
}

fn fail_group(group: Vec<Run>, why: &StoreError) {
    for run in group {
        // A job that is refused answers its caller itself.
        let _ = run(Err(why.clone()));
    }
}

fn commit(
    txn: &mut Txn<'_>,
    group: Vec<Run>,
    files: &OpenFiles,
    shared: &Shared,
    checkpoint: &SyncSender<()>,
) {
    if let Err(failure) = txn.begin() {
        return fail_group(group, &shared.store_error(failure));
    }
    let mut replies = Vec::with_capacity(group.len());
    let mut group = group.into_iter();
    let mut failed = None;
    for run in group.by_ref() {
        txn.set_now((shared.clock)());
        match run(Ok(&mut *txn)) {
            Ok(reply) => replies.push(reply),
            Err(fatal) => {
                failed = Some(fatal);
                break;
            }
        }
    }
    let outcome = match failed {
        Some(why) => Err(why),
        None => {
            let committed = txn.commit().map_err(|f| Failure::Lost(f.to_string()));
            // What is in files that nobody finds again is told to nobody.
            let kept =
                committed.and_then(|committed| check_in_place(txn, files).map(|()| committed));
            kept.map_err(|f| shared.store_error(f))
        }
    };
    match outcome {
        Ok(committed) => {
            (shared.sink)(&committed);
            replies.into_iter().for_each(|reply| reply(Ok(())));
            limit_log(txn, shared, checkpoint);
        }
        Err(why) => {
            replies.into_iter().for_each(|reply| reply(Err(why.clone())));
            fail_group(group.collect(), &why);
        }
    }
}

/// Keeps the write-ahead log short: mostly beside the writer, the last pages by the writer itself,
/// since the log begins anew only when no page is left.
fn limit_log(txn: &mut Txn<'_>, shared: &Shared, checkpoint: &SyncSender<()>) {
    let tended = txn.log_pages().and_then(|(pages, carried)| {
        if pages < CHECKPOINT_PAGES || pages == carried {
            return Ok(());
        }
        let rest = pages - carried;
        if shared.is_checkpointing.load(Ordering::Acquire) {
            if rest >= shared.log_pages_max {
                std::thread::sleep(LOG_PAUSE);
            }
            return Ok(());
        }
        // Whoever carried it may have failed at that: then nothing is synced again.
        if shared.health().is_err() {
            return Ok(());
        }
        if rest <= CHECKPOINT_LAST_PAGES.max(pages / CHECKPOINT_LAST_PART) {
            return txn.checkpoint();
        }
        shared.is_checkpointing.store(true, Ordering::Release);
        // Gone means that the store is closing.
        let _ = checkpoint.try_send(());
        Ok(())
    });
    if let Err(failure) = tended {
        shared.store_error(failure);
    }
}
