//! A turn is the time in which an admitted buyer can get a pass. This module extends a turn while
//! the buyer uses it. While other buyers wait, a turn that its buyer does not use ends early.

use doorbuster_core::gate::room::IDLE_TURN_MS;
use doorbuster_core::{BuyerId, Millis};
use doorbuster_engine::node::Node;
use doorbuster_store::EnterOutcome;

use super::batcher::PositionAction;
use super::{SaleRoom, WaitingRoomError, WaitingRooms};

impl WaitingRooms {
    /// Records that an admitted buyer uses the turn, so that it does not end early. Returns the new
    /// end of the turn. If the turn is not extended, returns `until`, the known end of the turn.
    ///
    /// # Errors
    ///
    /// If too many requests wait, or the store is unreachable.
    pub async fn keep_turn(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        buyer: &BuyerId,
        until: Millis,
    ) -> Result<Millis, WaitingRoomError> {
        if until.0 - node.now().0 > IDLE_TURN_MS {
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
