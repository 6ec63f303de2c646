//! Admits visitors of waiting rooms.
use rusqlite::params;

use doorbuster_core::gate::room::{LEFT, RoomSupply, first_turn_ms};
use doorbuster_core::{BuyerId, ItemId, Millis};

use crate::contract::{
    FieldChange, RoomAdmissions, RoomKey, RoomProgressStep, RoomVisitor, WaitingRoom,
    WaitingRoomView,
};
use crate::failure::Done;
use crate::sql::{Statement, dialects, statement, to_i64, values};
use crate::transaction::Transaction;

use super::{ROOM, STOCK, columns, put_progress, room, stock, visitor};

const NEXT_DRAWN: Statement = dialects!(
    visitors!("lot > (SELECT coalesce(called_lot, "),
    "x''" | "''::bytea",
    ") FROM waiting_room WHERE sale_id = $1 AND item_id = $2) ORDER BY lot LIMIT $3"
);
const PUT_CALLED_LOT: Statement =
    statement("UPDATE waiting_room SET called_lot = $3 WHERE sale_id = $1 AND item_id = $2");
const NEXT_RANKS: Statement = statement(visitors!("rank > $3 AND rank <= $4 ORDER BY rank"));
const PUT_ADMISSION: &str = "UPDATE waiting_room_visitor SET rank = ?4, called_at = ?5,
     admitted_until = ?6 WHERE sale_id = ?1 AND item_id = ?2 AND buyer = ?3";
const PUT_ADMISSIONS: &str = "UPDATE waiting_room_visitor p SET rank = t.rank, called_at = $5,
     admitted_until = t.until FROM unnest($3::text[], $4::bigint[], $6::bigint[])
     AS t (buyer, rank, until) WHERE p.sale_id = $1 AND p.item_id = $2 AND p.buyer = t.buyer";
const IS_OPEN: Statement = statement("SELECT phase = 'open' FROM sale WHERE id = $1");

pub(super) fn admit_visitors(
    tx: &mut Transaction<'_, '_>,
    admissions: &RoomAdmissions,
    for_ms: i64,
) -> Done<Vec<RoomVisitor>> {
    let RoomAdmissions { seen: WaitingRoomView { room: before, shop }, most } = admissions;
    let (key, (sale, item)) = (&before.key, columns(&before.key));
    let found = tx.one(ROOM, &values![sale, item], room)?;
    let Some(mut room) = found.filter(|room| room.line.admitted == before.line.admitted) else {
        return Ok(Vec::new());
    };
    let (free, _) =
        tx.one(STOCK, &values![sale, item], |row| stock(row, 0))?.unwrap_or((Some(0), 1));
    let count = RoomSupply { free, ..*shop }.admissions(&room.line, *most);
    admit_next(tx, key, &mut room, count, for_ms)
}

/// Admits the visitors with the next `count` ranks. The room's row must be locked.
fn admit_next(
    tx: &mut Transaction<'_, '_>,
    key: &RoomKey,
    room: &mut WaitingRoom,
    count: u64,
    for_ms: i64,
) -> Done<Vec<RoomVisitor>> {
    let (sale, item) = columns(key);
    let (before, after) = room.line.admit(count);
    if after == before {
        return Ok(Vec::new());
    }
    let drawn = room.line.participants.unwrap_or(0).clamp(before, after);
    let mut admitted = tx.all(NEXT_DRAWN, &values![sale, item, drawn - before], visitor)?;
    if let Some(last) = admitted.last().and_then(|last| last.lot) {
        tx.run(PUT_CALLED_LOT, &values![sale, item, last.bytes()])?;
    }
    admitted.extend(tx.all(NEXT_RANKS, &values![sale, item, drawn, after], visitor)?);
    let until = tx.now().plus(first_turn_ms(for_ms, room.line.waiting() > 0));
    let mut admissions = Vec::with_capacity(admitted.len());
    for (visitor, rank) in admitted.iter_mut().zip(before + 1..) {
        let until = visitor.queue_position(None).admission_end(until);
        (visitor.rank, visitor.until) = (Some(rank), Some(until));
        admissions.push((&visitor.buyer, rank, until));
    }
    put_admissions(tx, key, &admissions)?;
    put_progress(tx, key, &room.line)?;
    Ok(admitted)
}

fn put_admissions(
    tx: &mut Transaction<'_, '_>,
    key: &RoomKey,
    admissions: &[(&BuyerId, u64, Millis)],
) -> Done<()> {
    let (sale, ItemId(item)) = columns(key);
    match tx {
        Transaction::Sqlite(ledger) => {
            for (buyer, rank, until) in admissions {
                let params =
                    params![sale, item, buyer.as_str(), to_i64(*rank), ledger.now.0, until.0];
                ledger.sql.run(PUT_ADMISSION, params)?;
            }
        }
        Transaction::Postgres(ledger) => {
            let buyers: Vec<&str> = admissions.iter().map(|(buyer, ..)| buyer.as_str()).collect();
            let ranks: Vec<i64> = admissions.iter().map(|(_, rank, _)| to_i64(*rank)).collect();
            let ends: Vec<i64> = admissions.iter().map(|(.., until)| until.0).collect();
            ledger.run(PUT_ADMISSIONS, &[&sale, &item, &buyers, &ranks, &ledger.now.0, &ends])?;
        }
    }
    Ok(())
}

pub(super) fn admit_beyond_supply(
    tx: &mut Transaction<'_, '_>,
    key: &RoomKey,
    visitors: u64,
    for_ms: i64,
) -> Done<Option<RoomProgressStep>> {
    let (sale, item) = columns(key);
    let found = tx.one(ROOM, &values![sale, item], room)?;
    // The room was locked before this read. So if the sale's opening was committed before the lock,
    // this read sees it.
    let is_open = tx.one(IS_OPEN, &values![sale], |row| row.get(0))?.unwrap_or(false);
    let Some(mut room) = found.filter(|room| is_open && room.line.participants.is_some()) else {
        return Ok(None);
    };
    let mut admitted = 0;
    while admitted < visitors {
        let before = room.line.admitted;
        let turn = admit_next(tx, key, &mut room, visitors - admitted, for_ms)?;
        if room.line.admitted == before {
            break;
        }
        // A visitor who has left has a rank, but is not admitted.
        admitted += turn.iter().filter(|visitor| visitor.until != Some(LEFT)).count() as u64;
    }
    if admitted > 0 {
        let mut changes = vec![FieldChange::set("/admitted", admitted)];
        changes.extend(room.item_name.as_deref().map(|item| FieldChange::set("/item", item)));
        tx.record(&changes)?;
    }
    Ok(Some(RoomProgressStep { admitted, waiting: room.line.waiting() }))
}
