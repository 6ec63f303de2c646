//! Creates, reads and removes positions in batches. Requests that arrive during a batch go into the
//! next batch. Only one batch runs at a time. So an old result can never replace a newer result in
//! memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use doorbuster_core::BuyerId;
use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_engine::node::Node;
use doorbuster_engine::notify::EventKind;
use doorbuster_store::{EnterOutcome, RoomKey, StoreError, StoreResult};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{mpsc, oneshot};

use super::limits::{BATCH_MAX, BATCH_QUEUE_MAX, WRITES_AT_ONCE};
use super::{WaitingRoomError, WaitingRooms};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PositionAction {
    Find,
    /// Creates a position for the buyer. If the buyer already has a position, returns this
    /// position.
    Enter,
    Leave,
    /// Extends the buyer's turn to the full duration of an admission.
    Keep,
}

#[derive(Debug)]
pub(super) struct PositionRequest {
    room: RoomKey,
    buyer: BuyerId,
    action: PositionAction,
    answer: oneshot::Sender<StoreResult<Option<EnterOutcome>>>,
}

#[derive(Debug)]
pub(super) struct PositionBatcher {
    queue: mpsc::Sender<PositionRequest>,
    /// The receiving end of the queue. `None` once the batcher runs, because the batcher has taken
    /// it.
    waiting: Mutex<Option<mpsc::Receiver<PositionRequest>>>,
    lookups: AtomicU64,
}

impl PositionBatcher {
    pub(super) fn new() -> Self {
        let (queue, waiting) = mpsc::channel(BATCH_QUEUE_MAX);
        Self { queue, waiting: Mutex::new(Some(waiting)), lookups: AtomicU64::new(0) }
    }

    /// Sends a request to the batcher, and waits for its result. When this function returns, the
    /// result is also in the room's state in memory. Returns `None` if the buyer has no position.
    pub(super) async fn request(
        &self,
        room: &RoomKey,
        buyer: &BuyerId,
        action: PositionAction,
    ) -> Result<Option<EnterOutcome>, WaitingRoomError> {
        if action == PositionAction::Find {
            self.lookups.fetch_add(1, Ordering::Relaxed);
        }
        let (answer, answered) = oneshot::channel();
        let request = PositionRequest { room: room.clone(), buyer: buyer.clone(), action, answer };
        self.queue.try_send(request).map_err(|_| WaitingRoomError::Busy)?;
        // An error here means that the batcher has dropped the sender. This happens only when the
        // program ends.
        Ok(answered.await.map_err(|_| WaitingRoomError::Busy)??)
    }

    pub(super) fn store_lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// Takes the queue of requests. Returns `None` if it was already taken. When the queue is
    /// dropped, all waiting and all later requests get [`WaitingRoomError::Busy`].
    pub(super) fn take_queue(&self) -> Option<mpsc::Receiver<PositionRequest>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs the batcher until the future is dropped. A second call returns at once.
    pub(super) async fn run(&self, rooms: &WaitingRooms, node: &Node) {
        let Some(mut waiting) = self.take_queue() else { return };
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let mut groups: BTreeMap<(RoomKey, PositionAction), Vec<PositionRequest>> =
                BTreeMap::new();
            for request in batch.drain(..) {
                groups.entry((request.room.clone(), request.action)).or_default().push(request);
            }
            for ((room, action), group) in groups {
                // Several requests of one buyer need only one call of the store.
                let distinct: BTreeSet<_> = group.iter().map(|it| it.buyer.clone()).collect();
                let distinct: Vec<_> = distinct.into_iter().collect();
                let buyers = distinct.clone();
                let found = match action {
                    PositionAction::Find => find_batch(rooms, node, &room, buyers).await,
                    PositionAction::Enter => enter_batch(rooms, node, &room, buyers).await,
                    PositionAction::Leave => leave_batch(rooms, node, &room, buyers).await,
                    PositionAction::Keep => keep_batch(rooms, node, &room, buyers).await,
                };
                send_answers(group, &distinct, found);
            }
        }
    }
}

type BatchResult = StoreResult<Vec<Option<EnterOutcome>>>;

async fn enter_batch(
    rooms: &WaitingRooms,
    node: &Node,
    room: &RoomKey,
    buyers: Vec<BuyerId>,
) -> BatchResult {
    let seed = DrawSeed::new(rand::random());
    let entered = node.store().enter_room(room, seed, buyers).await?;
    let (row, entered) =
        entered.ok_or_else(|| StoreError::Unexpected(format!("there is no sale {}", room.sale)))?;
    let room_state = rooms.state_of_key(room);
    for entered in &entered {
        if let EnterOutcome::New(visitor) | EnterOutcome::Known(visitor) = entered {
            room_state.apply_position(visitor);
        }
    }
    room_state.apply_row(&row);
    Ok(entered.into_iter().map(Some).collect())
}

async fn find_batch(
    rooms: &WaitingRooms,
    node: &Node,
    room: &RoomKey,
    buyers: Vec<BuyerId>,
) -> BatchResult {
    // The room's row is read first, so the positions are at least as new as the row.
    let row = rooms.read_row(node, room).await?;
    let visitors = node.store().visitors(room, buyers.clone()).await?;
    let room_state = rooms.state_of_key(room);
    visitors.iter().for_each(|visitor| room_state.apply_position(visitor));
    row.iter().for_each(|row| room_state.apply_row(row));
    let find = |buyer: &BuyerId| {
        visitors.iter().find(|visitor| visitor.buyer == *buyer).cloned().map(EnterOutcome::Known)
    };
    Ok(buyers.iter().map(find).collect())
}

async fn leave_batch(
    rooms: &WaitingRooms,
    node: &Node,
    room: &RoomKey,
    buyers: Vec<BuyerId>,
) -> BatchResult {
    let room_state = rooms.state_of_key(room);
    // The writes run at the same time, so that the store can commit them in one transaction.
    let leave = async |buyer: BuyerId| {
        let visitor = node.store().leave_room(room, buyer.clone()).await?;
        // The store has no position of this buyer any more, so a position in memory would be out of
        // date.
        room_state.forget(&buyer);
        StoreResult::Ok(visitor.map(EnterOutcome::Known))
    };
    stream::iter(buyers.into_iter().map(leave)).buffered(WRITES_AT_ONCE).try_collect().await
}

async fn keep_batch(
    rooms: &WaitingRooms,
    node: &Node,
    room: &RoomKey,
    buyers: Vec<BuyerId>,
) -> BatchResult {
    let room_state = rooms.state_of_key(room);
    // The writes run at the same time, so that the store can commit them in one transaction.
    let keep = |buyer| node.store().keep_turn(room, buyer, rooms.for_ms);
    let kept: Vec<_> =
        stream::iter(buyers.into_iter().map(keep)).buffered(WRITES_AT_ONCE).try_collect().await?;
    for visitor in kept.iter().flatten() {
        room_state.apply_position(visitor);
        node.hub()
            .publish(EventKind::Position { room: room.clone(), buyer: visitor.buyer.clone() });
    }
    Ok(kept.into_iter().map(|visitor| visitor.map(EnterOutcome::Known)).collect())
}

/// Sends the results of a group to its requests. `distinct` has the group's buyers, sorted. If
/// several requests of one buyer created the buyer's position, the first of them gets the result
/// `New`, and the others get `Known`.
fn send_answers(group: Vec<PositionRequest>, distinct: &[BuyerId], found: BatchResult) {
    let mut found = match found {
        Ok(found) => found,
        Err(error) => {
            for request in group {
                let _ = request.answer.send(Err(error.clone()));
            }
            return;
        }
    };
    for request in group {
        let Ok(nth) = distinct.binary_search(&request.buyer) else { continue };
        let answer = found.get(nth).cloned().flatten();
        if let Some(EnterOutcome::New(visitor)) = &answer {
            found[nth] = Some(EnterOutcome::Known(visitor.clone()));
        }
        let _ = request.answer.send(Ok(answer));
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_store::RoomVisitor;

    use super::*;

    #[test]
    fn of_repeated_requests_only_the_first_gets_a_new_position() {
        let [anna, ben] = ["anna", "ben"].map(|name| BuyerId::new(name).expect("a buyer"));
        let room = RoomKey { sale: "spring".into(), item: None };
        let request = |buyer: &BuyerId| {
            let (answer, answered) = oneshot::channel();
            let (room, buyer) = (room.clone(), buyer.clone());
            (PositionRequest { room, buyer, action: PositionAction::Enter, answer }, answered)
        };
        let (group, answers): (Vec<_>, Vec<_>) =
            [&ben, &anna, &ben].map(request).into_iter().unzip();
        let visitor = RoomVisitor { buyer: ben.clone(), lot: None, rank: Some(1), until: None };
        let found = Ok(vec![None, Some(EnterOutcome::New(visitor.clone()))]);
        send_answers(group, &[anna, ben], found);
        let got = answers
            .into_iter()
            .map(|mut answer| answer.try_recv().expect("an answer").expect("no failure"));
        let expected =
            [Some(EnterOutcome::New(visitor.clone())), None, Some(EnterOutcome::Known(visitor))];
        assert!(
            got.eq(expected),
            "the second request must find the position that the first request created"
        );
    }
}
