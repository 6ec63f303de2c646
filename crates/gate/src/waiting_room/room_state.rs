//! One waiting room in a node's memory. The state has the room's row as it was last read, the
//! positions of this node's visitors, and the lots of the room's draw.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorbuster_core::gate::draw::DrawLot;
use doorbuster_core::gate::room::{
    LEFT, PaceEstimator, QueuePosition, RoomProgress, VisitorStatus, WaitEstimate,
};
use doorbuster_core::{BuyerId, Millis};
use doorbuster_engine::sale_room::{Arrivals, arrivals_counted_max};
use doorbuster_store::{RoomKey, RoomVisitor, WaitingRoom};
use tokio::time::Instant;

use super::WaitingRoomCounts;
use super::limits::{FRESH_FOR, NOTIFIED_PER_SEC, POSITIONS_MAX, PUBLISH_INTERVAL, admissions_max};

#[derive(Debug)]
struct RoomMemory {
    room: Option<WaitingRoom>,
    /// The positions of visitors. A visitor who takes part in the draw has no rank until the draw
    /// is closed. When this node has read the lots, it sets the visitor's rank the next time it
    /// uses the position.
    positions: HashMap<BuyerId, QueuePosition>,
    /// The lots of all visitors who take part in the draw, sorted. `None` until the lots were read.
    lots: Option<Box<[DrawLot]>>,
    /// This node knows all admissions up to this rank.
    known_to: Option<u64>,
    pace: PaceEstimator,
    /// Whether this node's last read found no row of this room in the store.
    has_none: bool,
    read: Option<Instant>,
    counted: Option<Instant>,
    published: Option<(Instant, RoomProgress, Option<u64>)>,
}

impl RoomMemory {
    fn new(per_sec: u64) -> Self {
        Self {
            room: None,
            positions: HashMap::new(),
            lots: None,
            known_to: None,
            pace: PaceEstimator::new(admissions_max(per_sec)),
            has_none: false,
            read: None,
            counted: None,
            published: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct WaitingRoomState {
    key: RoomKey,
    item_name: Option<String>,
    per_sec: u64,
    state: Mutex<RoomMemory>,
    drawing: tokio::sync::Mutex<()>,
    reading: tokio::sync::Mutex<()>,
    created: Instant,
}

impl WaitingRoomState {
    pub(super) fn new(key: RoomKey, item_name: Option<String>, per_sec: u64) -> Self {
        Self {
            key,
            item_name,
            per_sec,
            state: Mutex::new(RoomMemory::new(per_sec)),
            drawing: tokio::sync::Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            created: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, RoomMemory> {
        // No code panics while it changes the state under this lock. So the state is consistent
        // even if the lock is poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn key(&self) -> &RoomKey {
        &self.key
    }

    pub(super) fn forget_all(&self) {
        *self.lock() = RoomMemory::new(self.per_sec);
    }

    /// Locks the read of the room's row, so that only one task at a time reads it.
    pub(super) async fn lock_read(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.reading.lock().await
    }

    pub(super) fn age(&self) -> Duration {
        self.created.elapsed()
    }

    /// Locks the read of the lots, so that only one task at a time reads them.
    pub(super) async fn lock_draw(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.drawing.lock().await
    }

    pub(super) fn room(&self) -> Option<WaitingRoom> {
        self.lock().room.clone()
    }

    /// Stores the room's row. If this node already knows a newer version of the row, changes
    /// nothing. If the row has another seed, the sale was deleted and created again, so this
    /// function first forgets the room of the deleted sale.
    pub(super) fn apply_row(&self, room: &WaitingRoom) {
        let mut state = self.lock();
        if state.room.as_ref().is_some_and(|known| known.seed != room.seed) {
            *state = RoomMemory::new(self.per_sec);
        }
        let is_older = |known: &WaitingRoom| {
            room.line.admitted < known.line.admitted
                || room.line.entered < known.line.entered
                || (room.line.participants.is_none() && known.line.participants.is_some())
        };
        if !state.room.as_ref().is_some_and(is_older) {
            state.room = Some(room.clone());
        }
        if state.known_to.is_none() {
            // A position in memory may be from before the visitor's admission, so the node must
            // read all admissions. If it has no position in memory, it needs no earlier admissions,
            // because it reads each position from the store together with the admission.
            state.known_to = Some(if state.positions.is_empty() { room.line.admitted } else { 0 });
        }
    }

    pub(super) fn set_absent(&self) {
        self.lock().has_none = true;
    }

    pub(super) fn is_absent(&self) -> bool {
        self.lock().has_none
    }

    /// Records that the room's row and all its admissions were read. `at` is the time at which this
    /// read began.
    pub(super) fn set_read_at(&self, at: Instant) {
        self.lock().read = Some(at);
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.lock().read.is_some_and(|at| now.saturating_duration_since(at) <= FRESH_FOR)
    }

    /// Returns whether this node knows all ranks: the draw is closed, and the node has read the
    /// draw's lots.
    pub(super) fn is_drawn(&self) -> bool {
        let state = self.lock();
        state.lots.is_some()
            && state.room.as_ref().is_some_and(|room| room.line.participants.is_some())
    }

    pub(super) fn set_lots(&self, lots: Vec<DrawLot>) {
        self.lock().lots = Some(lots.into());
    }

    pub(super) fn apply_position(&self, visitor: &RoomVisitor) {
        let mut state = self.lock();
        if state.positions.len() < POSITIONS_MAX || state.positions.contains_key(&visitor.buyer) {
            state.positions.insert(visitor.buyer.clone(), visitor.queue_position(None));
        }
    }

    pub(super) fn forget(&self, buyer: &BuyerId) {
        self.lock().positions.remove(buyer);
    }

    /// Records that these visitors were admitted. Keeps a visitor's position only if this node
    /// already has one in memory, or if `reads` returns `true` for the visitor. Returns the
    /// visitors whose positions were kept.
    pub(super) fn apply_admitted(
        &self,
        admitted: &[RoomVisitor],
        reads: impl Fn(&BuyerId) -> bool,
    ) -> Vec<BuyerId> {
        let mut state = self.lock();
        let mut here = Vec::new();
        for visitor in admitted {
            // A visitor who leaves the room keeps the rank, so `admitted` may contain such
            // visitors. They do not count as admitted.
            let until = visitor.until.filter(|until| *until != LEFT);
            until.into_iter().for_each(|until| state.pace.note_admission(until));
            if let Some(held) = state.positions.get_mut(&visitor.buyer) {
                *held = visitor.queue_position(None);
                here.push(visitor.buyer.clone());
            } else if state.positions.len() < POSITIONS_MAX && reads(&visitor.buyer) {
                state.positions.insert(visitor.buyer.clone(), visitor.queue_position(None));
                here.push(visitor.buyer.clone());
            }
            state.known_to = state.known_to.max(visitor.rank);
        }
        let last = admitted.iter().filter_map(|visitor| visitor.rank).max();
        if let (Some(room), Some(last)) = (&mut state.room, last) {
            room.line.admitted = room.line.admitted.max(last);
        }
        here
    }

    pub(super) fn admitted_up_to(&self) -> u64 {
        self.lock().known_to.unwrap_or(0)
    }

    /// Returns whether this node may answer with the buyer's position from memory. This is allowed
    /// in these cases:
    ///
    /// - The visitor is admitted.
    /// - The sale has not opened, and this node does not know a closed draw.
    /// - The sale has opened, and this node knows the ranks of the draw.
    pub(super) fn can_answer(&self, buyer: &BuyerId, is_before_opening: bool) -> bool {
        let is_called = |position: &QueuePosition| position.until.is_some();
        self.is_drawn() != is_before_opening
            || self.lock().positions.get(buyer).is_some_and(is_called)
    }

    /// Returns the buyer's status and the estimated wait. If the position is not in memory, uses
    /// `found`, the position in the store. Returns `None` if the buyer has no valid position, or if
    /// the room's state in memory is too old or incomplete to tell.
    pub(super) fn position(
        &self,
        buyer: &BuyerId,
        found: Option<&RoomVisitor>,
        free: Option<u64>,
        now: Millis,
    ) -> Option<(VisitorStatus, Option<WaitEstimate>)> {
        let mut state = self.lock();
        let RoomMemory { room, positions, lots, pace, .. } = &mut *state;
        let mut found = found.map(|visitor| visitor.queue_position(None));
        let position = positions.get_mut(buyer).or(found.as_mut())?;
        let room = room.as_ref()?;
        if let (None, Some(lots)) = (position.rank, lots) {
            let drawn = lots.binary_search(&room.lot(buyer));
            position.rank = drawn.ok().map(|at| at as u64 + 1);
        }
        let line = room.line;
        if position.until.is_none() && position.rank.is_some_and(|rank| rank <= line.admitted) {
            // The visitor is admitted, but this node has not yet read the time until which the
            // admission is valid.
            return None;
        }
        let status = position.status(&line, free, now);
        match status {
            VisitorStatus::Lapsed => None,
            VisitorStatus::Waiting(position) => Some((status, pace.estimate(position))),
            VisitorStatus::NotDrawn
            | VisitorStatus::BeyondStock(_)
            | VisitorStatus::Admitted(_) => Some((status, None)),
        }
    }

    /// Sets the maximum number of visitors that the room admits in one check. The waiting times
    /// that visitors see are estimated from this number.
    pub(super) fn set_admissions_max(&self, admissions_max: u64) {
        self.lock().pace.set_admissions_max(admissions_max);
    }

    pub(super) fn progress(&self) -> RoomProgress {
        self.lock().room.as_ref().map(|room| room.line).unwrap_or_default()
    }

    pub(super) fn record_pace(&self, now: Millis, free: Option<u64>, limit: u64) {
        let mut state = self.lock();
        let line = state.room.as_ref().map(|room| room.line).unwrap_or_default();
        state.pace.note_progress(now, &line, free, limit);
    }

    /// Returns whether too many buyers arrive. All nodes serve the room, and `nodes` is their
    /// number. So the bound for the arrivals at one node is the room's admissions per second,
    /// divided by `nodes`. Returns `false` at the first call and during the first second after a
    /// count.
    pub(super) fn is_overcrowded(&self, arrivals: &Arrivals, at: Instant, nodes: u64) -> bool {
        let mut state = self.lock();
        let Some(since) =
            state.counted.map(|since| at.saturating_duration_since(since).as_millis())
        else {
            state.counted = Some(at);
            arrivals.take_count();
            return false;
        };
        if since < 1_000 {
            return false;
        }
        state.counted = Some(at);
        let arrived = arrivals.take_count();
        arrived >= arrivals_counted_max(self.per_sec)
            || arrived as u128 * u128::from(nodes.max(1)) * 1_000 > u128::from(self.per_sec) * since
    }

    pub(super) fn is_auto_open(&self, now: Millis) -> bool {
        self.lock().room.as_ref().and_then(|room| room.open_until).is_some_and(|until| now < until)
    }

    /// Returns whether to send notifications about the room's positions now.
    ///
    /// - Some changes are notified at once: the last free unit is gone, units are free again, or
    ///   the draw was closed. The first call also returns `true`.
    /// - All other changes are notified only when a required time has passed since the last
    ///   notification.
    ///
    /// The required time grows with `readers`, the number of notifications that one change in each
    /// room of the sale causes.
    pub(super) fn should_publish(&self, free: Option<u64>, readers: usize, at: Instant) -> bool {
        let mut state = self.lock();
        let Some(line) = state.room.as_ref().map(|room| room.line) else { return false };
        let must_publish = match state.published {
            None => true,
            Some((before, notified_waiting, notified_free)) => {
                let turned = (notified_free == Some(0)) != (free == Some(0))
                    || notified_waiting.participants != line.participants;
                let every =
                    PUBLISH_INTERVAL.mul_f64((readers as f64 / NOTIFIED_PER_SEC as f64).max(1.0));
                let changed = notified_waiting.admitted != line.admitted || notified_free != free;
                turned || (changed && at.saturating_duration_since(before) >= every)
            }
        };
        if must_publish {
            state.published = Some((at, line, free));
        }
        must_publish
    }

    pub(super) fn counts(&self) -> WaitingRoomCounts {
        let state = self.lock();
        let line = state.room.as_ref().map(|room| room.line).unwrap_or_default();
        WaitingRoomCounts {
            sale: self.key.sale.clone(),
            item: self.item_name.clone(),
            waiting: line.waiting(),
            admitted: line.admitted,
            in_memory: state.positions.len() as u64,
        }
    }
}
