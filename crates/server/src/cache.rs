//! Limits how often the store is read for ids that a node does not know.
//!
//! A node's catalogue has every sale and receives every change, so it answers the buyers' requests.
//! An unknown id belongs to no sale, or to a sale that another node created a moment ago. To decide
//! this, the store is read by one request of a node at a time and by one node of a cluster at a
//! time. The answer "nothing new" is remembered for a short time, on the node and in the shared
//! Redis. It is one short marker for all unknown ids, so random ids cost no memory and no
//! additional reads.
//!
//! If something is new, one node reads all sales and leaves a copy in that Redis for the others.
//! `docs/caching.md` describes all caches.
pub(crate) mod copy;
mod numbers;

use std::time::Duration;

use doorbuster_slots::{LockGuard, Locks, Shared, SlotError};
use doorbuster_store::{CatalogueRows, StoreError};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

pub use numbers::ItemNumbers;

use crate::engine::Engine;

/// How long "nothing new" is remembered, on each node and in the shared Redis.
const MARKER_TTL: Duration = Duration::from_millis(10);
/// After a read for unknown ids the store is not read again for this many times the read's
/// duration.
const READ_INTERVAL_FACTOR: u32 = 10;
/// How long a node waits for another node's read before it reads for itself.
const PEER_READ_MAX: Duration = Duration::from_millis(50);
/// Time between two checks whether that read is done.
const PEER_READ_POLL: Duration = Duration::from_millis(2);
/// The name of the lock for the check, and of the keys in the shared Redis.
const NAME: &str = "catalogue";

/// A node's state for these reads.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// The shared Redis and its locks, where nodes share one.
    shared: Option<(Shared, Locks)>,
    /// Held during a read of the store: when the last one began, and how long it took.
    last_check: Mutex<Option<(Instant, Duration)>>,
}

/// A read that one node does for all.
trait SharedRead {
    /// The result that other nodes take.
    type Output;
    /// The lock that the reading node takes.
    const LOCK: &'static str;

    /// Looks for the result that another node left.
    async fn find_copy(
        &self,
        engine: &Engine,
        shared: &Shared,
    ) -> Result<CopyLookup<Self::Output>, SlotError>;
}

enum CopyLookup<T> {
    /// The wanted result.
    This(T),
    /// Another result, so waiting longer is of no use.
    Other,
    /// No result.
    Missing,
}

/// Whether this node's catalogue is the newest that any node has read.
struct MarkerRead;

impl SharedRead for MarkerRead {
    type Output = ();
    const LOCK: &'static str = NAME;

    async fn find_copy(
        &self,
        engine: &Engine,
        shared: &Shared,
    ) -> Result<CopyLookup<()>, SlotError> {
        let marker = shared.get(&key(shared)).await?;
        Ok(match marker {
            None => CopyLookup::Missing,
            Some(mark) if mark == engine.catalogue().fingerprint().to_string().into_bytes() => {
                CopyLookup::This(())
            }
            Some(_) => CopyLookup::Other,
        })
    }
}

/// All sales of this version.
struct CatalogueRead<'a> {
    version: &'a str,
}

impl SharedRead for CatalogueRead<'_> {
    type Output = CatalogueRows;
    const LOCK: &'static str = "catalogue:sales";

    async fn find_copy(
        &self,
        engine: &Engine,
        shared: &Shared,
    ) -> Result<CopyLookup<CatalogueRows>, SlotError> {
        copy::get(shared, engine.id_key(), self.version).await
    }
}

impl Cache {
    pub(crate) fn new(shared: Option<(Shared, Locks)>) -> Self {
        Self { shared, last_check: Mutex::default() }
    }

    /// The shared Redis and its locks.
    pub(crate) fn shared(&self) -> Option<(&Shared, &Locks)> {
        self.shared.as_ref().map(|(shared, locks)| (shared, locks))
    }

    /// Makes sure that the catalogue was current a moment ago. If Redis or the store is
    /// unreachable, the known catalogue is used.
    async fn check_for_changes(&self, engine: &Engine) {
        let Some((shared, locks)) = self.shared() else {
            drop(engine.refresh_catalogue().await);
            return;
        };
        let ReadTurn::ReadStore(guard) = read_once(engine, (shared, locks), &MarkerRead).await
        else {
            return;
        };
        let read = engine.refresh_catalogue().await;
        if let Some(guard) = guard {
            if read.is_ok() && guard.is_held() {
                let mark = engine.catalogue().fingerprint().to_string();
                // If this fails, other nodes read for themselves.
                drop(shared.set(&key(shared), mark.as_bytes(), MARKER_TTL).await);
            }
            guard.release().await;
        }
    }

    /// All sales of this version, which the store has just named, or of a later one: from another
    /// node's copy, or else from the store.
    pub(crate) async fn rows(
        &self,
        engine: &Engine,
        version: &str,
    ) -> Result<CatalogueRows, StoreError> {
        let Some((shared, locks)) = self.shared() else { return read(engine).await };
        match read_once(engine, (shared, locks), &CatalogueRead { version }).await {
            ReadTurn::FromPeer(rows) => Ok(rows),
            ReadTurn::ReadStore(None) => read(engine).await,
            ReadTurn::ReadStore(Some(guard)) => {
                let rows = read(engine).await;
                let catalogue_copy = rows
                    .as_ref()
                    .ok()
                    .map(|rows| copy::CatalogueCopy::from_row(shared, engine.id_key(), rows));
                let shared = shared.clone();
                // In the background: this node shows the rows at once, however slow Redis is.
                engine.tasks().spawn(async move {
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

async fn read(engine: &Engine) -> Result<CatalogueRows, StoreError> {
    engine.meter().read_all();
    engine.store().catalogue().await
}

/// Which node reads the store.
enum ReadTurn<T> {
    /// Another node did; this is its result.
    FromPeer(T),
    /// This node: for all nodes if it has the lock, else for itself.
    ReadStore(Option<LockGuard>),
}

/// Lets one of several nodes read and the others wait for its result for a short time. A node that
/// cannot reach the shared Redis reads for itself.
async fn read_once<W: SharedRead>(
    engine: &Engine,
    (shared, locks): (&Shared, &Locks),
    shared_read: &W,
) -> ReadTurn<W::Output> {
    let (until, mut guard) = (Instant::now() + PEER_READ_MAX, None);
    loop {
        match timeout_at(until, shared_read.find_copy(engine, shared)).await {
            // A lock that was taken meanwhile is released when it is dropped.
            Ok(Ok(CopyLookup::This(found))) => return ReadTurn::FromPeer(found),
            Ok(Ok(CopyLookup::Missing)) if guard.is_none() => {}
            // This node has the lock and no result exists, or another node knows more, or Redis is
            // unreachable.
            _ => return ReadTurn::ReadStore(guard),
        }
        match timeout_at(until, locks.try_take(W::LOCK)).await {
            Ok(Ok(Some(taken))) => guard = Some(taken),
            Ok(Ok(None)) if Instant::now() < until => tokio::time::sleep(PEER_READ_POLL).await,
            Ok(Ok(None) | Err(_)) | Err(_) => return ReadTurn::ReadStore(None),
        }
    }
}

fn key(shared: &Shared) -> String {
    shared.key(NAME, "mark")
}

impl Engine {
    /// [`Engine::refresh_catalogue`] for requests with arbitrary ids: the rate is bounded for all
    /// of them together.
    pub async fn refresh_catalogue_paced(&self) {
        if self.layout().is_single_node() || self.layout().is_edge() {
            return;
        }
        let cache = self.cache();
        let mut last_check = cache.last_check.lock().await;
        let is_due = |(began, took): (Instant, Duration)| {
            began.elapsed() >= MARKER_TTL.max(took * READ_INTERVAL_FACTOR)
        };
        if last_check.is_none_or(is_due) {
            let began = Instant::now();
            cache.check_for_changes(self).await;
            *last_check = Some((began, began.elapsed()));
        }
    }
}
