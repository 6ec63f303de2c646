//! Calls visitors of waiting rooms to buy, in SQLite.
use rusqlite::params;

use doorbuster_core::gate::room::{RoomSupply, first_turn_ms};

use crate::contract::{FieldChange, RoomProgressStep, RoomVisitor, WaitingRoom};
use crate::sqlite::ledger::SqliteLedger;
use crate::sqlite::rows::int;

use super::{Done, ROOM, put_progress, room, stock, visitor};

/// Calls as many visitors as the supply allows.
pub(super) fn call(
    ledger: &mut SqliteLedger<'_>,
    sale: &str,
    seen: u64,
    shop: RoomSupply,
    calls_max: u64,
    for_ms: i64,
) -> Done<Vec<RoomVisitor>> {
    let sql = &mut ledger.sql;
    let Some(mut room) =
        sql.one(ROOM, params![sale], room)?.filter(|room| room.line.called == seen)
    else {
        return Ok(Vec::new());
    };
    let (free, _) = stock(sql, sale)?;
    let count = RoomSupply { free, ..shop }.admissions(&room.line, calls_max);
    call_next(ledger, sale, &mut room, count, for_ms)
}

/// Calls the next `count` ranks.
fn call_next(
    ledger: &mut SqliteLedger<'_>,
    sale: &str,
    room: &mut WaitingRoom,
    count: u64,
    for_ms: i64,
) -> Done<Vec<RoomVisitor>> {
    let now = ledger.now;
    let sql = &mut ledger.sql;
    let (before, after) = room.line.admit(count);
    let drawn = room.line.participants.unwrap_or(0).clamp(before, after);
    let mut called = sql.all(
        "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor
         WHERE sale_id = ?1 AND lot > (SELECT coalesce(called_lot, x'') FROM waiting_room
         WHERE sale_id = ?1) ORDER BY lot LIMIT ?2",
        params![sale, int(drawn - before)],
        visitor,
    )?;
    if let Some(last) = called.last().and_then(|last| last.lot) {
        sql.run(
            "UPDATE waiting_room SET called_lot = ?2 WHERE sale_id = ?1",
            params![sale, last.bytes()],
        )?;
    }
    called.extend(sql.all(
        "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor WHERE sale_id = ?1 AND \
         rank > ?2 AND rank <= ?3 ORDER BY rank",
        params![sale, int(drawn), int(after)],
        visitor,
    )?);
    let until = now.plus(first_turn_ms(for_ms, room.line.waiting() > 0));
    for (visitor, rank) in called.iter_mut().zip(before + 1..) {
        let until = visitor.queue_position(None).call_until(until);
        (visitor.rank, visitor.until) = (Some(rank), Some(until));
        sql.run(
            "UPDATE waiting_room_visitor SET rank = ?3, called_at = ?4, admitted_until = ?5 WHERE \
             sale_id = ?1 AND buyer = ?2",
            params![sale, visitor.buyer.as_str(), int(rank), now.0, until.0],
        )?;
    }
    if after > before {
        put_progress(sql, sale, &room.line)?;
    }
    Ok(called)
}

/// Calls the next `visitors`, whatever the supply is.
pub(super) fn call_more(
    ledger: &mut SqliteLedger<'_>,
    sale: &str,
    visitors: u64,
    for_ms: i64,
) -> Done<Option<RoomProgressStep>> {
    const IS_OPEN: &str = "SELECT 1 FROM sale WHERE id = ?1 AND phase = 'open'";
    let sql = &mut ledger.sql;
    let is_open = sql.one(IS_OPEN, params![sale], |_| Ok(()))?.is_some();
    let found = sql.one(ROOM, params![sale], room)?;
    let Some(mut room) = found.filter(|room| is_open && room.line.participants.is_some()) else {
        return Ok(None);
    };
    let before = room.line.called;
    call_next(ledger, sale, &mut room, visitors, for_ms)?;
    let admitted = room.line.called - before;
    if admitted > 0 {
        ledger.record(&[FieldChange::set("/admitted", admitted)])?;
    }
    Ok(Some(RoomProgressStep { admitted, waiting: room.line.waiting() }))
}
