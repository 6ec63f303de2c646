//! The writer: one thread that owns the connection that writes, and commits whole groups of jobs.
//!
//! It takes the first job that waits and whatever waits behind it up to a bound, commits them together, looks whether the files are still where they
//! were, tells the sink what changed, and only then answers. While a commit is on its way to the disk, further jobs gather: the busier the store, the
//! larger its groups.
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::contract::StoreError;
use crate::limits::{
    CHECKPOINT_PAGES, CHECKPOINT_REST_PAGES, CHECKPOINT_REST_PART, FILES_LOOK_EVERY,
    GROUP_JOBS_MAX, GROUP_WEIGHT_MAX, LOG_PAUSE, STATEMENTS_MAX,
};

use super::failure::Failure;
use super::present::Present;
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
    pub(super) carrier: JoinHandle<()>,
    /// The file that it syncs, held by whoever has a connection to it.
    pub(super) data: Arc<File>,
    /// The files that nobody may take away meanwhile.
    pub(super) files: Present,
    /// The lock on the directory, given free when everything else ended.
    pub(super) lock: File,
}

impl Writer {
    /// Works until it is stopped or every handle is gone.
    pub(super) fn run(self) {
        let Self { conn, jobs, shared, checkpoint, carrier, data, files, lock } = self;
        let ends = Ends(Arc::clone(&shared));
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let mut txn = Txn::new(Statements::new(&conn));
        while let Some((weight, run)) = next(&jobs, &mut txn, &files, &shared) {
            let (group, stop) = gather(&jobs, weight, run);
            match shared.health() {
                Ok(()) => commit(&mut txn, group, &files, &shared, &checkpoint),
                Err(why) => refuse(group, &why),
            }
            if stop {
                break;
            }
        }
        drop(txn);
        shared.close_gate();
        let closed = StoreError::closed();
        while let Ok(job) = jobs.try_recv() {
            if let Job::Write { run, .. } = job {
                refuse(vec![run], &closed);
            }
        }
        drop(checkpoint);
        if carrier.join().is_err() {
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
struct Ends(Arc<Shared>);

impl Drop for Ends {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the writer panicked");
        }
        self.0.close_gate();
    }
}

/// Waits for the first job of a group; `None` when no more shall come. Without work it looks after the files now and then.
fn next(
    jobs: &Receiver<Job>,
    txn: &mut Txn<'_>,
    files: &Present,
    shared: &Shared,
) -> Option<(usize, Run)> {
    loop {
        match jobs.recv_timeout(FILES_LOOK_EVERY) {
            Ok(Job::Write { weight, run }) => return Some((weight, run)),
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                if shared.health().is_ok()
                    && let Err(gone) = look(txn, files)
                {
                    shared.judge(gone);
                }
            }
        }
    }
}

/// Looks after the files. Where one is gone, what the log still holds is carried into the store's own file, which may be found again: the log lives as long as
/// this process.
fn look(txn: &mut Txn<'_>, files: &Present) -> Result<(), Failure> {
    files.look().inspect_err(|_| {
        let carried = txn.carry_all();
        if !matches!(carried, Ok(true)) {
            tracing::warn!(
                ?carried,
                "the write-ahead log of a store that is gone could not be carried into its file"
            );
        }
    })
}

fn gather(jobs: &Receiver<Job>, mut weight: usize, first: Run) -> (Vec<Run>, bool) {
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

fn refuse(group: Vec<Run>, why: &StoreError) {
    for run in group {
        // A job that is refused answers its caller itself.
        let _ = run(Err(why.clone()));
    }
}

fn commit(
    txn: &mut Txn<'_>,
    group: Vec<Run>,
    files: &Present,
    shared: &Shared,
    checkpoint: &SyncSender<()>,
) {
    if let Err(failure) = txn.begin() {
        return refuse(group, &shared.judge(failure));
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
            let kept = committed.and_then(|committed| look(txn, files).map(|()| committed));
            kept.map_err(|f| shared.judge(f))
        }
    };
    match outcome {
        Ok(committed) => {
            (shared.sink)(&committed);
            replies.into_iter().for_each(|reply| reply(Ok(())));
            tend_log(txn, shared, checkpoint);
        }
        Err(why) => {
            replies.into_iter().for_each(|reply| reply(Err(why.clone())));
            refuse(group.collect(), &why);
        }
    }
}

/// Keeps the write-ahead log short: mostly beside the writer, the last pages by the writer itself, since the log begins anew only when no page is left.
fn tend_log(txn: &mut Txn<'_>, shared: &Shared, checkpoint: &SyncSender<()>) {
    let tended = txn.log_pages().and_then(|(pages, carried)| {
        if pages < CHECKPOINT_PAGES || pages == carried {
            return Ok(());
        }
        let rest = pages - carried;
        if shared.carries.load(Ordering::Acquire) {
            if rest >= shared.log_pages_max {
                std::thread::sleep(LOG_PAUSE);
            }
            return Ok(());
        }
        // Whoever carried it may have failed at that: then nothing is synced again.
        if shared.health().is_err() {
            return Ok(());
        }
        if rest <= CHECKPOINT_REST_PAGES.max(pages / CHECKPOINT_REST_PART) {
            return txn.checkpoint();
        }
        shared.carries.store(true, Ordering::Release);
        // Gone means that the store is closing.
        let _ = checkpoint.try_send(());
        Ok(())
    });
    if let Err(failure) = tended {
        shared.judge(failure);
    }
}
