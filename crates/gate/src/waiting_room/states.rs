//! The states of all waiting rooms in a node's memory.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use doorbuster_store::RoomKey;
use tokio::sync::watch;

use super::room_state::WaitingRoomState;
use super::{SaleRoom, WaitingRooms};

/// A state stays in memory for at least this long after it was created.
const KEPT_FOR: Duration = Duration::from_secs(5);

impl WaitingRooms {
    pub(super) fn existing_state(&self, key: &RoomKey) -> Option<Arc<WaitingRoomState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub(super) fn room_state(&self, room: SaleRoom<'_>) -> Arc<WaitingRoomState> {
        let (key, item) = (room.key(), room.item_name().map(str::to_owned));
        self.state_or(key, || (item, room.part_of(self.per_sec)))
    }

    /// Returns the state of the room with this key. If the state was removed after the end of the
    /// sale, creates an empty state.
    pub(super) fn state_of_key(&self, key: &RoomKey) -> Arc<WaitingRoomState> {
        self.state_or(key.clone(), || (None, self.per_sec))
    }

    fn state_or(
        &self,
        key: RoomKey,
        parts: impl FnOnce() -> (Option<String>, u64),
    ) -> Arc<WaitingRoomState> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room_state) = states.get(&key) {
            return room_state.clone();
        }
        let (item, per_sec) = parts();
        let room_state = Arc::new(WaitingRoomState::new(key.clone(), item, per_sec));
        states.insert(key, room_state.clone());
        room_state
    }

    pub(super) fn all_states(&self) -> Vec<Arc<WaitingRoomState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Removes the states of ended rooms. A state stays for at least [`KEPT_FOR`] after its
    /// creation, so that even many requests for an ended room read the store only once in this
    /// time.
    pub(super) fn retain_rooms(&self, is_kept: impl Fn(&RoomKey) -> bool) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(|key, room_state| is_kept(key) || room_state.age() < KEPT_FOR);
    }

    /// If the database's history has changed since the last call, empties the states of all rooms.
    /// The history changes with a failover. After a failover, the database may lack its newest
    /// commits. Its rows would then seem older than the states in memory, and the node would ignore
    /// the rows.
    ///
    /// This function empties each state but keeps the object. Requests in progress use the objects,
    /// and the batcher could not create them again, because it does not know a room's item and rate
    /// of admissions.
    pub(super) fn forget_after_failover(&self, history: Option<&mut watch::Receiver<i64>>) {
        if let Some(history) = history
            && history.has_changed().unwrap_or(false)
        {
            history.mark_unchanged();
            self.all_states().iter().for_each(|room_state| room_state.forget_all());
        }
    }
}
