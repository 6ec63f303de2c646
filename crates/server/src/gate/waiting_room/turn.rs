//! A buyer's turn: while others wait, an idle one ends early.

use doorbuster_core::gate::room::IDLE_TURN_MS;
use doorbuster_core::{BuyerId, Millis};
use doorbuster_store::EnterOutcome;

use super::batcher::PositionAction;
use super::{WaitingRoomError, WaitingRooms};
use crate::catalogue::SaleState;
use crate::engine::Engine;

impl WaitingRooms {
    /// Notes that an admitted buyer uses the turn: while others wait, an idle turn ends sooner.
    /// Returns the end of the turn after that, or `until` if it cannot be kept.
    ///
    /// # Errors
    ///
    /// If too many requests wait, or the store is unreachable.
    pub async fn keep_turn(
        &self,
        engine: &Engine,
        sale: &SaleState,
        buyer: &BuyerId,
        until: Millis,
    ) -> Result<Millis, WaitingRoomError> {
        if until.0 - engine.now().0 > IDLE_TURN_MS {
            return Ok(until);
        }
        let room_state = self.room_state(&sale.row.id);
        let kept = self.batcher.request(room_state.sale(), buyer, PositionAction::Keep).await?;
        Ok(match kept {
            Some(EnterOutcome::Known(visitor)) => visitor.until.unwrap_or(until),
            _ => until,
        })
    }
}
