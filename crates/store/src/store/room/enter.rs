//! Gives buyers positions in waiting rooms.
use std::collections::HashMap;

use rusqlite::params;

use doorbuster_core::gate::draw::{DrawLot, DrawSeed};
use doorbuster_core::gate::room::{AddedVisitor, ReentryOutcome};
use doorbuster_core::{BuyerId, ItemId};

use crate::contract::{EnterOutcome, RoomKey, RoomVisitor, WaitingRoom};
use crate::failure::Done;
use crate::sql::{Statement, dialects, statement, to_i64, values};
use crate::transaction::Transaction;

use super::{ROOM, VISITORS, columns, names, put_progress, put_until, room, visitor};

/// In PostgreSQL, the creation of a room locks the sale. So it waits for a transaction that deletes
/// the sale, and then creates no room.
const CREATE: Statement = dialects!(
    "INSERT INTO waiting_room (sale_id, seed) SELECT id, $2 FROM sale WHERE id = $1
     AND NOT EXISTS (SELECT 1 FROM waiting_room r WHERE r.sale_id = $1 AND r.item_id = 0) ",
    "" | "FOR KEY SHARE",
    " ON CONFLICT DO NOTHING"
);
/// The room of an item gets the seed of the room that is for the whole sale.
const CREATE_FOR_ITEM: Statement = dialects!(
    "INSERT INTO waiting_room (sale_id, item_id, seed) SELECT r.sale_id, i.id, r.seed
     FROM waiting_room r JOIN item i ON i.sale_id = r.sale_id JOIN sale s ON s.id = r.sale_id
     WHERE r.sale_id = $1 AND r.item_id = 0 AND i.id = $2
     AND NOT EXISTS (SELECT 1 FROM waiting_room o WHERE o.sale_id = $1 AND o.item_id = $2) ",
    "" | "FOR KEY SHARE OF s",
    " ON CONFLICT DO NOTHING"
);
const HAS_OPENED: Statement = statement("SELECT opened_at IS NOT NULL FROM sale WHERE id = $1");
/// The statement never changes `lot`, so a buyer who took part in the draw stays in the list of the
/// draw.
const INSERT_VISITOR: &str =
    "INSERT INTO waiting_room_visitor (sale_id, item_id, buyer, lot, entered_at, rank)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
     ON CONFLICT (sale_id, item_id, buyer) DO UPDATE SET entered_at = excluded.entered_at,
     rank = excluded.rank, called_at = NULL, admitted_until = NULL, left_at = NULL";
const INSERT_VISITORS: &str =
    "INSERT INTO waiting_room_visitor (sale_id, item_id, buyer, lot, entered_at, rank)
     SELECT $1, $2, buyer, lot, $5, rank
     FROM unnest($3::text[], $4::bytea[], $6::bigint[]) AS t (buyer, lot, rank)
     ON CONFLICT (sale_id, item_id, buyer) DO UPDATE SET entered_at = excluded.entered_at,
     rank = excluded.rank, called_at = NULL, admitted_until = NULL, left_at = NULL";

/// Locks and returns the room. A new room gets the seed of the sale's other rooms. If the sale has
/// no other room, the new room gets `seed`. Closes the room's draw if the sale has opened.
fn open(tx: &mut Transaction<'_, '_>, key: &RoomKey, seed: &DrawSeed) -> Done<Option<WaitingRoom>> {
    let (sale, item) = columns(key);
    tx.run(CREATE, &values![sale, seed.bytes()])?;
    if key.item.is_some() {
        tx.run(CREATE_FOR_ITEM, &values![sale, item])?;
    }
    let Some(mut found) = tx.one(ROOM, &values![sale, item], room)? else { return Ok(None) };
    // The room was locked before this read. So if the sale's opening was committed before the lock,
    // this read sees it.
    let opened = tx.one(HAS_OPENED, &values![sale], |row| row.get::<bool>(0))?.unwrap_or(false);
    if opened && found.line.close_draw() {
        put_progress(tx, key, &found.line)?;
    }
    Ok(Some(found))
}

pub(super) fn enter(
    tx: &mut Transaction<'_, '_>,
    key: &RoomKey,
    seed: &DrawSeed,
    buyers: &[BuyerId],
) -> Done<Option<(WaitingRoom, Vec<EnterOutcome>)>> {
    let (sale, item) = columns(key);
    let Some(mut room) = open(tx, key, seed)? else { return Ok(None) };
    let found = tx.all(VISITORS, &values![sale, item, names(buyers)], visitor)?;
    let mut known: HashMap<BuyerId, RoomVisitor> =
        found.into_iter().map(|visitor| (visitor.buyer.clone(), visitor)).collect();
    let before = room.line;
    let (mut entered, mut new) = (Vec::with_capacity(buyers.len()), Vec::new());
    for buyer in buyers {
        if let Some(known) = known.get_mut(buyer) {
            match known.queue_position(None).reentry_outcome(&room.line, tx.now()) {
                ReentryOutcome::Unchanged => {
                    entered.push(EnterOutcome::Known(known.clone()));
                    continue;
                }
                ReentryOutcome::SamePosition => {
                    known.until = None;
                    put_until(tx, key, buyer, None)?;
                    entered.push(EnterOutcome::New(known.clone()));
                    continue;
                }
                ReentryOutcome::NewRank => {}
            }
        }
        let Some(entry) = room.line.add_visitor() else {
            entered.push(EnterOutcome::Full);
            continue;
        };
        let (lot, rank) = match entry {
            AddedVisitor::InDraw(_) => (Some(room.lot(buyer)), None),
            AddedVisitor::Ranked(rank) => (None, Some(rank)),
        };
        let visitor = RoomVisitor { buyer: buyer.clone(), lot, rank, until: None };
        known.insert(buyer.clone(), visitor.clone());
        new.push(visitor.clone());
        entered.push(EnterOutcome::New(visitor));
    }
    if room.line != before {
        insert_visitors(tx, key, &new)?;
        put_progress(tx, key, &room.line)?;
    }
    Ok(Some((room, entered)))
}

fn insert_visitors(tx: &mut Transaction<'_, '_>, key: &RoomKey, new: &[RoomVisitor]) -> Done<()> {
    let (sale, ItemId(item)) = columns(key);
    match tx {
        Transaction::Sqlite(ledger) => {
            for RoomVisitor { buyer, lot, rank, .. } in new {
                let (lot, now) = (lot.as_ref().map(DrawLot::bytes), ledger.now.0);
                let params = params![sale, item, buyer.as_str(), lot, now, rank.map(to_i64)];
                ledger.sql.run(INSERT_VISITOR, params)?;
            }
        }
        Transaction::Postgres(ledger) => {
            let buyers: Vec<&str> = new.iter().map(|visitor| visitor.buyer.as_str()).collect();
            let lots: Vec<Option<&[u8]>> =
                new.iter().map(|v| v.lot.as_ref().map(|lot| lot.bytes().as_slice())).collect();
            let ranks: Vec<Option<i64>> = new.iter().map(|v| v.rank.map(to_i64)).collect();
            let now = ledger.now.0;
            ledger.run(INSERT_VISITORS, &[&sale, &item, &buyers, &lots, &now, &ranks])?;
        }
    }
    Ok(())
}
