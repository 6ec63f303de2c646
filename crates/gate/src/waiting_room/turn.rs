//! A turn is the time in which an admitted buyer may get a pass. If a buyer does not use the turn
//! while other buyers wait, the turn ends early. This module finds turns, and extends a turn while
//! its buyer uses it.

use doorbuster_api::gate::WaitingRoomMode;
use doorbuster_core::gate::room::{IDLE_TURN_MS, VisitorStatus};
use doorbuster_core::{BuyerId, Millis};
use doorbuster_engine::node::Node;
use doorbuster_store::EnterOutcome;
use tokio::time::Instant;

use super::batcher::PositionAction;
use super::{Admission, SaleRoom, WaitingRoomError, WaitingRooms};

/// `status` is the visitor's status as this node knows it. Returns whether another node may have
/// extended the visitor's turn since. Nodes extend a turn only in its last `IDLE_TURN_MS`.
pub(super) fn may_be_extended_elsewhere(node: &Node, status: VisitorStatus) -> bool {
    let VisitorStatus::Admitted(until) = status else { return false };
    !node.layout().is_single_node() && may_be_extended(node, until)
}

fn may_be_extended(node: &Node, until: Millis) -> bool {
    until.0 - node.now().0 <= IDLE_TURN_MS
}

impl WaitingRooms {
    /// Returns whether a buyer may get a pass.
    ///
    /// # Errors
    ///
    /// If the store must be read and is unreachable.
    pub async fn admission(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        buyer: &BuyerId,
    ) -> Result<Admission, WaitingRoomError> {
        if room.sale.front_door.waiting_room == WaitingRoomMode::Auto {
            self.record_arrival(room, buyer.as_str());
        }
        if !self.is_open(node, room) {
            return Ok(Admission::NotNeeded);
        }
        let (is_single_node, room_state) = (node.layout().is_single_node(), self.room_state(room));
        match self.cached_position(node, room, buyer).map(|shown| shown.status) {
            Some(VisitorStatus::Admitted(until)) if is_single_node => {
                return Ok(Admission::AdmittedUntil(until));
            }
            // With several nodes, the buyer may have left the room at another node, so this node
            // must read the store.
            Some(VisitorStatus::Admitted(_)) => {}
            _ if room.sale.row.phase.is_before_opening() => return Ok(Admission::MustWait),
            // A single node admits all visitors itself, so it knows every admission. With several
            // nodes, another node may have admitted the visitor, so the store must be read.
            Some(_) if is_single_node && room_state.is_fresh(Instant::now()) => {
                return Ok(Admission::MustWait);
            }
            _ => {}
        }
        let found = self.find(node, &room_state, buyer).await?;
        let until = found.and_then(|visitor| visitor.until);
        Ok(until.map_or(Admission::MustWait, Admission::AdmittedUntil))
    }

    fn is_open(&self, node: &Node, room: SaleRoom<'_>) -> bool {
        match room.sale.front_door.waiting_room {
            WaitingRoomMode::Off => false,
            WaitingRoomMode::Auto => {
                let (room_state, now) = (self.room_state(room), node.now());
                // If the mode was `always` until now, the room's row in memory may be from before
                // the change. `SaleRoom::is_auto_open` is then true for a room with visitors.
                room_state.is_auto_open(now)
                    || (room.is_auto_open(now) && room_state.progress().waiting() > 0)
            }
            WaitingRoomMode::Always => true,
        }
    }

    /// If the buyer has a turn in this room, extends it. If this node knows no turn of the buyer,
    /// it reads the store, because another node may have admitted the buyer. If this read fails,
    /// the buyer counts as a buyer without a turn.
    ///
    /// # Errors
    ///
    /// If the buyer has a turn that cannot be extended, because too many requests wait or the store
    /// is unreachable.
    pub async fn keep_turn_if_admitted(
        &self,
        node: &Node,
        room: SaleRoom<'_>,
        buyer: &BuyerId,
    ) -> Result<(), WaitingRoomError> {
        let known = self.cached_position(node, room, buyer).map(|shown| shown.status);
        let until = if let Some(VisitorStatus::Admitted(until)) = known {
            Some(until)
        } else if !node.layout().is_single_node()
            && !room.sale.row.phase.is_before_opening()
            && self.is_open(node, room)
        {
            let room_state = self.room_state(room);
            // Most buyers have no turn at this point. So if the read fails, the buyer's request
            // must not fail.
            let found = self.find(node, &room_state, buyer).await.ok().flatten();
            found.and_then(|visitor| visitor.until)
        } else {
            None
        };
        let Some(until) = until else { return Ok(()) };
        self.keep_turn(node, room, buyer, until).await.map(drop)
    }

    /// Records that an admitted buyer uses the turn, so that the turn does not end early. `until`
    /// is the end of the turn that the caller knows. Returns the new end, or `until` if the turn
    /// was not extended.
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
        if !may_be_extended(node, until) {
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
