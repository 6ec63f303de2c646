//! The store in SQLite: one writer that commits groups of jobs, and several readers.
//!
//! A handle only sends jobs. The `writer` runs the jobs that write, with a [`SqliteLedger`]. A
//! reader (`read`) runs queries. Once a job is sent, the job runs to its end, even if its caller
//! stops waiting.
use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use log_reader::LogReader;
use open_files::OpenFiles;
use read::Reader;
use rusqlite::Connection;
use shared::{FailsOnPanic, Publication, Shared};
use tokio::sync::{oneshot, watch};
use txn::Txn;

use doorbuster_core::{IdKey, Millis};

use crate::commit_copy::CommitBuffer;
use crate::contract::StoreResult;
use crate::contract::{OpenError, SqliteOptions, StoreError};
use crate::failure::{Failure, StoreState};
use crate::limits::{LOG_PAGES_MAX, READ_QUEUE_MAX, READERS, WRITE_QUEUE_MAX};

mod backup;
mod calls;
mod check;
mod checkouts;
mod events;
mod history;
mod in_memory;
mod ledger;
mod log_reader;
mod open;
mod open_files;
mod orders;
mod read;
mod restore;
mod row_cache;
mod shared;
mod statement_cache;
#[cfg(test)]
mod tests;
mod txn;
mod writer;

pub use backup::{backup, backup_part_path, copy_base, publish_backup};
pub use in_memory::InMemory;
pub use ledger::SqliteLedger;
pub(crate) use open::known_schema;
pub use open::{check_unlocked, is_store};
pub use restore::{check_restorable, restore, restore_copy, restore_part_paths};

/// A store in SQLite. Clones are cheap.
#[derive(Clone)]
pub struct Sqlite(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    writes: SyncSender<writer::WriteJob>,
    reads: SyncSender<read::ReadJob>,
    /// A channel that disconnects when all readers have ended.
    readers_end: watch::Receiver<()>,
    copy: Option<CommitBuffer>,
    /// A channel that disconnects when the writer has ended and has released the directory's lock.
    writer_ends: watch::Receiver<()>,
}

impl Sqlite {
    pub(crate) fn open(
        options: SqliteOptions,
        copy: Option<CommitBuffer>,
    ) -> Result<Self, OpenError> {
        Self::open_bounded(options, LOG_PAGES_MAX, copy)
    }

    /// Opens a store. `log_pages_max` is [`LOG_PAGES_MAX`], or a smaller value in tests.
    fn open_bounded(
        options: SqliteOptions,
        log_pages_max: i64,
        copy: Option<CommitBuffer>,
    ) -> Result<Self, OpenError> {
        let SqliteOptions { dir, id_key, clock, sink, on_fatal } = options;
        let lock = open::lock(&dir)?;
        let conn = open::writer(&dir, &lock)?;
        let files = OpenFiles::remember(&dir, &lock)?;
        let log_reader = copy.clone().map(|copy| LogReader::open(&dir, copy)).transpose();
        let log_reader =
            log_reader.map_err(|error| open::failed(&dir.display().to_string(), error))?;
        let shared = Arc::new(Shared {
            id_key,
            clock,
            sink,
            state: StoreState::new(on_fatal),
            log_pages_max,
            is_checkpointing: false.into(),
            publication: Publication::default(),
        });
        let (writes, write_jobs) = sync_channel(WRITE_QUEUE_MAX);
        let (reads, read_jobs) = sync_channel(READ_QUEUE_MAX);
        let (readers_live, readers_end) = watch::channel(());
        let (writer_lives, writer_ends) = watch::channel(());
        let read_jobs = Arc::new(Mutex::new(read_jobs));
        let data = Arc::new(open::open_data_file(&dir)?);
        let readers_live = Arc::new(readers_live);
        for _ in 0..READERS {
            let (conn, jobs, lives) =
                (open::reader(&dir)?, Arc::clone(&read_jobs), Arc::clone(&readers_live));
            let data = Arc::clone(&data);
            spawn("store-read", &shared, move || {
                read::work(conn, &jobs);
                drop(data);
                drop(lives);
            })?;
        }
        let (wake, woken) = sync_channel(1);
        let (checkpointer, shared_too, data_too) =
            (open::checkpointer(&dir)?, Arc::clone(&shared), Arc::clone(&data));
        let checkpointer = spawn("store-checkpoint", &shared, move || {
            run_checkpoints(checkpointer, &data_too, &woken, &shared_too)
        })?;
        let (jobs, shared_too) = (write_jobs, Arc::clone(&shared));
        let writer = writer::Writer {
            conn,
            jobs,
            shared: shared_too,
            checkpoint: wake,
            checkpointer,
            data,
            files,
            log_reader,
            lock,
        };
        spawn("store-write", &shared, move || {
            writer.run();
            drop(writer_lives);
        })?;
        Ok(Self(Arc::new(Handle { shared, writes, reads, readers_end, copy, writer_ends })))
    }

    /// Returns a store without files. The store is closed from the beginning.
    pub(crate) fn absent(id_key: IdKey, clock: Arc<dyn Fn() -> Millis + Send + Sync>) -> Self {
        let shared = Shared {
            id_key,
            clock,
            sink: Arc::new(|_| {}),
            state: StoreState::new(Arc::new(|_| {})),
            log_pages_max: LOG_PAGES_MAX,
            is_checkpointing: false.into(),
            publication: Publication::default(),
        };
        shared.state.stop_accepting();
        Self(Arc::new(Handle {
            shared: Arc::new(shared),
            writes: sync_channel(0).0,
            reads: sync_channel(0).0,
            readers_end: watch::channel(()).1,
            copy: None,
            writer_ends: watch::channel(()).1,
        }))
    }

    pub(crate) fn now(&self) -> Millis {
        (self.0.shared.clock)()
    }

    pub(crate) fn published_as_of(&self) -> Instant {
        self.0.shared.publication.as_of()
    }

    pub(crate) fn id_key(&self) -> &IdKey {
        &self.0.shared.id_key
    }

    pub(crate) fn commit_copy(&self) -> Option<&CommitBuffer> {
        self.0.copy.as_ref()
    }

    pub(crate) fn health(&self) -> StoreResult<()> {
        self.0.shared.state.check_accepting()
    }

    pub(crate) async fn close(&self) {
        let Handle { shared, writes, reads, readers_end, writer_ends, .. } = &*self.0;
        shared.state.stop_accepting();
        let (writes, reads) = (writes.clone(), reads.clone());
        // `send` blocks while a queue is full, and the runtime must not block, so another thread
        // sends the messages. A send fails only if the receiving thread has already ended.
        let stopped = tokio::task::spawn_blocking(move || {
            (0..READERS).for_each(|_| drop(reads.send(read::ReadJob::Stop)));
            drop(writes.send(writer::WriteJob::Stop));
        });
        let _ = stopped.await;
        // These channels carry no values. The expected error means that the sender was dropped.
        let _ = readers_end.clone().changed().await;
        let _ = writer_ends.clone().changed().await;
    }

    /// Runs `work` in the writer's next commit. Returns when the commit is durable.
    async fn write<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnOnce(&mut Txn<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> StoreResult<T> {
        let (await_reply, answered) = oneshot::channel();
        let shared = Arc::clone(&self.0.shared);
        // If the caller has stopped waiting, the answer is dropped.
        let run: writer::WriteCall = Box::new(move |txn| {
            let result = txn.and_then(|txn| match work(txn) {
                Err(failure) if failure.is_fatal() => Err(shared.state.store_error(failure)),
                result => Ok(result.map_err(StoreError::from)),
            });
            match result {
                Ok(result) => Ok(Box::new(move |fate: StoreResult<()>| {
                    drop(await_reply.send(fate.and(result)))
                })),
                Err(why) => {
                    let _ = await_reply.send(Err(why.clone()));
                    Err(why)
                }
            }
        });
        self.submit(&self.0.writes, writer::WriteJob::Write { weight, run })?;
        self.await_reply(answered).await
    }

    /// Runs `work` on a snapshot, on a reader's thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Reader<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> StoreResult<T> {
        let (await_reply, answered) = oneshot::channel();
        let shared = Arc::clone(&self.0.shared);
        let run: read::ReadCall = Box::new(move |reader| {
            let _ = await_reply.send(reader.and_then(|reader| {
                work(reader).map_err(|failure| shared.state.store_error(failure.of_read()))
            }));
        });
        self.submit(&self.0.reads, read::ReadJob::Read(run))?;
        self.await_reply(answered).await
    }

    fn submit<J>(&self, queue: &SyncSender<J>, job: J) -> StoreResult<()> {
        self.0.shared.state.check_accepting()?;
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::busy(),
            TrySendError::Disconnected(_) => self.stopped_error(),
        })
    }

    async fn await_reply<T>(&self, answered: oneshot::Receiver<StoreResult<T>>) -> StoreResult<T> {
        answered.await.unwrap_or_else(|_| Err(self.stopped_error()))
    }

    fn stopped_error(&self) -> StoreError {
        let dropped = || StoreError::Unexpected("a job was dropped without an answer".to_owned());
        self.0.shared.state.check_accepting().err().unwrap_or_else(dropped)
    }
}

/// Waits for the writer's reports that the write-ahead log has many pages, and then checkpoints the
/// log. Ends when the writer ends.
///
/// SQLite syncs the store's file only after SQLite has copied the last page of the log into this
/// file. The writer copies this page while its callers wait. This thread copies and syncs the other
/// pages earlier, so that the writer's sync has almost nothing to do. If a reader with an old
/// snapshot prevented all copying, this thread syncs nothing.
fn run_checkpoints(conn: Connection, data: &File, woken: &Receiver<()>, shared: &Shared) {
    let carried = |mode: &str| {
        conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(2))
    };
    while woken.recv().is_ok() && shared.state.health().is_ok() {
        let moved = carried("NOOP").and_then(|before| Ok(carried("PASSIVE")? != before));
        let done = moved.map_err(Failure::from).and_then(|moved| match shared.state.health() {
            Ok(()) if moved => {
                data.sync_data().map_err(|error| Failure::Unsynced(error.to_string()))
            }
            // Nothing was copied, or the store has failed. In both cases, nothing needs a sync.
            _ => Ok(()),
        });
        if let Err(failure) = done {
            shared.state.store_error(failure);
        }
        shared.is_checkpointing.store(false, Ordering::Release);
    }
}

/// Starts a thread of the store. A panic of the thread fails the store.
fn spawn(
    name: &str,
    shared: &Arc<Shared>,
    work: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, OpenError> {
    let shared = Arc::clone(shared);
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _fails = FailsOnPanic(&shared.state);
        work();
    });
    spawned.map_err(|error| OpenError::Failed(format!("a thread cannot be started: {error}")))
}
