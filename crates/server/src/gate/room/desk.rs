//! The desk: where places are given and looked up, in batches. What comes while one batch is written goes into the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_core::BuyerId;
use doorbuster_core::gate::draw::Seed;
use doorbuster_store::{Entered, StoreError, StoreResult};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::limits::{DESK_BATCH_MAX, DESK_MAX};
use super::{RoomError, Rooms};
use crate::engine::Engine;

/// Somebody at the desk.
#[derive(Debug)]
struct Asked {
    sale: Arc<str>,
    buyer: BuyerId,
    /// Takes a place; else only looks for it.
    enters: bool,
    answer: oneshot::Sender<StoreResult<Option<Entered>>>,
}

/// The desk of this node.
#[derive(Debug)]
pub(super) struct Desk {
    queue: mpsc::Sender<Asked>,
    waiting: Mutex<mpsc::Receiver<Asked>>,
    looks: AtomicU64,
}

impl Desk {
    pub(super) fn new() -> Self {
        let (queue, waiting) = mpsc::channel(DESK_MAX);
        Self { queue, waiting: Mutex::new(waiting), looks: AtomicU64::new(0) }
    }

    /// Takes a place or looks for it. What comes back is in the sale's hall by then. `None`: there is no place.
    pub(super) async fn ask(
        &self,
        sale: &Arc<str>,
        buyer: &BuyerId,
        enters: bool,
    ) -> Result<Option<Entered>, RoomError> {
        if !enters {
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        let (answer, answered) = oneshot::channel();
        let asked = Asked { sale: sale.clone(), buyer: buyer.clone(), enters, answer };
        self.queue.try_send(asked).map_err(|_| RoomError::Busy)?;
        // The desk is dropped only with the program.
        Ok(answered.await.map_err(|_| RoomError::Busy)??)
    }

    /// Places that were looked for in the store.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Serves until it is dropped.
    pub(super) async fn work(&self, rooms: &Rooms, engine: &Engine) {
        let mut waiting = self.waiting.lock().await;
        let mut batch = Vec::with_capacity(DESK_BATCH_MAX);
        while waiting.recv_many(&mut batch, DESK_BATCH_MAX).await > 0 {
            let mut groups: BTreeMap<(Arc<str>, bool), Vec<Asked>> = BTreeMap::new();
            for asked in batch.drain(..) {
                groups.entry((asked.sale.clone(), asked.enters)).or_default().push(asked);
            }
            for ((sale, enters), group) in groups {
                let buyers = group.iter().map(|asked| asked.buyer.clone()).collect();
                let found = match enters {
                    true => enter(rooms, engine, &sale, buyers).await,
                    false => find(rooms, engine, &sale, buyers).await,
                };
                answer(group, found);
            }
        }
    }
}

type Found = StoreResult<Vec<Option<Entered>>>;

async fn enter(rooms: &Rooms, engine: &Engine, sale: &Arc<str>, buyers: Vec<BuyerId>) -> Found {
    let seed = Seed::new(rand::random());
    let entered = engine.store().enter_room(sale, seed, buyers).await?;
    let (room, entered) =
        entered.ok_or_else(|| StoreError::Unexpected(format!("there is no sale {sale}")))?;
    let hall = rooms.hall(sale);
    for entered in &entered {
        if let Entered::New(place) | Entered::Known(place) = entered {
            hall.learn(place);
        }
    }
    hall.know(&room);
    Ok(entered.into_iter().map(Some).collect())
}

async fn find(rooms: &Rooms, engine: &Engine, sale: &Arc<str>, buyers: Vec<BuyerId>) -> Found {
    // The room first: a place is at least as new as what is known of its line.
    let rows = engine.store().rooms(vec![sale.to_string()]).await?;
    let places = engine.store().places(sale, buyers.clone()).await?;
    let hall = rooms.hall(sale);
    places.iter().for_each(|place| hall.learn(place));
    rows.iter().for_each(|room| hall.know(room));
    let find = |buyer: &BuyerId| {
        places.iter().find(|place| place.buyer == *buyer).cloned().map(Entered::Known)
    };
    Ok(buyers.iter().map(find).collect())
}

/// Whoever is gone meanwhile hears nothing.
fn answer(group: Vec<Asked>, found: Found) {
    match found {
        Ok(found) => {
            for (asked, found) in group.into_iter().zip(found) {
                let _ = asked.answer.send(Ok(found));
            }
        }
        Err(error) => {
            for asked in group {
                let _ = asked.answer.send(Err(error.clone()));
            }
        }
    }
}
