//! Waiting rooms that open automatically.
use crate::contract::RoomKey;
use crate::sql::{Row, Statement, dialects, statement, values};
use crate::transaction::RetryUnknown;

use super::{Store, StoreResult, columns};

const KEEP_OPEN: Statement =
    statement("UPDATE waiting_room SET open_until = $3 WHERE sale_id = $1 AND item_id = $2");
/// Selects whether a visitor who entered the room at or before `open_until` still waits for an
/// admission. A visitor of the draw has no rank before the admission, so the second subquery finds
/// such visitors by their lots.
const WAITS_SINCE_OPEN: Statement = dialects!(
    "SELECT EXISTS (SELECT 1 FROM waiting_room_visitor v
         WHERE v.sale_id = r.sale_id AND v.item_id = r.item_id AND v.rank > r.called
         AND v.left_at IS NULL AND v.entered_at <= r.open_until)
     OR EXISTS (SELECT 1 FROM waiting_room_visitor v
         WHERE v.sale_id = r.sale_id AND v.item_id = r.item_id AND v.rank IS NULL
         AND v.lot > coalesce(r.called_lot, ",
    "x''" | "''::bytea",
    ") AND v.left_at IS NULL AND v.entered_at <= r.open_until)
     FROM waiting_room r WHERE r.sale_id = $1 AND r.item_id = $2"
);

impl Store {
    /// For a room that opened automatically, sets the time until which the room stays open:
    /// `for_ms` from now.
    pub async fn keep_room_open(&self, room: &RoomKey, for_ms: i64) -> StoreResult<()> {
        let room = room.clone();
        self.job(RetryUnknown::Allowed, move |tx| {
            let (sale, item) = columns(&room);
            tx.run(KEEP_OPEN, &values![sale, item, tx.now().plus(for_ms)]).map(drop)
        })
        .await
    }

    /// Returns whether a visitor who entered the room at or before
    /// [`WaitingRoom::open_until`](crate::WaitingRoom::open_until) still waits.
    pub async fn waits_since_open(&self, room: &RoomKey) -> StoreResult<bool> {
        let (sale, item) = columns(room);
        let waits = |row: Row<'_>| row.get::<bool>(0);
        let found = self.one(WAITS_SINCE_OPEN, values![sale.to_owned(), item], waits).await?;
        Ok(found.unwrap_or(false))
    }
}
