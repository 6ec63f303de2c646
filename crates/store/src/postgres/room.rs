//! Waiting rooms in PostgreSQL. Entering and admitting lock the room's row, so they run one after
//! the other.
mod admit;
mod keep;

use std::collections::HashMap;

use tokio_postgres::Row;

use doorbuster_core::gate::draw::{DrawLot, DrawSeed};
use doorbuster_core::gate::room::{AddedVisitor, LEFT, ReentryOutcome, RoomProgress, RoomSupply};
use doorbuster_core::{BuyerId, Millis};

use crate::contract::{EnterOutcome, RoomProgressStep, RoomVisitor, WaitingRoom, WaitingRoomView};
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::read::as_limit;
use super::rows::{self, int};
use super::transaction::RetryUnknown;

type Done<T> = Result<T, Failure>;

macro_rules! room_columns {
    () => {
        "r.sale_id, r.seed, r.participants, r.entered, r.called, r.open_until"
    };
}
const ROOM: &str =
    concat!("SELECT ", room_columns!(), " FROM waiting_room r WHERE r.sale_id = $1 FOR UPDATE");
const ROOMS: &str =
    concat!("SELECT ", room_columns!(), " FROM waiting_room r WHERE r.sale_id = ANY($1)");
const VISITORS: &str = "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor
                        WHERE sale_id = $1 AND buyer = ANY($2)";
/// Selects the units of an open sale that no buyer holds, whether all its stock is counted, and the
/// limit for one buyer.
const STOCK: &str =
    "SELECT s.phase = 'open', bool_and(i.total IS NOT NULL), coalesce(max(i.limit_per_buyer),
     1)::bigint,
         coalesce(sum(i.pool - least(i.pool, i.waiting) + (SELECT coalesce(sum(g.granted -
         g.settled), 0) FROM slot_grant g
                                WHERE g.item_id = i.id AND g.open AND g.counted)), 0)::bigint
     FROM sale s JOIN item i ON i.sale_id = s.id WHERE s.id = $1 GROUP BY s.id, s.phase";
const VIEW: &str = concat!(
    "SELECT ",
    room_columns!(),
    ", s.phase = 'open', i.counted, i.most, i.free, w.out, w.used, w.units
     FROM waiting_room r JOIN sale s ON s.id = r.sale_id,
     LATERAL (SELECT bool_and(i.total IS NOT NULL) AS counted, coalesce(max(i.limit_per_buyer),
     1)::bigint AS most,
                     coalesce(sum(i.pool - least(i.pool,
                     i.waiting) + (SELECT coalesce(sum(g.granted - g.settled), 0) FROM slot_grant g
                                            WHERE g.item_id = i.id AND g.open
                                            AND g.counted)), 0)::bigint AS free
              FROM item i WHERE i.sale_id = r.sale_id) i,
     LATERAL (SELECT count(*) - count(u.units) AS out, count(u.units) AS used,
     coalesce(sum(u.units), 0)::bigint AS units
              FROM waiting_room_visitor p, LATERAL (
                  SELECT sum(o.units) AS units FROM orders o JOIN item i ON i.id = o.item_id
                  WHERE o.buyer = p.buyer AND i.sale_id = p.sale_id
                  AND o.reserved_at >= p.called_at) u
              WHERE p.sale_id = r.sale_id AND p.admitted_until > $2) w
     WHERE r.sale_id = $1"
);

fn bytes(row: &Row, at: usize) -> Done<Option<[u8; 32]>> {
    let found: Option<&[u8]> = row.try_get(at)?;
    found.map(|bytes| bytes.try_into().map_err(|_| rows::bad_row("number of bytes"))).transpose()
}

fn if_number(row: &Row, at: usize) -> Done<Option<u64>> {
    Ok(row.try_get::<_, Option<i64>>(at)?.map(i64::cast_unsigned))
}

fn room(row: &Row) -> Done<WaitingRoom> {
    Ok(WaitingRoom {
        sale: row.try_get(0)?,
        seed: DrawSeed::new(bytes(row, 1)?.ok_or_else(|| rows::bad_row("seed"))?),
        line: RoomProgress {
            participants: if_number(row, 2)?,
            entered: rows::number(row, 3)?,
            called: rows::number(row, 4)?,
        },
        open_until: rows::time(row, 5)?,
    })
}

fn visitor(row: &Row) -> Done<RoomVisitor> {
    Ok(RoomVisitor {
        buyer: rows::parse_text(row, 0, "buyer", BuyerId::new)?,
        lot: bytes(row, 1)?.map(DrawLot::new),
        rank: if_number(row, 2)?,
        until: match rows::time(row, 4)? {
            Some(_) => Some(LEFT),
            None => rows::time(row, 3)?,
        },
    })
}

/// Locks the sale's room and returns it. Creates the room from this seed if it does not exist.
/// Closes its draw if the sale has opened.
fn open(ledger: &mut PostgresLedger<'_>, sale: &str, seed: &DrawSeed) -> Done<Option<WaitingRoom>> {
    let sql = "INSERT INTO waiting_room (sale_id, seed) SELECT id, $2 FROM sale WHERE id = $1
               ON CONFLICT DO NOTHING";
    ledger.run(sql, &[&sale, &seed.bytes().as_slice()])?;
    let Some(mut found) = ledger.one(ROOM, &[&sale], room)? else { return Ok(None) };
    // This read comes after the lock, so that it sees an earlier opening of the sale.
    let sql = "SELECT opened_at IS NOT NULL FROM sale WHERE id = $1";
    let opened = ledger.one(sql, &[&sale], |row| Ok(row.try_get(0)?))?.unwrap_or(false);
    if opened && found.line.close_draw() {
        put_progress(ledger, sale, &found.line)?;
    }
    Ok(Some(found))
}

fn put_progress(ledger: &PostgresLedger<'_>, sale: &str, line: &RoomProgress) -> Done<()> {
    let sql =
        "UPDATE waiting_room SET participants = $2, entered = $3, called = $4 WHERE sale_id = $1";
    ledger
        .run(sql, &[&sale, &line.participants.map(int), &int(line.entered), &int(line.called)])
        .map(drop)
}

/// Stores a visitor's row after the visitor left or entered again.
fn put_until(
    ledger: &PostgresLedger<'_>,
    sale: &str,
    buyer: &BuyerId,
    until: Option<Millis>,
) -> Done<()> {
    let left = until == Some(LEFT);
    let admitted_until = until.filter(|_| !left).map(|until| until.0);
    let sql = "UPDATE waiting_room_visitor SET admitted_until = $3, left_at = $4
               WHERE sale_id = $1 AND buyer = $2";
    ledger
        .run(sql, &[&sale, &buyer.as_str(), &admitted_until, &left.then_some(ledger.now.0)])
        .map(drop)
}

fn leave(
    ledger: &mut PostgresLedger<'_>,
    sale: &str,
    buyer: &BuyerId,
) -> Done<Option<RoomVisitor>> {
    // The lock of the room prevents other nodes from calling this rank meanwhile.
    if ledger.one(ROOM, &[&sale], room)?.is_none() {
        return Ok(None);
    }
    let known = ledger.one(VISITORS, &[&sale, &vec![buyer.as_str()]], visitor)?;
    let Some(known) = known else { return Ok(None) };
    let Some(left) = known.queue_position(None).leave(ledger.now) else { return Ok(None) };
    put_until(ledger, sale, buyer, left.until)?;
    Ok(Some(RoomVisitor { until: left.until, ..known }))
}

fn enter(
    ledger: &mut PostgresLedger<'_>,
    sale: &str,
    seed: &DrawSeed,
    buyers: &[BuyerId],
) -> Done<Option<(WaitingRoom, Vec<EnterOutcome>)>> {
    let now = ledger.now;
    let Some(mut room) = open(ledger, sale, seed)? else { return Ok(None) };
    let names: Vec<&str> = buyers.iter().map(BuyerId::as_str).collect();
    let found = ledger.all(VISITORS, &[&sale, &names], visitor)?;
    let mut known: HashMap<BuyerId, RoomVisitor> =
        found.into_iter().map(|visitor| (visitor.buyer.clone(), visitor)).collect();
    let before = room.line;
    let mut entered = Vec::with_capacity(buyers.len());
    let (mut new_buyers, mut lots, mut ranks) = (Vec::new(), Vec::new(), Vec::new());
    for buyer in buyers {
        if let Some(known) = known.get_mut(buyer) {
            match known.queue_position(None).enter_again(&room.line, now) {
                ReentryOutcome::Unchanged => {
                    entered.push(EnterOutcome::Known(known.clone()));
                    continue;
                }
                ReentryOutcome::SamePosition => {
                    known.until = None;
                    put_until(ledger, sale, buyer, None)?;
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
        new_buyers.push(buyer.as_str());
        lots.push(lot.map(|lot| lot.bytes().to_vec()));
        ranks.push(rank.map(int));
        let visitor = RoomVisitor { buyer: buyer.clone(), lot, rank, until: None };
        known.insert(buyer.clone(), visitor.clone());
        entered.push(EnterOutcome::New(visitor));
    }
    if room.line != before {
        // A buyer who took part in the draw stays in the list of the draw.
        let sql = "INSERT INTO waiting_room_visitor (sale_id, buyer, lot, entered_at, rank)
             SELECT $1, buyer, lot, $5, rank FROM unnest($2::text[], $3::bytea[],
             $4::bigint[]) AS t (buyer, lot, rank)
             ON CONFLICT (sale_id, buyer) DO UPDATE
             SET entered_at = excluded.entered_at, rank = excluded.rank, called_at = NULL,
             admitted_until = NULL, left_at = NULL";
        ledger.run(sql, &[&sale, &new_buyers, &lots, &ranks, &now.0])?;
        put_progress(ledger, sale, &room.line)?;
    }
    Ok(Some((room, entered)))
}

fn shop_stock(open: bool, counted: bool, limit: u64, free: u64) -> (Option<u64>, u64) {
    if open { (counted.then_some(free), limit) } else { (Some(0), 1) }
}

fn stock(row: &Row, at: usize) -> Done<(Option<u64>, u64)> {
    let counted: Option<bool> = row.try_get(at + 1)?;
    Ok(shop_stock(
        row.try_get(at)?,
        counted.unwrap_or(true),
        rows::number(row, at + 2)?,
        rows::number(row, at + 3)?,
    ))
}

fn view(row: &Row) -> Done<WaitingRoomView> {
    let (free, limit) = stock(row, 6)?;
    let (out, used, used_units) =
        (rows::number(row, 10)?, rows::number(row, 11)?, rows::number(row, 12)?);
    Ok(WaitingRoomView {
        room: room(row)?,
        shop: RoomSupply { free, limit, out, used, used_units },
    })
}

impl Postgres {
    pub(crate) async fn admit_more(
        &self,
        sale: &str,
        visitors: u64,
        for_ms: i64,
    ) -> StoreResult<Option<RoomProgressStep>> {
        let sale = sale.to_owned();
        let admit = move |ledger: &mut PostgresLedger<'_>| {
            admit::call_more(ledger, &sale, visitors, for_ms)
        };
        // A repetition would admit twice.
        self.job(RetryUnknown::Never, admit).await
    }

    pub(crate) async fn enter_room(
        &self,
        sale: &str,
        seed: DrawSeed,
        buyers: Vec<BuyerId>,
    ) -> StoreResult<Option<(WaitingRoom, Vec<EnterOutcome>)>> {
        let sale = sale.to_owned();
        self.job(RetryUnknown::Allowed, move |ledger| enter(ledger, &sale, &seed, &buyers)).await
    }

    pub(crate) async fn leave_room(
        &self,
        sale: &str,
        buyer: BuyerId,
    ) -> StoreResult<Option<RoomVisitor>> {
        let sale = sale.to_owned();
        self.job(RetryUnknown::Allowed, move |ledger| leave(ledger, &sale, &buyer)).await
    }

    pub(crate) async fn waiting_rooms(&self, sales: Vec<String>) -> StoreResult<Vec<WaitingRoom>> {
        self.all(ROOMS, &[&sales], room).await
    }

    pub(crate) async fn visitors(
        &self,
        sale: &str,
        buyers: Vec<BuyerId>,
    ) -> StoreResult<Vec<RoomVisitor>> {
        let names: Vec<&str> = buyers.iter().map(BuyerId::as_str).collect();
        self.all(VISITORS, &[&sale, &names], visitor).await
    }

    pub(crate) async fn admitted_after(
        &self,
        sale: &str,
        after: u64,
        limit: usize,
    ) -> StoreResult<Vec<RoomVisitor>> {
        let sql = "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor
             WHERE sale_id = $1 AND rank > $2 AND called_at IS NOT NULL ORDER BY rank LIMIT $3";
        self.all(sql, &[&sale, &int(after), &as_limit(limit)], visitor).await
    }

    pub(crate) async fn drawn_after(
        &self,
        sale: &str,
        after: Option<DrawLot>,
        limit: usize,
    ) -> StoreResult<Vec<(DrawLot, BuyerId)>> {
        let after = after.as_ref().map_or(&[][..], |lot| lot.bytes());
        let sql = "SELECT lot, buyer FROM waiting_room_visitor WHERE sale_id = $1 AND lot > $2
                   ORDER BY lot LIMIT $3";
        self.all(sql, &[&sale, &after, &as_limit(limit)], |row| {
            let lot = bytes(row, 0)?.ok_or_else(|| rows::bad_row("lot"))?;
            Ok((DrawLot::new(lot), rows::parse_text(row, 1, "buyer", BuyerId::new)?))
        })
        .await
    }

    pub(crate) async fn waiting_room_view(
        &self,
        sale: &str,
    ) -> StoreResult<Option<WaitingRoomView>> {
        self.one(VIEW, &[&sale, &self.now().0], view).await
    }

    pub(crate) async fn admit_visitors(
        &self,
        sale: &str,
        seen: u64,
        shop: RoomSupply,
        calls_max: u64,
        for_ms: i64,
    ) -> StoreResult<Vec<RoomVisitor>> {
        let sale = sale.to_owned();
        self.job(RetryUnknown::Allowed, move |ledger| {
            admit::call(ledger, &sale, seen, shop, calls_max, for_ms)
        })
        .await
    }

    pub(crate) async fn keep_room_open(&self, sale: &str, for_ms: i64) -> StoreResult<()> {
        let sale = sale.to_owned();
        let hold = move |ledger: &mut PostgresLedger<'_>| {
            let sql = "UPDATE waiting_room SET open_until = $2 WHERE sale_id = $1";
            ledger.run(sql, &[&sale, &ledger.now.plus(for_ms).0]).map(drop)
        };
        self.job(RetryUnknown::Allowed, hold).await
    }
}
