//! What is read of the truth for whoever asks for what this node does not know, and how seldom.
//!
//! A node's catalogue has every sale, and is told of every change: what buyers ask for is answered
//! from it. An id that is not there is either no sale's, or one that was made elsewhere a moment
//! ago. Which of the two is read from the store: by one request of a node at a time, by one node of
//! a cluster at a time, and not again for as long as the answer "there is nothing new" is
//! remembered: here, and where nodes share a Redis, there. That is one short marker for all unknown
//! ids, so that random ones cost no memory and no more reads than one.
//!
//! Where something is new, one node reads all of it and leaves a copy in that Redis, which the
//! others take. `docs/caching.md` has the whole picture.
mod copy;
mod numbers;

use std::time::Duration;

use doorbuster_slots::{LockGuard, Locks, Shared, SlotError};
use doorbuster_store::{CatalogueRows, StoreError};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

pub use numbers::Numbers;

use crate::engine::Engine;

/// So long "there is nothing new" is believed, on each node and between them.
const NOTHING_NEW: Duration = Duration::from_millis(10);
/// The store is read for unknown ids at most in this part of the time, however long a reading
/// takes.
const BUSY_PARTS: u32 = 10;
/// How long a node waits for another one's reading before it reads for itself.
const OTHER_READS_MAX: Duration = Duration::from_millis(50);
/// Between two looks whether it is done.
const OTHER_READS_POLL: Duration = Duration::from_millis(2);
/// Of the lock under which is looked whether there is something new, and of the keys in the shared
/// Redis.
const NAME: &str = "catalogue";

/// What a node keeps for it.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Where nodes share one.
    shared: Option<(Shared, Locks)>,
    /// Held by whoever asks the store: when that began, and how long it took.
    looked: Mutex<Option<(Instant, Duration)>>,
}

/// What nodes have one of them read.
trait Wanted {
    /// What the others take from it.
    type Found;
    /// The lock that it takes.
    const LOCK: &'static str;

    /// What another node left.
    async fn left(&self, engine: &Engine, shared: &Shared) -> Result<Left<Self::Found>, SlotError>;
}

enum Left<T> {
    /// What is wanted.
    This(T),
    /// Something else, which shows that it is of no use to wait.
    Other,
    /// Nothing of use.
    Nothing,
}

/// Whether the newest reading of the truth is what this node has.
struct News;

impl Wanted for News {
    type Found = ();
    const LOCK: &'static str = NAME;

    async fn left(&self, engine: &Engine, shared: &Shared) -> Result<Left<()>, SlotError> {
        let said = shared.get(&key(shared)).await?;
        Ok(match said {
            None => Left::Nothing,
            Some(mark) if mark == engine.catalogue().mark().to_string().into_bytes() => {
                Left::This(())
            }
            Some(_) => Left::Other,
        })
    }
}

/// All sales of this version.
struct Sales<'a> {
    version: &'a str,
}

impl Wanted for Sales<'_> {
    type Found = CatalogueRows;
    const LOCK: &'static str = "catalogue:sales";

    async fn left(
        &self,
        engine: &Engine,
        shared: &Shared,
    ) -> Result<Left<CatalogueRows>, SlotError> {
        copy::get(shared, engine.id_key(), self.version).await
    }
}

impl Cache {
    pub(crate) fn new(shared: Option<(Shared, Locks)>) -> Self {
        Self { shared, looked: Mutex::default() }
    }

    /// The server that nodes share, and locks there.
    pub(crate) fn shared(&self) -> Option<(&Shared, &Locks)> {
        self.shared.as_ref().map(|(shared, locks)| (shared, locks))
    }

    /// Makes sure that the catalogue was the newest a moment ago. A Redis or a store that is away
    /// changes nothing: what is known is what is said.
    async fn look(&self, engine: &Engine) {
        let Some((shared, locks)) = self.shared() else {
            drop(engine.catch_up().await);
            return;
        };
        let Turn::Reads(held) = one_reads(engine, (shared, locks), &News).await else { return };
        let read = engine.catch_up().await;
        if let Some(held) = held {
            if read.is_ok() && held.is_held() {
                let mark = engine.catalogue().mark().to_string();
                // Not written: others read for themselves.
                drop(shared.set(&key(shared), mark.as_bytes(), NOTHING_NEW).await);
            }
            held.release().await;
        }
    }

    /// All sales as of this version, which the truth has just named, or of a later one: another
    /// node's copy, else the truth.
    pub(crate) async fn rows(
        &self,
        engine: &Engine,
        version: &str,
    ) -> Result<CatalogueRows, StoreError> {
        let Some((shared, locks)) = self.shared() else { return read(engine).await };
        match one_reads(engine, (shared, locks), &Sales { version }).await {
            Turn::There(rows) => Ok(rows),
            Turn::Reads(None) => read(engine).await,
            Turn::Reads(Some(held)) => {
                let rows = read(engine).await;
                let parcel =
                    rows.as_ref().ok().map(|rows| copy::Parcel::of(shared, engine.id_key(), rows));
                let shared = shared.clone();
                // Beside: what was read is shown here at once, however long a Redis takes.
                engine.tasks().spawn(async move {
                    if let Some(parcel) = parcel {
                        parcel.leave(&shared).await;
                    }
                    held.release().await;
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

/// Whose turn it is.
enum Turn<T> {
    /// Nobody's: another node left what was asked for.
    There(T),
    /// This node reads the truth: for all of them while it has the lock, else for itself.
    Reads(Option<LockGuard>),
}

/// Has one node of several read what all of them want, and the others wait for it a little; whoever
/// cannot ask them reads for itself.
async fn one_reads<W: Wanted>(
    engine: &Engine,
    (shared, locks): (&Shared, &Locks),
    wanted: &W,
) -> Turn<W::Found> {
    let (until, mut held) = (Instant::now() + OTHER_READS_MAX, None);
    loop {
        match timeout_at(until, wanted.left(engine, shared)).await {
            // A lock that was taken for nothing goes beside.
            Ok(Ok(Left::This(found))) => return Turn::There(found),
            Ok(Ok(Left::Nothing)) if held.is_none() => {}
            // The lock is had and nobody was faster; or another node knows more; or the Redis is
            // away.
            _ => return Turn::Reads(held),
        }
        match timeout_at(until, locks.try_take(W::LOCK)).await {
            Ok(Ok(Some(taken))) => held = Some(taken),
            Ok(Ok(None)) if Instant::now() < until => tokio::time::sleep(OTHER_READS_POLL).await,
            Ok(Ok(None) | Err(_)) | Err(_) => return Turn::Reads(None),
        }
    }
}

fn key(shared: &Shared) -> String {
    shared.key(NAME, "mark")
}

impl Engine {
    /// [`Engine::catch_up`], but for those who may ask for anything: at most so often for all of
    /// them.
    pub async fn catch_up_now_and_then(&self) {
        if self.layout().is_alone() {
            return;
        }
        let cache = self.cache();
        let mut looked = cache.looked.lock().await;
        let is_due = |(began, took): (Instant, Duration)| {
            began.elapsed() >= NOTHING_NEW.max(took * BUSY_PARTS)
        };
        if looked.is_none_or(is_due) {
            let began = Instant::now();
            cache.look(self).await;
            *looked = Some((began, began.elapsed()));
        }
    }
}
