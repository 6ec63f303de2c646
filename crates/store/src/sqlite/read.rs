//! Readers: a few threads, each with its own read-only connection, and the queries that they run.
//!
//! Each read sees one snapshot. The snapshot includes every commit that was published before the
//! call that requested the read.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use crate::contract::StoreError;
use crate::limits::STATEMENTS_MAX;

use super::statement_cache::Statements;

pub(super) type Reader<'c> = Statements<'c>;
/// A closure that runs a query and answers the caller. Its argument is the reader, or an error if
/// the read transaction could not begin.
pub(super) type ReadCall = Box<dyn FnOnce(Result<&mut Reader<'_>, StoreError>) + Send>;

pub(super) enum ReadJob {
    Read(ReadCall),
    /// Ends one reader.
    Stop,
}

pub(super) fn work(conn: Connection, jobs: &Arc<Mutex<Receiver<ReadJob>>>) {
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let mut reader = Statements::new(&conn);
    loop {
        // One reader waits in `recv`, and the others wait for the lock. A reader that panics leaves
        // the receiver intact.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(ReadJob::Read(run)) = job else { return };
        match reader.run("BEGIN", []) {
            Ok(_) => {
                // A panic affects only one read. The caller of this read gets the error of a
                // dropped job, and the statements reset themselves.
                if catch_unwind(AssertUnwindSafe(|| run(Ok(&mut reader)))).is_err() {
                    tracing::error!(event = "store.read_panicked", "a read panicked");
                }
            }
            Err(failure) => run(Err(failure.into())),
        }
        // The transaction only read rows, so an error here loses nothing. The end of the connection
        // also closes the snapshot.
        let _ = reader.run("ROLLBACK", []);
    }
}
