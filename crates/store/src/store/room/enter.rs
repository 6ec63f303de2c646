//! Gives positions in waiting rooms.
use std::collections::HashMap;

use rusqlite::params;

use doorbuster_core::BuyerId;
use doorbuster_core::gate::draw::{DrawLot, DrawSeed};
use doorbuster_core::gate::room::{AddedVisitor, ReentryOutcome};

use crate::contract::{EnterOutcome, RoomVisitor, WaitingRoom};
use crate::failure::Done;
use crate::sql::{Statement, int, statement, values};
use crate::transaction::Transaction;

use super::{ROOM, VISITORS, names, put_progress, put_until, room, visitor};

const CREATE: Statement = statement(
    "INSERT INTO waiting_room (sale_id, seed) SELECT id, $2 FROM sale WHERE id = $1
     ON CONFLICT DO NOTHING",
);
const HAS_OPENED: Statement = statement("SELECT opened_at IS NOT NULL FROM sale WHERE id = $1");
/// A buyer who took part in the draw stays in the list of the draw.
const INSERT_VISITOR: &str =
    "INSERT INTO waiting_room_visitor (sale_id, buyer, lot, entered_at, rank)
     VALUES (?1, ?2, ?3, ?4, ?5)
     ON CONFLICT (sale_id, buyer) DO UPDATE SET entered_at = excluded.entered_at,
     rank = excluded.rank, called_at = NULL, admitted_until = NULL, left_at = NULL";
const INSERT_VISITORS: &str =
    "INSERT INTO waiting_room_visitor (sale_id, buyer, lot, entered_at, rank)
     SELECT $1, buyer, lot, $4, rank
     FROM unnest($2::text[], $3::bytea[], $5::bigint[]) AS t (buyer, lot, rank)
     ON CONFLICT (sale_id, buyer) DO UPDATE SET entered_at = excluded.entered_at,
     rank = excluded.rank, called_at = NULL, admitted_until = NULL, left_at = NULL";

/// Locks the sale's room and returns it. Creates the room from this seed if it does not exist.
/// Closes its draw if the sale has opened.
fn open(tx: &mut Transaction<'_, '_>, sale: &str, seed: &DrawSeed) -> Done<Option<WaitingRoom>> {
    tx.run(CREATE, &values![sale, seed.bytes()])?;
    let Some(mut found) = tx.one(ROOM, &values![sale], room)? else { return Ok(None) };
    // This read comes after the lock, so that it sees an earlier opening of the sale.
    let opened = tx.one(HAS_OPENED, &values![sale], |row| row.get::<bool>(0))?.unwrap_or(false);
    if opened && found.line.close_draw() {
        put_progress(tx, sale, &found.line)?;
    }
    Ok(Some(found))
}

pub(super) fn enter(
    tx: &mut Transaction<'_, '_>,
    sale: &str,
    seed: &DrawSeed,
    buyers: &[BuyerId],
) -> Done<Option<(WaitingRoom, Vec<EnterOutcome>)>> {
    let Some(mut room) = open(tx, sale, seed)? else { return Ok(None) };
    let found = tx.all(VISITORS, &values![sale, names(buyers)], visitor)?;
    let mut known: HashMap<BuyerId, RoomVisitor> =
        found.into_iter().map(|visitor| (visitor.buyer.clone(), visitor)).collect();
    let before = room.line;
    let (mut entered, mut new) = (Vec::with_capacity(buyers.len()), Vec::new());
    for buyer in buyers {
        if let Some(known) = known.get_mut(buyer) {
            match known.queue_position(None).enter_again(&room.line, tx.now()) {
                ReentryOutcome::Unchanged => {
                    entered.push(EnterOutcome::Known(known.clone()));
                    continue;
                }
                ReentryOutcome::SamePosition => {
                    known.until = None;
                    put_until(tx, sale, buyer, None)?;
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
            AddedVisitor::InDraw(_) => (Some(room.seed.lot(buyer.as_str())), None),
            AddedVisitor::Ranked(rank) => (None, Some(rank)),
        };
        let visitor = RoomVisitor { buyer: buyer.clone(), lot, rank, until: None };
        known.insert(buyer.clone(), visitor.clone());
        new.push(visitor.clone());
        entered.push(EnterOutcome::New(visitor));
    }
    if room.line != before {
        insert_visitors(tx, sale, &new)?;
        put_progress(tx, sale, &room.line)?;
    }
    Ok(Some((room, entered)))
}

fn insert_visitors(tx: &mut Transaction<'_, '_>, sale: &str, new: &[RoomVisitor]) -> Done<()> {
    match tx {
        Transaction::Sqlite(ledger) => {
            for RoomVisitor { buyer, lot, rank, .. } in new {
                let (lot, now) = (lot.as_ref().map(DrawLot::bytes), ledger.now.0);
                let params = params![sale, buyer.as_str(), lot, now, rank.map(int)];
                ledger.sql.run(INSERT_VISITOR, params)?;
            }
        }
        Transaction::Postgres(ledger) => {
            let buyers: Vec<&str> = new.iter().map(|visitor| visitor.buyer.as_str()).collect();
            let lots: Vec<Option<&[u8]>> =
                new.iter().map(|v| v.lot.as_ref().map(|lot| lot.bytes().as_slice())).collect();
            let ranks: Vec<Option<i64>> = new.iter().map(|v| v.rank.map(int)).collect();
            let now = ledger.now.0;
            ledger.run(INSERT_VISITORS, &[&sale, &buyers, &lots, &now, &ranks])?;
        }
    }
    Ok(())
}
