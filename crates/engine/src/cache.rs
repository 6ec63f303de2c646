//! Limits how often a node reads the store for ids that the node does not know.
//!
//! A node's catalogue has every sale and receives every change, so a node answers buyers from its
//! catalogue. An unknown id belongs to no sale, or to a sale that another node created a moment
//! ago. Only a read of the store can tell these two cases apart. While Redis is reachable and reads
//! are quick, only one node of a cluster at a time reads the store for unknown ids. That node makes
//! only one such read at a time.
//!
//! A marker records the answer "nothing new" for a short time, on the node and in the shared Redis.
//! The same marker serves all unknown ids, so random ids cost no memory and no further reads.
//!
//! If the store has something new, one node reads all sales and leaves a copy in the shared Redis
//! for the other nodes. `docs/caching.md` describes all caches.
//!
//! This part of a node owns the connection to the shared Redis, and the time of the last read for
//! an unknown id. It calls the store and the shared Redis. The reader of the catalogue calls this
//! part for requests with unknown ids, and when the reader reads all sales. For an unknown id, this
//! part calls back the reader's `refresh`. Other parts use only the connection to the shared Redis.
mod copy;
mod state;

use std::time::Duration;

use doorbuster_slots::{LockGuard, Locks, SharedRedis, SlotError};
use doorbuster_store::{CatalogueRows, StoreError};
use tokio::time::{Instant, timeout_at};

pub use state::Cache;

use crate::error::EngineError;
use crate::node::Node;

/// After a read for an unknown id found nothing new, this result is remembered for this long, on
/// each node and in the shared Redis.
const MARKER_TTL: Duration = Duration::from_millis(10);
/// Two reads for unknown ids never start in quick succession. The time between their starts is at
/// least this many times the duration of the first read.
const READ_INTERVAL_FACTOR: u32 = 10;
/// How long a node waits for another node's read before it reads the store itself.
const PEER_READ_MAX: Duration = Duration::from_millis(50);
/// The interval at which a node checks for the result of another node's read.
const PEER_READ_POLL: Duration = Duration::from_millis(2);
/// The name of the lock of the node that reads the store for unknown ids. The keys in the shared
/// Redis also contain this name.
const NAME: &str = "catalogue";

/// The result of a lookup in the shared Redis, where another node leaves the result of its read.
enum CopyLookup<T> {
    /// Another node left the wanted result.
    This(T),
    /// Another node left a different result, so waiting longer is useless.
    Other,
    /// No node left a result.
    Missing,
}

/// Looks up whether this node's catalogue is the newest that any node has read.
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
    /// Checks for other nodes' changes, and reads them with `refresh`. Does nothing if the last
    /// check began too recently.
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

    /// Keeps this node's catalogue if a check a few milliseconds ago found no newer catalogue.
    /// Otherwise calls `refresh`. If Redis or the store is unreachable, the known catalogue stays
    /// in use.
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
                // If this write fails, the other nodes read the store themselves.
                drop(shared.set(&key(shared), mark.as_bytes(), MARKER_TTL).await);
            }
            guard.release().await;
        }
    }

    /// Returns all sales of the catalogue at `version`, or at a later version. The caller has just
    /// read `version` from the store. If another node left a copy, the rows come from this copy. If
    /// no node left a copy, the rows come from the store.
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
                // The copy is written in the background. So this node shows the rows at once, even
                // if Redis is slow.
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

/// Says which node reads the store.
enum ReadTurn<T> {
    /// Another node has read the store. The value is the result of that read.
    FromPeer(T),
    /// This node must read the store. With the lock, this node reads for all nodes. Without the
    /// lock, this node reads only for itself.
    ReadStore(Option<LockGuard>),
}

/// Lets one of several nodes read the store, and lets the other nodes wait briefly for the result.
/// A node that cannot reach the shared Redis reads the store for itself. The reading node takes the
/// lock `lock`. `find_copy` looks in the shared Redis for the result of another node.
async fn read_once<T, F: Future<Output = Result<CopyLookup<T>, SlotError>>>(
    (locks, lock): (&Locks, &str),
    find_copy: impl Fn() -> F,
) -> ReadTurn<T> {
    let (until, mut guard) = (Instant::now() + PEER_READ_MAX, None);
    loop {
        match timeout_at(until, find_copy()).await {
            // If this node also got the lock, dropping the guard releases the lock.
            Ok(Ok(CopyLookup::This(found))) => return ReadTurn::FromPeer(found),
            Ok(Ok(CopyLookup::Missing)) if guard.is_none() => {}
            // This node must read the store, for one of three reasons: it has the lock and no node
            // left a result, another node left a result other than the wanted one, or Redis did not
            // answer in time.
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
