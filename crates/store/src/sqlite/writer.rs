//! The writer: one thread that owns the writing connection and commits groups of jobs.
//!
//! The thread takes the waiting jobs, up to a bound, and commits them together. Then the thread
//! checks that the files are still in place, and publishes the changes to the sink. Last, the
//! thread answers the callers. Further jobs gather during a commit, so a busier store has larger
//! groups.
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::contract::StoreError;
use crate::failure::Failure;
use crate::limits::{
    CHECKPOINT_LAST_PAGES, CHECKPOINT_LAST_PART, CHECKPOINT_PAGES, FILES_CHECK_INTERVAL,
    GROUP_JOBS_MAX, GROUP_WEIGHT_MAX, LOG_PAUSE, STATEMENTS_MAX,
};

use super::log_reader::LogReader;
use super::open::DirLock;
use super::open_files::OpenFiles;
use super::shared::Shared;
use super::statement_cache::Statements;
use super::txn::Txn;

/// Sends the result of a job to the job's caller. The writer calls this function when the outcome
/// of the commit is known.
pub(super) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs a job. The argument is the transaction, or an error if the job cannot run. If the result is
/// an error, no job of the group is committed.
pub(super) type WriteCall =
    Box<dyn FnOnce(Result<&mut Txn<'_>, StoreError>) -> Result<Reply, StoreError> + Send>;

pub(super) enum WriteJob {
    Write {
        /// The number of tickets or visitors that the job handles, at least 1.
        weight: usize,
        run: WriteCall,
    },
    /// Finish the earlier jobs, then end.
    Stop,
}

pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) jobs: Receiver<WriteJob>,
    pub(super) shared: Arc<Shared>,
    pub(super) checkpoint: SyncSender<()>,
    pub(super) checkpointer: JoinHandle<()>,
    /// The file that the checkpoint thread syncs. Each thread with a connection to the file keeps
    /// one reference, so that the file is closed after the last connection.
    pub(super) data: Arc<File>,
    pub(super) files: OpenFiles,
    /// Copies each commit for the continuous backup, if the store has one.
    pub(super) log_reader: Option<LogReader>,
    /// The lock on the directory. This lock is released last, after everything else has ended.
    pub(super) lock: DirLock,
}

impl Writer {
    /// Runs until the writer is stopped or every handle is dropped.
    pub(super) fn run(self) {
        let Self {
            conn,
            jobs,
            shared,
            checkpoint,
            checkpointer,
            data,
            files,
            mut log_reader,
            lock,
        } = self;
        let ends = WriterGuard(Arc::clone(&shared));
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let mut txn = Txn::new(Statements::new(&conn));
        if let Some(reader) = &mut log_reader {
            // If the number of pages cannot be read, the first commit reports the error.
            reader.skip(txn.log_pages().map_or(0, |(pages, _)| pages));
        }
        while let Some((weight, run)) = next_job(&jobs, &mut txn, &files, &shared) {
            let (group, stop) = collect_group(&jobs, weight, run);
            match shared.state.health() {
                Ok(()) => {
                    log_reader.iter().for_each(|reader| reader.set_committing(true));
                    if commit(&mut txn, group, (&files, &mut log_reader), &shared) {
                        after_commit(&mut txn, &shared, &checkpoint);
                    }
                    log_reader.iter().for_each(|reader| reader.set_committing(false));
                }
                Err(why) => fail_group(group, &why),
            }
            if stop {
                break;
            }
        }
        drop(txn);
        shared.state.stop_accepting();
        let closed = StoreError::closed();
        while let Ok(job) = jobs.try_recv() {
            if let WriteJob::Write { run, .. } = job {
                fail_group(vec![run], &closed);
            }
        }
        drop(checkpoint);
        if checkpointer.join().is_err() {
            tracing::warn!(event = "store.checkpoint_panicked", "the checkpoint thread panicked");
        }
        close(conn, &shared);
        drop(data);
        drop(ends);
        drop(lock);
    }
}

fn close(conn: Connection, shared: &Shared) {
    if shared.state.health().is_ok()
        && let Err(error) = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    {
        tracing::warn!(
            %error,
            event = "store.checkpoint_failed",
            "failed to checkpoint the log at shutdown; the log is kept"
        );
    }
    if let Err((_, error)) = conn.close() {
        tracing::warn!(
            %error,
            event = "store.close_failed",
            "failed to close the store's file; the next start recovers it"
        );
    }
}

/// Makes the store refuse further calls when the writer ends. If the writer panics, the store
/// fails.
struct WriterGuard(Arc<Shared>);

impl Drop for WriterGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state.fail("the writer panicked");
        }
        self.0.state.stop_accepting();
    }
}

/// Waits for the first job of a group. Meanwhile, regularly checks the store's files. Returns
/// `None` when the writer must end.
fn next_job(
    jobs: &Receiver<WriteJob>,
    txn: &mut Txn<'_>,
    files: &OpenFiles,
    shared: &Shared,
) -> Option<(usize, WriteCall)> {
    loop {
        match jobs.recv_timeout(FILES_CHECK_INTERVAL) {
            Ok(WriteJob::Write { weight, run }) => return Some((weight, run)),
            Ok(WriteJob::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {
                if shared.state.health().is_ok()
                    && let Err(gone) = check_in_place(txn, files)
                {
                    shared.state.store_error(gone);
                }
            }
        }
    }
}

/// Fails if a file of the store is gone. Before that, copies the log into the open store file: an
/// operator may still recover this file, but a removed log exists only until this process ends.
fn check_in_place(txn: &mut Txn<'_>, files: &OpenFiles) -> Result<(), Failure> {
    files.check_in_place().inspect_err(|_| {
        let carried = txn.checkpoint_all();
        if !matches!(carried, Ok(true)) {
            tracing::warn!(
                ?carried,
                event = "store.removed",
                "the store's files were removed; the last commits could not be saved"
            );
        }
    })
}

fn collect_group(
    jobs: &Receiver<WriteJob>,
    mut weight: usize,
    first: WriteCall,
) -> (Vec<WriteCall>, bool) {
    let mut group = vec![first];
    while weight < GROUP_WEIGHT_MAX && group.len() < GROUP_JOBS_MAX {
        match jobs.try_recv() {
            Ok(WriteJob::Write { weight: more, run }) => {
                weight += more;
                group.push(run);
            }
            Ok(WriteJob::Stop) => return (group, true),
            Err(_) => break,
        }
    }
    (group, false)
}

fn fail_group(group: Vec<WriteCall>, why: &StoreError) {
    for run in group {
        // `run` passes the error on to the job's caller, so its own result is ignored.
        let _ = run(Err(why.clone()));
    }
}

/// Runs the calls of a group in one transaction, and commits it. Returns whether the commit was
/// published.
fn commit(
    txn: &mut Txn<'_>,
    group: Vec<WriteCall>,
    (files, log_reader): (&OpenFiles, &mut Option<LogReader>),
    shared: &Shared,
) -> bool {
    if let Err(failure) = txn.begin() {
        fail_group(group, &shared.state.store_error(failure));
        return false;
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
            shared.publication.begin();
            let committed = txn.commit().map_err(|f| Failure::Lost(f.to_string()));
            // If someone removed the store's files, the writer does not publish these commits.
            let kept =
                committed.and_then(|committed| check_in_place(txn, files).map(|()| committed));
            kept.map_err(|f| shared.state.store_error(f))
        }
    };
    match outcome {
        Ok(committed) => {
            // The commit is copied before its callers get their results. When a caller gets a
            // result, either the backup has the commit, or the progress of the backup shows that
            // the commit is missing.
            if let Some(reader) = log_reader
                && let Ok((pages, _)) = txn.log_pages()
            {
                reader.copy_commit(pages, (shared.clock)());
            }
            (shared.sink)(&committed);
            shared.publication.end();
            replies.into_iter().for_each(|reply| reply(Ok(())));
            true
        }
        Err(why) => {
            shared.publication.end();
            replies.into_iter().for_each(|reply| reply(Err(why.clone())));
            fail_group(group.collect(), &why);
            false
        }
    }
}

/// Keeps the write-ahead log short. Usually the checkpoint thread copies the log's pages to the
/// store's file. The writer copies the last pages itself, because the log restarts only when no
/// page is left to copy.
fn after_commit(txn: &mut Txn<'_>, shared: &Shared, checkpoint: &SyncSender<()>) {
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
        // If the sync of the checkpoint thread failed, no further sync is allowed.
        if shared.state.health().is_err() {
            return Ok(());
        }
        if rest <= CHECKPOINT_LAST_PAGES.max(pages / CHECKPOINT_LAST_PART) {
            return txn.checkpoint();
        }
        shared.is_checkpointing.store(true, Ordering::Release);
        // A missing receiver means that the store is closing.
        let _ = checkpoint.try_send(());
        Ok(())
    });
    if let Err(failure) = tended {
        shared.state.store_error(failure);
    }
}
