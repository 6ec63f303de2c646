//! Calls visitors of waiting rooms to buy, in PostgreSQL.
use doorbuster_core::gate::room::{RoomSupply, first_turn_ms};

use crate::contract::{FieldChange, RoomProgressStep, RoomVisitor, WaitingRoom};
use crate::postgres::ledger::PostgresLedger;
use crate::postgres::rows::int;

use super::{Done, ROOM, STOCK, put_progress, room, stock, visitor};

/// Calls as many visitors as the supply allows.
pub(super) fn call(
    ledger: &mut PostgresLedger<'_>,
    sale: &str,
    seen: u64,
    shop: RoomSupply,
    calls_max: u64,
    for_ms: i64,
) -> Done<Vec<RoomVisitor>> {
    let Some(mut room) = ledger.one(ROOM, &[&sale], room)?.filter(|room| room.line.called == seen)
    else {
        return Ok(Vec::new());
    };
    let (free, _) = ledger.one(STOCK, &[&sale], |row| stock(row, 0))?.unwrap_or((Some(0), 1));
    let count = RoomSupply { free, ..shop }.admissions(&room.line, calls_max);
    call_next(ledger, sale, &mut room, count, for_ms)
}

/// Calls the next `count` ranks of a room whose row is locked.
fn call_next(
    ledger: &mut PostgresLedger<'_>,
    sale: &str,
    room: &mut WaitingRoom,
    count: u64,
    for_ms: i64,
) -> Done<Vec<RoomVisitor>> {
    let now = ledger.now;
    let (before, after) = room.line.admit(count);
    if after == before {
        return Ok(Vec::new());
    }
    let drawn = room.line.participants.unwrap_or(0).clamp(before, after);
    let sql = "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor
         WHERE sale_id = $1 AND lot > (SELECT coalesce(called_lot, ''::bytea) FROM waiting_room
         WHERE sale_id = $1) ORDER BY lot LIMIT $2";
    let mut called = ledger.all(sql, &[&sale, &int(drawn - before)], visitor)?;
    if let Some(last) = called.last().and_then(|last| last.lot) {
        let sql = "UPDATE waiting_room SET called_lot = $2 WHERE sale_id = $1";
        ledger.run(sql, &[&sale, &last.bytes().as_slice()])?;
    }
    let sql = "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor
         WHERE sale_id = $1 AND rank > $2 AND rank <= $3 ORDER BY rank";
    called.extend(ledger.all(sql, &[&sale, &int(drawn), &int(after)], visitor)?);
    let until = now.plus(first_turn_ms(for_ms, room.line.waiting() > 0));
    for (visitor, rank) in called.iter_mut().zip(before + 1..) {
        let until = visitor.queue_position(None).call_until(until);
        (visitor.rank, visitor.until) = (Some(rank), Some(until));
    }
    let names: Vec<&str> = called.iter().map(|visitor| visitor.buyer.as_str()).collect();
    let ends: Vec<i64> = called.iter().filter_map(|visitor| Some(visitor.until?.0)).collect();
    let sql = "UPDATE waiting_room_visitor p SET rank = t.rank + $3, called_at = $4,
               admitted_until = t.until
         FROM unnest($2::text[], $5::bigint[]) WITH ORDINALITY AS t (buyer, until, rank)
         WHERE p.sale_id = $1 AND p.buyer = t.buyer";
    ledger.run(sql, &[&sale, &names, &int(before), &now.0, &ends])?;
    put_progress(ledger, sale, &room.line)?;
    Ok(called)
}

/// Calls the next `visitors`, whatever the supply is.
pub(super) fn call_more(
    ledger: &mut PostgresLedger<'_>,
    sale: &str,
    visitors: u64,
    for_ms: i64,
) -> Done<Option<RoomProgressStep>> {
    let found = ledger.one(ROOM, &[&sale], room)?;
    // Read under the lock, so that an earlier opening of the sale is visible.
    let sql = "SELECT phase = 'open' FROM sale WHERE id = $1";
    let is_open = ledger.one(sql, &[&sale], |row| Ok(row.try_get(0)?))?.unwrap_or(false);
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
