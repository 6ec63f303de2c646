//! Limits how often a node reads the store for ids that the node does not know.
//!
//! A node's catalogue has all sales, except a sale that another node has just created. An unknown
//! id belongs either to such a new sale or to no sale. Only a read of the store can tell which of
//! these is true. While Redis is reachable and reads are quick, only one node of a cluster at a
//! time makes this read.
//!
//! If the read finds no change, a marker records this result for a short time, on the node and in
//! the shared Redis. All unknown ids share one marker, so random ids cost no memory and no further
//! reads.
//!
//! If the store has changes, one node reads all sales and leaves a copy in the shared Redis for the
//! other nodes. `docs/caching.md` describes all caches.
//!
//! This part of a node owns the connection to the shared Redis, and the time of the last read for
//! an unknown id. It calls the store and the shared Redis. The catalogue's reader calls this part
//! in two cases: for requests with unknown ids, and when it reads all sales. For an unknown id,
//! this part calls back the reader's `refresh`. All other parts of the node use this part only for
//! its connection to the shared Redis.
mod copy;
mod state;

use std::time::Duration;

use doorbuster_slots::{LockGuard, Locks, SharedRedis, SlotError};
use doorbuster_store::{CatalogueRows, StoreError};
use tokio::time::{Instant, timeout_at};

pub use state::Cache;

use crate::error::EngineError;
use crate::node::Node;

/// How long a marker stays valid, on a node and in the shared Redis. A marker says that the store
/// has nothing new. During this time, nodes do not read the store for unknown ids.
const MARKER_TTL: Duration = Duration::from_millis(10);
/// A node waits this many times the duration of a read, from the read's start, before it reads
/// again. So a slow store gets fewer reads.
const READ_INTERVAL_FACTOR: u32 = 10;
/// If another node is already reading the store, this node waits at most this long for the result.
/// Then it reads the store itself.
const PEER_READ_MAX: Duration = Duration::from_millis(50);
const PEER_READ_POLL: Duration = Duration::from_millis(2);
/// The name of the lock that a node takes to read the store for unknown ids. Keys in Redis also
/// contain this name.
const NAME: &str = "catalogue";

/// What a node finds in the shared Redis when it looks there for the result of another node's read.
enum CopyLookup<T> {
    This(T),
    /// Another node left a result that this node cannot use. To wait longer would be useless.
    Other,
    Missing,
}

/// Looks in the shared Redis for a marker with the fingerprint of this node's catalogue. Such a
/// marker means that the store has nothing that this node lacks.
async fn find_marker(node: &Node, shared: &SharedRedis) -> Result<CopyLookup<()>, SlotError> {
    let marker = shared.get(&key(shared)).await?;
    Ok(match marker {
        None => CopyLookup::Missing,
        Some(mark) if mark == node.catalogue().fingerprint().to_string().into_bytes() => {
            CopyLookup::This(())
        }
        Some(_) => CopyLookup::Other,
    })
}

impl Cache {
    /// Looks for other nodes' changes, and reads them with `refresh`. Does nothing if this node's
    /// last check was too recent.
    pub(crate) async fn check_if_due<R: Future<Output = Result<(), EngineError>>>(
        &self,
        node: &Node,
        refresh: impl FnOnce() -> R,
    ) {
        let mut last_check = self.last_check.lock().await;
        let is_due = |(began, took): (Instant, Duration)| {
            began.elapsed() >= MARKER_TTL.max(took * READ_INTERVAL_FACTOR)
        };
        if last_check.is_none_or(is_due) {
            let began = Instant::now();
            self.check_for_changes(node, refresh).await;
            *last_check = Some((began, began.elapsed()));
        }
    }

    /// Calls `refresh`. Does not call it if another node has just found that the store has nothing
    /// new. If Redis or the store is unreachable, this node continues to use its present catalogue.
    async fn check_for_changes<R: Future<Output = Result<(), EngineError>>>(
        &self,
        node: &Node,
        refresh: impl FnOnce() -> R,
    ) {
        let Some((shared, locks)) = self.shared() else {
            drop(refresh().await);
            return;
        };
        let turn = read_once((locks, NAME), || find_marker(node, shared)).await;
        let ReadTurn::ReadStore(guard) = turn else { return };
        let read = refresh().await;
        if let Some(guard) = guard {
            if read.is_ok() && guard.is_held() {
                let mark = node.catalogue().fingerprint().to_string();
                // If this write fails, the other nodes find no marker and read the store
                // themselves.
                drop(shared.set(&key(shared), mark.as_bytes(), MARKER_TTL).await);
            }
            guard.release().await;
        }
    }

    /// Returns all sales, from another node's copy or from the store. The rows have the version
    /// `version` or a later one. The caller must have just read `version` from the store.
    pub(crate) async fn rows(
        &self,
        node: &Node,
        version: &str,
    ) -> Result<CatalogueRows, StoreError> {
        let Some((shared, locks)) = self.shared() else { return read(node).await };
        let find_copy = || copy::get(shared, node.id_key(), version);
        match read_once((locks, "catalogue:sales"), find_copy).await {
            ReadTurn::FromPeer(rows) => Ok(rows),
            ReadTurn::ReadStore(None) => read(node).await,
            ReadTurn::ReadStore(Some(guard)) => {
                let rows = read(node).await;
                let catalogue_copy = rows
                    .as_ref()
                    .ok()
                    .map(|rows| copy::CatalogueCopy::from_row(shared, node.id_key(), rows));
                let shared = shared.clone();
                // The copy is written in the background, so a slow Redis does not delay this node.
                node.lifecycle().tasks().spawn(async move {
                    if let Some(catalogue_copy) = catalogue_copy {
                        catalogue_copy.publish(&shared).await;
                    }
                    guard.release().await;
                });
                rows
            }
        }
    }
}

async fn read(node: &Node) -> Result<CatalogueRows, StoreError> {
    node.meter().read_all.add_one();
    node.store().catalogue().await
}

enum ReadTurn<T> {
    /// Another node has read the store. This is its result.
    FromPeer(T),
    /// This node must read the store. With a guard, this node has the lock, and leaves the result
    /// for the other nodes. With `None`, it reads only for itself.
    ReadStore(Option<LockGuard>),
}

/// Lets one node at a time read the store, while the other nodes wait at most [`PEER_READ_MAX`] for
/// its result. `find_copy` looks for this result in the shared Redis. A node that cannot reach
/// Redis reads the store itself.
async fn read_once<T, F: Future<Output = Result<CopyLookup<T>, SlotError>>>(
    (locks, lock): (&Locks, &str),
    find_copy: impl Fn() -> F,
) -> ReadTurn<T> {
    let (until, mut guard) = (Instant::now() + PEER_READ_MAX, None);
    loop {
        match timeout_at(until, find_copy()).await {
            // If this node also has the lock, the return drops the guard, which releases the lock.
            Ok(Ok(CopyLookup::This(found))) => return ReadTurn::FromPeer(found),
            Ok(Ok(CopyLookup::Missing)) if guard.is_none() => {}
            // This node must read the store, for one of these reasons:
            // - this node has the lock, and no node left a result
            // - another node left a different result
            // - Redis failed or did not answer in time
            _ => return ReadTurn::ReadStore(guard),
        }
        match timeout_at(until, locks.try_take(lock)).await {
            Ok(Ok(Some(taken))) => guard = Some(taken),
            Ok(Ok(None)) if Instant::now() < until => tokio::time::sleep(PEER_READ_POLL).await,
            Ok(Ok(None) | Err(_)) | Err(_) => return ReadTurn::ReadStore(None),
        }
    }
}

fn key(shared: &SharedRedis) -> String {
    shared.key(NAME, "mark")
}
