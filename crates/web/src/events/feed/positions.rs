//! The positions of a reader in waiting rooms.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;

use doorbuster_api::gate::WaitingRoomMode;
use doorbuster_core::{BuyerId, Phase};
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::sale_limits::Route;
use doorbuster_engine::sale_room::SaleRoom;
use doorbuster_store::RoomKey;
use futures_util::future::join_all;

use super::{EventFeed, json};
use crate::App;
use crate::gate::waiting_room;
use crate::identity::ClientAddress;
use crate::limits::POSITIONS_TIMEOUT;
use crate::sales::shown;

/// Reads the reader's positions in waiting rooms from the store, if this node's memory lacks them.
/// Does not read these positions:
/// - positions that the buyer's rate limit for waiting rooms does not allow to read now
/// - positions in rooms of single items, because a sale can have many items. The page itself
///   requests the positions that it shows.
pub(in super::super) async fn fetch_positions(
    app: &App,
    (client, buyer): (ClientAddress, &BuyerId),
    sales: &[Arc<str>],
) {
    let sales = shown_sales(app, sales);
    let (node, rooms) = (&app.node, &app.gate.room);
    let is_to_be_looked_for = |room: &SaleRoom<'_>| {
        room.item.is_none()
            && rooms.cached_position(node, *room, buyer).is_none()
            && app.is_within_limits_now(Route::Room, client, buyer, room.sale)
    };
    let open = open_rooms(app, &sales);
    let reads = open.filter(is_to_be_looked_for);
    let reads = reads.map(|room| rooms.fetch_position(node, room, buyer));
    // If the store does not respond, the stream begins without the positions. Clients can read them
    // with `GET`.
    let _ = tokio::time::timeout(POSITIONS_TIMEOUT, join_all(reads)).await;
}

fn shown_sales(app: &App, sales: &[Arc<str>]) -> Vec<Arc<SaleState>> {
    sales.iter().filter_map(|sale| shown(app, sale).ok()).collect()
}

fn open_rooms<'a>(
    app: &App,
    sales: &'a [Arc<SaleState>],
) -> impl Iterator<Item = SaleRoom<'a>> + use<'a> {
    let now = app.node.now();
    let waits = move |room: &SaleRoom<'_>| match room.sale.front_door.waiting_room {
        WaitingRoomMode::Off => false,
        WaitingRoomMode::Auto => room.is_auto_open(now),
        WaitingRoomMode::Always => room.sale.row.phase != Phase::Closed,
    };
    sales.iter().flat_map(|sale| sale.rooms()).filter(waits)
}

impl EventFeed {
    /// Returns the reader's positions, after [`fetch_positions`]. On an edge, returns an empty
    /// list, because a node sends the positions.
    pub(in super::super) async fn positions(&mut self) -> Vec<String> {
        if self.app.node.edge().is_some() {
            return Vec::new();
        }
        let reader = (self.client, self.buyer());
        fetch_positions(&self.app, reader, self.subscription.sales()).await;
        self.known_positions()
    }

    pub(in super::super) fn known_positions(&mut self) -> Vec<String> {
        let sales = shown_sales(&self.app, self.subscription.sales());
        let mut positions = Vec::new();
        for room in open_rooms(&self.app, &sales) {
            if let Some(event) = waiting_room::position_event(&self.app, room, self.buyer()) {
                let position = json(&event);
                self.is_new_position(&room.key(), &position);
                positions.push(position);
            }
        }
        positions
    }

    /// Remembers the last position of the reader in a room. Returns `false` if the position is the
    /// same as before. The caller need not send such a position.
    pub(super) fn is_new_position(&mut self, room: &RoomKey, position: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        room.hash(&mut hasher);
        let (room, position) = (hasher.finish(), fingerprint(position));
        if let Some((_, last)) = self.sent_positions.iter_mut().find(|(known, _)| *known == room) {
            return std::mem::replace(last, position) != position;
        }
        self.sent_positions.push((room, position));
        true
    }
}

fn fingerprint(text: &str) -> NonZeroU64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN)
}
