//! The store in PostgreSQL, which any number of nodes share.
//!
//! The module `transaction` runs functions of `doorbuster-core` over a [`PostgresLedger`]. The
//! module `settle` settles a batch of tickets in two round trips. The module `publisher` publishes
//! the commits of this node and of other nodes. All transactions lock rows in the same sequence
//! (see the schema). A transaction that loses a conflict runs again.
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use acknowledged::AcknowledgedOrders;
use clock::Clock;
use connector::{Connector, ConnectorUse};
use job_places::JobPlaces;
use shared::{CommitMessage, Shared};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use doorbuster_core::Millis;

use crate::contract::{OpenError, PostgresOptions};
use crate::failure::StoreState;
use crate::limits::{
    COMMIT_CHECK_SLOTS, PG_COMMITS_MAX, PG_JOB_THREADS_MAX, PG_READERS, PG_WRITERS, WRITE_QUEUE_MAX,
};

mod acknowledged;
mod answer_wait;
mod check;
mod checkouts;
mod clock;
mod connect;
mod connector;
mod console;
mod events;
mod failover;
mod flush;
mod history;
mod hosts;
mod inspect_database;
mod job_places;
mod ledger;
mod limits;
mod locks;
mod migrate;
mod notice;
mod orders;
mod poll;
mod prefetch;
mod publisher;
mod replication;
mod row_cache;
mod secret;
mod settle;
mod shared;
mod snapshot;
mod standbys;
mod transaction;
mod waitlist;

pub use connect::check_address;
pub use ledger::PostgresLedger;
pub(crate) use migrate::known_schema;
pub use migrate::migrate_postgres;
pub use secret::{shared_secret, stored_secret};

/// A store in PostgreSQL. Clones are cheap.
#[derive(Clone)]
pub struct Postgres(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    warnings: Vec<String>,
    publisher: Mutex<Option<JoinHandle<()>>>,
}

impl Postgres {
    pub(crate) async fn open(options: PostgresOptions) -> Result<Self, OpenError> {
        let PostgresOptions {
            url,
            id_key,
            clock,
            monotonic_clock,
            node,
            sink,
            follows,
            on_fatal,
            allow_fsync_off,
            history,
        } = options;
        history.bind(&id_key.fingerprint());
        let slot = (node.0 % COMMIT_CHECK_SLOTS).cast_signed();
        let connector =
            Connector::new(&connect::address(&url)?, history, ConnectorUse::Store, slot);
        let mut client = connect::client(&connector).await?;
        let warnings = connect::check_server(&client, allow_fsync_off).await?;
        migrate::migrate(&mut client).await?;
        drop(client);
        let (writes, reads) =
            (connect::writers(&connector, PG_WRITERS)?, connect::readers(&connector, PG_READERS)?);
        let (commits, received) = mpsc::channel(PG_COMMITS_MAX);
        let clock = Clock::new(clock, monotonic_clock);
        let shared = Arc::new(Shared {
            id_key,
            node,
            clock,
            sink,
            follows,
            state: StoreState::new(on_fatal),
            connector,
            jobs: JobPlaces::new(WRITE_QUEUE_MAX, PG_JOB_THREADS_MAX),
            writes,
            reads,
            commits,
            wake: Notify::new(),
            events: AtomicBool::new(false),
            expiring: tokio::sync::Mutex::new(()),
            acknowledged: AcknowledgedOrders::default(),
            compared: AtomicI64::new(0),
            writer: shared::random_writer(),
            unavailable: Mutex::new(None),
            refreshes_apart_us: AtomicU64::new(0),
        });
        let publisher = publisher::Publisher::new(Arc::clone(&shared), received).await?;
        let publisher = Mutex::new(Some(tokio::spawn(publisher.run())));
        Ok(Self(Arc::new(Handle { shared, warnings, publisher })))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        self.0.warnings.clone()
    }

    pub(crate) fn now(&self) -> Millis {
        self.shared().clock.now()
    }

    pub(crate) async fn close(&self) {
        let shared = self.shared();
        shared.state.stop_accepting();
        let publisher = self.0.publisher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(publisher) = publisher {
            // The task publishes all commits that are in the queue before this message, and then
            // ends. If the sending fails, the task has already ended.
            let _ = shared.commits.send(CommitMessage::Stop).await;
            let _ = publisher.await;
        }
        shared.writes.close();
        shared.reads.close();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(publisher) =
            self.publisher.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            publisher.abort();
        }
    }
}
