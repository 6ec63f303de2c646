//! Checks a purchase at the front door: blocks, requirements and limits, in this order.

use doorbuster_api::gate::WaitingRoomMode;
use doorbuster_core::Millis;
use doorbuster_core::gate::shared_limit::Counting;
use doorbuster_engine::catalogue::{ItemState, SaleState};
use doorbuster_engine::purchase::{DoorAnswer, DoorRefusal};
use doorbuster_engine::sale_limits::Route;
use doorbuster_engine::sale_room::SaleRoom;
use doorbuster_gate::{LimitCheck, PendingLimit, RateLimitExceeded, RateLimitStatus};

use super::App;
use super::identity::ClientAddress;

#[derive(Debug, Default)]
pub(super) struct DoorState {
    pub(super) refusal: Option<DoorRefusal>,
    /// The state of the caller's limits. `None` if the limits were not checked.
    pub(super) limit_status: Option<RateLimitStatus>,
    /// Set if this node has no share of a limit left. The check then waits for a new share.
    pub(super) pending: Option<Box<PendingLimit>>,
}

impl DoorState {
    pub(super) fn answer(&self) -> DoorAnswer {
        match (self.refusal, &self.pending) {
            (Some(refusal), _) => DoorAnswer::Refused(refusal),
            (None, Some(_)) => DoorAnswer::Undecided,
            (None, None) => DoorAnswer::Open,
        }
    }

    fn refused(refusal: DoorRefusal) -> Self {
        Self { refusal: Some(refusal), ..Self::default() }
    }
}

impl From<RateLimitExceeded> for DoorState {
    fn from(exceeded: RateLimitExceeded) -> Self {
        let RateLimitExceeded { scope, retry_after_secs, status } = exceeded;
        let refusal = Some(DoorRefusal::RateLimited { scope, retry_after_secs });
        Self { refusal, limit_status: Some(status), pending: None }
    }
}

impl App {
    /// Checks a request in this sequence: whether the caller is blocked, whether the buyer meets
    /// the sale's requirements, and whether the rate limits allow the request. `against_buyer` is
    /// the refusal of a buyer who does not meet a requirement, or `None` if the buyer meets all
    /// requirements.
    pub(super) fn door(
        &self,
        (client, buyer): (ClientAddress, &str),
        sale: &SaleState,
        item: &ItemState,
        against_buyer: Option<DoorRefusal>,
        now: Millis,
        counting: Counting,
    ) -> DoorState {
        if self.gate.blocks.is_blocked(client.addresses(), buyer, now) {
            return DoorState::refused(DoorRefusal::Blocked);
        }
        if let Some(refusal) = against_buyer {
            return DoorState::refused(refusal);
        }
        let limits = &self.gate.limits;
        match limits.acquire((Route::Purchase, counting), client.caller(buyer), sale) {
            Ok(LimitCheck::Counted(status)) => {
                self.admitted(buyer, sale.room_of(item), now, status)
            }
            Ok(LimitCheck::Pending(pending)) => {
                DoorState { pending: Some(pending), ..DoorState::default() }
            }
            Err(exceeded) => exceeded.into(),
        }
    }

    pub(super) async fn finish_door(
        &self,
        pending: PendingLimit,
        (client, buyer): (ClientAddress, &str),
        sale: &SaleState,
        item: &ItemState,
        now: Millis,
    ) -> DoorState {
        match self.gate.limits.finish(pending, client.caller(buyer), sale).await {
            Ok(status) => self.admitted(buyer, sale.room_of(item), now, status),
            Err(exceeded) => exceeded.into(),
        }
    }

    /// Checks a request to join a waitlist. If this node has no shares of the limits left, waits
    /// for new shares.
    pub(super) async fn door_refusal(
        &self,
        (client, buyer): (ClientAddress, &str),
        sale: &SaleState,
        item: &ItemState,
        against_buyer: Option<DoorRefusal>,
        now: Millis,
    ) -> Option<DoorRefusal> {
        let counting = Counting::BeforeAnswer;
        let DoorState { refusal, pending, .. } =
            self.door((client, buyer), sale, item, against_buyer, now, counting);
        match pending {
            Some(pending) => {
                self.finish_door(*pending, (client, buyer), sale, item, now).await.refusal
            }
            None => refusal,
        }
    }

    fn admitted(
        &self,
        buyer: &str,
        room: SaleRoom<'_>,
        now: Millis,
        status: RateLimitStatus,
    ) -> DoorState {
        // An automatic waiting room opens when too many buyers arrive, so arrivals are counted
        // while the room is closed. On an edge, arrivals are not counted, because the node behind
        // the edge counts them.
        let is_counted =
            room.sale.front_door.waiting_room == WaitingRoomMode::Auto && !room.is_auto_open(now);
        if is_counted && self.node.edge().is_none() {
            self.gate.room.record_arrival(room, buyer);
        }
        DoorState { limit_status: Some(status), ..DoorState::default() }
    }
}
