//! A turn is the time in which an admitted buyer may get a pass. This module extends a turn while
//! the buyer uses the turn. While other buyers wait, an idle turn ends early.

use doorbuster_core::gate::room::IDLE_TURN_MS;
use doorbuster_core::{BuyerId, Millis};
use doorbuster_engine::engine::Engine;
use doorbuster_store::EnterOutcome;

use super::batcher::PositionAction;
use super::{SaleRoom, WaitingRoomError, WaitingRooms};

impl WaitingRooms {
    /// Records that an admitted buyer uses the turn, so that the turn does not count as idle.
    /// Returns the new end of the turn, or `until` if the turn is not extended.
    ///
    /// # Errors
    ///
    /// If too many requests wait, or the store is unreachable.
    pub async fn keep_turn(
        &self,
        engine: &Engine,
        room: SaleRoom<'_>,
        buyer: &BuyerId,
        until: Millis,
    ) -> Result<Millis, WaitingRoomError> {
        if until.0 - engine.now().0 > IDLE_TURN_MS {
            return Ok(until);
        }
        let room_state = self.room_state(room);
        let kept = self.batcher.request(room_state.key(), buyer, PositionAction::Keep).await?;
        Ok(match kept {
            Some(EnterOutcome::Known(visitor)) => visitor.until.unwrap_or(until),
            _ => until,
        })
    }
}
