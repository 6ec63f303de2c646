//! What is read of the truth for whoever asks for what this node does not know, and how seldom.
//!
//! A node's catalogue has every sale, and is told of every change: what buyers ask for is answered from it. An id that is not there is either no
//! sale's, or one that was made elsewhere a moment ago. Which of the two is read from the store: by one request of a node at a time, by one node of a
//! cluster at a time, and not again for as long as the answer "there is nothing new" is remembered: here, and where nodes share a Redis, there. That
//! is one short marker for all unknown ids, so that random ones cost no memory and no more reads than one. `docs/caching.md` has the whole picture.
mod numbers;

use std::time::Duration;

use doorbuster_slots::{Held, Locks, Shared, SlotError};
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use numbers::Numbers;

use crate::engine::Engine;

/// So long "there is nothing new" is believed, on each node and between them.
const NOTHING_NEW: Duration = Duration::from_millis(10);
/// The store is read for unknown ids at most in this part of the time, however long a reading takes.
const BUSY_PARTS: u32 = 10;
/// How long a node waits for another one's reading before it reads for itself.
const OTHER_READS_MAX: Duration = Duration::from_millis(50);
/// Between two looks whether it is done.
const OTHER_READS_POLL: Duration = Duration::from_millis(2);
/// Of the lock, and of the key in the shared Redis.
const NAME: &str = "catalogue";

/// What a node keeps for it.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// Where nodes share one.
    shared: Option<(Shared, Locks)>,
    /// Held by whoever asks the store: when that began, and how long it took.
    looked: Mutex<Option<(Instant, Duration)>>,
}

/// What the other nodes know.
enum Told {
    /// The newest reading of the truth is what this node has.
    Same,
    /// It is something else.
    Other,
    /// Nobody read it just now.
    Nothing,
}

impl Cache {
    pub(crate) fn new(shared: Option<(Shared, Locks)>) -> Self {
        Self { shared, looked: Mutex::default() }
    }

    /// The server that nodes share, and locks there.
    pub(crate) fn shared(&self) -> Option<(&Shared, &Locks)> {
        self.shared.as_ref().map(|(shared, locks)| (shared, locks))
    }

    /// Makes sure that the catalogue was the newest a moment ago. A Redis or a store that is away changes nothing: what is known is what is said.
    async fn look(&self, engine: &Engine) {
        let Some((shared, locks)) = self.shared() else {
            drop(engine.catch_up().await);
            return;
        };
        let Some(held) = reads(engine, shared, locks).await else { return };
        let read = engine.catch_up().await;
        if let Reads::Alone(held) = held {
            if read.is_ok() && held.is_held() {
                let mark = engine.catalogue().mark().to_string();
                // Not written: others read for themselves.
                drop(shared.set(&key(shared), mark.as_bytes(), NOTHING_NEW).await);
            }
            held.release().await;
        }
    }
}

/// How this node reads.
enum Reads {
    /// For all of them.
    Alone(Held),
    /// For itself.
    Too,
}

/// Whether this node has to read the store. `None`: there is nothing new.
async fn reads(engine: &Engine, shared: &Shared, locks: &Locks) -> Option<Reads> {
    let until = Instant::now() + OTHER_READS_MAX;
    loop {
        match told(engine, shared).await {
            Ok(Told::Same) => return None,
            Ok(Told::Nothing) => {}
            // Another node knows more, or the Redis is away.
            Ok(Told::Other) | Err(_) => return Some(Reads::Too),
        }
        match locks.try_take(NAME).await {
            Ok(Some(held)) => return Some(Reads::Alone(held)),
            Ok(None) if Instant::now() < until => tokio::time::sleep(OTHER_READS_POLL).await,
            Ok(None) | Err(_) => return Some(Reads::Too),
        }
    }
}

async fn told(engine: &Engine, shared: &Shared) -> Result<Told, SlotError> {
    let said = shared.get(&key(shared)).await?;
    Ok(match said {
        None => Told::Nothing,
        Some(mark) if mark == engine.catalogue().mark().to_string().into_bytes() => Told::Same,
        Some(_) => Told::Other,
    })
}

fn key(shared: &Shared) -> String {
    shared.key(NAME, "mark")
}

impl Engine {
    /// [`Engine::catch_up`], but for those who may ask for anything: at most so often for all of them.
    pub async fn catch_up_now_and_then(&self) {
        if self.layout().is_alone() {
            return;
        }
        let cache = self.cache();
        let mut looked = cache.looked.lock().await;
        let is_due = |(began, took): (Instant, Duration)| began.elapsed() >= NOTHING_NEW.max(took * BUSY_PARTS);
        if looked.is_none_or(is_due) {
            let began = Instant::now();
            cache.look(self).await;
            *looked = Some((began, began.elapsed()));
        }
    }
}
