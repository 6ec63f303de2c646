//! Waiting rooms that open automatically.
use doorbuster_core::gate::room::KEEP_OPEN_MS;
use serde_json::Value as Json;

use crate::contract::RoomKey;
use crate::failure::Done;
use crate::sql::{Row, Statement, locking, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult, columns};

const KEEP_OPEN: Statement =
    statement("UPDATE waiting_room SET open_until = $3 WHERE sale_id = $1 AND item_id = $2");
/// The SQL condition that a visitor of the room `r` still waits for an admission. A visitor of the
/// draw has no rank before the admission, so the second subquery finds such visitors by their lots.
/// `$empty` is an empty lot, and `$more` is a further condition for the visitor `v`.
macro_rules! waits {
    ($empty:literal, $more:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM waiting_room_visitor v
                 WHERE v.sale_id = r.sale_id AND v.item_id = r.item_id AND v.rank > r.called
                 AND v.left_at IS NULL",
            $more,
            ") OR EXISTS (SELECT 1 FROM waiting_room_visitor v
                 WHERE v.sale_id = r.sale_id AND v.item_id = r.item_id AND v.rank IS NULL
                 AND v.lot > coalesce(r.called_lot, ",
            $empty,
            ") AND v.left_at IS NULL",
            $more,
            "))"
        )
    };
}
macro_rules! waits_since_open {
    ($empty:literal) => {
        concat!(
            "SELECT ",
            waits!($empty, " AND v.entered_at <= r.open_until"),
            " FROM waiting_room r WHERE r.sale_id = $1 AND r.item_id = $2"
        )
    };
}
/// Selects whether a visitor who entered the room at or before `open_until` still waits for an
/// admission.
const WAITS_SINCE_OPEN: Statement =
    Statement { sqlite: waits_since_open!("x''"), postgres: waits_since_open!("''::bytea") };
/// The sequence is the same as in an admission of visitors of several rooms.
const LOCK_ROOMS: Statement =
    locking!("SELECT item_id FROM waiting_room WHERE sale_id = $1 ORDER BY item_id", "FOR UPDATE");
macro_rules! open_waited_for {
    ($empty:literal) => {
        concat!(
            "UPDATE waiting_room AS r SET open_until = $2 WHERE r.sale_id = $1 AND ",
            waits!($empty, "")
        )
    };
}
const OPEN_WAITED_FOR: Statement =
    Statement { sqlite: open_waited_for!("x''"), postgres: open_waited_for!("''::bytea") };

/// Returns whether a sale with these front-door settings has rooms that open automatically.
fn is_auto(front_door: &str) -> bool {
    let door: Json = serde_json::from_str(front_door).unwrap_or_default();
    door["waiting_room"] == "auto"
}

/// Call this function when a sale's front-door settings change from `before` to `after`. If the
/// sale's rooms become automatic, this function opens those in which visitors wait. Otherwise later
/// buyers could buy before these visitors.
pub(in crate::store) fn open_if_auto(
    tx: &mut Transaction<'_, '_>,
    sale: &str,
    before: &str,
    after: &str,
) -> Done<()> {
    if is_auto(before) || !is_auto(after) {
        return Ok(());
    }
    // The locks wait for visitors who are entering a room now, so that the update sees them.
    tx.all(LOCK_ROOMS, &values![sale], |row| row.get::<i64>(0))?;
    tx.run(OPEN_WAITED_FOR, &values![sale, tx.now().plus(KEEP_OPEN_MS)]).map(drop)
}

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
