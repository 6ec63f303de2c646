//! Waiting rooms in SQLite.
mod admit;
mod keep;

use rusqlite::{Row, params};

use doorbuster_core::gate::draw::{DrawLot, DrawSeed};
use doorbuster_core::gate::room::{AddedVisitor, LEFT, ReentryOutcome, RoomProgress, RoomSupply};
use doorbuster_core::{BuyerId, Millis};

use crate::contract::{EnterOutcome, RoomProgressStep, RoomVisitor, WaitingRoom, WaitingRoomView};
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::rows::int;
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

const ROOM: &str = "SELECT sale_id, seed, participants, entered, called, open_until
                    FROM waiting_room WHERE sale_id = ?1";
const VISITOR: &str = "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor
                       WHERE sale_id = ?1 AND buyer = ?2";

fn number(row: &Row<'_>, at: usize) -> Done<u64> {
    Ok(row.get::<_, i64>(at)?.cast_unsigned())
}

fn buyer(row: &Row<'_>, at: usize) -> Done<BuyerId> {
    let name: String = row.get(at)?;
    BuyerId::new(&name).ok_or_else(|| Failure::Row("row contains an invalid buyer".to_owned()))
}

fn room(row: &Row<'_>) -> Done<WaitingRoom> {
    let participants: Option<i64> = row.get(2)?;
    Ok(WaitingRoom {
        sale: row.get(0)?,
        seed: DrawSeed::new(row.get(1)?),
        line: RoomProgress {
            participants: participants.map(i64::cast_unsigned),
            entered: number(row, 3)?,
            called: number(row, 4)?,
        },
        open_until: row.get::<_, Option<i64>>(5)?.map(Millis),
    })
}

fn visitor(row: &Row<'_>) -> Done<RoomVisitor> {
    Ok(RoomVisitor {
        buyer: buyer(row, 0)?,
        lot: row.get::<_, Option<[u8; 32]>>(1)?.map(DrawLot::new),
        rank: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
        until: match row.get::<_, Option<i64>>(4)? {
            Some(_) => Some(LEFT),
            None => row.get::<_, Option<i64>>(3)?.map(Millis),
        },
    })
}

/// Returns the sale's room. Creates it from this seed if it does not exist. Closes its draw if the
/// sale has opened.
fn open(ledger: &mut SqliteLedger<'_>, sale: &str, seed: &DrawSeed) -> Done<Option<WaitingRoom>> {
    let sql = &mut ledger.sql;
    let opened =
        sql.one("SELECT opened_at IS NOT NULL FROM sale WHERE id = ?1", params![sale], |row| {
            Ok(row.get(0)?)
        });
    let Some(opened) = opened? else { return Ok(None) };
    sql.run(
        "INSERT INTO waiting_room (sale_id, seed) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![sale, seed.bytes()],
    )?;
    let mut found = sql.one(ROOM, params![sale], room)?;
    if let Some(found) = &mut found
        && opened
        && found.line.close_draw()
    {
        put_progress(sql, sale, &found.line)?;
    }
    Ok(found)
}

fn put_progress(sql: &mut Statements<'_>, sale: &str, line: &RoomProgress) -> Done<()> {
    sql.run(
        "UPDATE waiting_room SET participants = ?2, entered = ?3, called = ?4 WHERE sale_id = ?1",
        params![sale, line.participants.map(int), int(line.entered), int(line.called)],
    )?;
    Ok(())
}

/// Stores a visitor's row after the visitor left or entered again.
fn put_until(
    sql: &mut Statements<'_>,
    sale: &str,
    buyer: &BuyerId,
    until: Option<Millis>,
    now: Millis,
) -> Done<()> {
    let left = until == Some(LEFT);
    let admitted_until = until.filter(|_| !left).map(|until| until.0);
    sql.run(
        "UPDATE waiting_room_visitor SET admitted_until = ?3, left_at = ?4
         WHERE sale_id = ?1 AND buyer = ?2",
        params![sale, buyer.as_str(), admitted_until, left.then_some(now.0)],
    )?;
    Ok(())
}

fn leave(ledger: &mut SqliteLedger<'_>, sale: &str, buyer: &BuyerId) -> Done<Option<RoomVisitor>> {
    let known = ledger.sql.one(VISITOR, params![sale, buyer.as_str()], visitor)?;
    let Some(known) = known else { return Ok(None) };
    let Some(left) = known.queue_position(None).leave(ledger.now) else { return Ok(None) };
    put_until(&mut ledger.sql, sale, buyer, left.until, ledger.now)?;
    Ok(Some(RoomVisitor { until: left.until, ..known }))
}

fn enter(
    ledger: &mut SqliteLedger<'_>,
    sale: &str,
    seed: &DrawSeed,
    buyers: &[BuyerId],
) -> Done<Option<(WaitingRoom, Vec<EnterOutcome>)>> {
    let now = ledger.now;
    let Some(mut room) = open(ledger, sale, seed)? else { return Ok(None) };
    let mut entered = Vec::with_capacity(buyers.len());
    let before = room.line;
    for buyer in buyers {
        if let Some(known) = ledger.sql.one(VISITOR, params![sale, buyer.as_str()], visitor)? {
            match known.queue_position(None).enter_again(&room.line, now) {
                ReentryOutcome::Unchanged => {
                    entered.push(EnterOutcome::Known(known));
                    continue;
                }
                ReentryOutcome::SamePosition => {
                    put_until(&mut ledger.sql, sale, buyer, None, now)?;
                    entered.push(EnterOutcome::New(RoomVisitor { until: None, ..known }));
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
        // A buyer who took part in the draw stays in the list of the draw.
        ledger.sql.run(
            "INSERT INTO waiting_room_visitor (sale_id, buyer, lot, entered_at, rank)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET entered_at = excluded.entered_at, rank = excluded.rank,
             called_at = NULL, admitted_until = NULL, left_at = NULL",
            params![sale, buyer.as_str(), lot.as_ref().map(DrawLot::bytes), now.0, rank.map(int)],
        )?;
        entered.push(EnterOutcome::New(RoomVisitor {
            buyer: buyer.clone(),
            lot,
            rank,
            until: None,
        }));
    }
    if room.line != before {
        put_progress(&mut ledger.sql, sale, &room.line)?;
    }
    Ok(Some((room, entered)))
}

/// Returns the units that no buyer holds (`None` if unlimited), and the limit for one buyer.
/// Returns nothing if the sale is not open.
fn stock(sql: &mut Statements<'_>, sale: &str) -> Done<(Option<u64>, u64)> {
    let found = sql.one(
        "SELECT sale.phase = 'open', count(*) = count(item.total), coalesce(max(limit_per_buyer),
         1),
                coalesce(sum(pool - min(pool, waiting) + (SELECT coalesce(sum(granted - settled), 0)
                FROM slot_grant
                                     WHERE item_id = item.id AND open = 1 AND counted = 1)), 0)
         FROM sale JOIN item ON item.sale_id = sale.id WHERE sale.id = ?1 GROUP BY sale.id",
        params![sale],
        |row| {
            Ok((row.get::<_, bool>(0)?, row.get::<_, bool>(1)?, number(row, 2)?, number(row, 3)?))
        },
    )?;
    Ok(match found {
        Some((true, counted, limit, free)) => (counted.then_some(free), limit),
        Some((false, ..)) | None => (Some(0), 1),
    })
}

fn view(sql: &mut Statements<'_>, sale: &str, now: Millis) -> Done<Option<WaitingRoomView>> {
    let Some(room) = sql.one(ROOM, params![sale], room)? else { return Ok(None) };
    let (free, limit) = stock(sql, sale)?;
    let on_the_way = sql.one(
        "SELECT count(*) - count(units), count(units), coalesce(sum(units), 0) FROM (
             SELECT (SELECT sum(o.units) FROM orders o JOIN item i ON i.id = o.item_id
                     WHERE o.buyer = p.buyer AND i.sale_id = p.sale_id
                     AND o.reserved_at >= p.called_at) AS units
             FROM waiting_room_visitor p WHERE p.sale_id = ?1 AND p.admitted_until > ?2)",
        params![sale, now.0],
        |row| Ok((number(row, 0)?, number(row, 1)?, number(row, 2)?)),
    )?;
    let (out, used, used_units) = on_the_way.unwrap_or_default();
    Ok(Some(WaitingRoomView { room, shop: RoomSupply { free, limit, out, used, used_units } }))
}

impl Sqlite {
    pub(crate) async fn admit_more(
        &self,
        sale: &str,
        visitors: u64,
        for_ms: i64,
    ) -> StoreResult<Option<RoomProgressStep>> {
        let sale = sale.to_owned();
        self.job(move |ledger| admit::call_more(ledger, &sale, visitors, for_ms)).await
    }

    pub(crate) async fn enter_room(
        &self,
        sale: &str,
        seed: DrawSeed,
        buyers: Vec<BuyerId>,
    ) -> StoreResult<Option<(WaitingRoom, Vec<EnterOutcome>)>> {
        let sale = sale.to_owned();
        self.write(buyers.len().max(1), move |txn| {
            txn.attempt(|ledger| enter(ledger, &sale, &seed, &buyers))
        })
        .await
    }

    pub(crate) async fn leave_room(
        &self,
        sale: &str,
        buyer: BuyerId,
    ) -> StoreResult<Option<RoomVisitor>> {
        let sale = sale.to_owned();
        self.job(move |ledger| leave(ledger, &sale, &buyer)).await
    }

    pub(crate) async fn waiting_rooms(&self, sales: Vec<String>) -> StoreResult<Vec<WaitingRoom>> {
        self.read(move |sql| {
            let mut rooms = Vec::with_capacity(sales.len());
            for sale in &sales {
                rooms.extend(sql.one(ROOM, params![sale], room)?);
            }
            Ok(rooms)
        })
        .await
    }

    pub(crate) async fn visitors(
        &self,
        sale: &str,
        buyers: Vec<BuyerId>,
    ) -> StoreResult<Vec<RoomVisitor>> {
        let sale = sale.to_owned();
        self.read(move |sql| {
            let mut visitors = Vec::with_capacity(buyers.len());
            for buyer in &buyers {
                visitors.extend(sql.one(VISITOR, params![sale, buyer.as_str()], visitor)?);
            }
            Ok(visitors)
        })
        .await
    }

    pub(crate) async fn admitted_after(
        &self,
        sale: &str,
        after: u64,
        limit: usize,
    ) -> StoreResult<Vec<RoomVisitor>> {
        const SQL: &str =
            "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor
             WHERE sale_id = ?1 AND rank > ?2 AND called_at IS NOT NULL ORDER BY rank LIMIT ?3";
        let (sale, limit) = (sale.to_owned(), i64::try_from(limit).unwrap_or(i64::MAX));
        self.read(move |sql| sql.all(SQL, params![sale, int(after), limit], visitor)).await
    }

    pub(crate) async fn drawn_after(
        &self,
        sale: &str,
        after: Option<DrawLot>,
        limit: usize,
    ) -> StoreResult<Vec<(DrawLot, BuyerId)>> {
        const SQL: &str = "SELECT lot, buyer FROM waiting_room_visitor WHERE sale_id = ?1
                           AND lot > ?2 ORDER BY lot LIMIT ?3";
        let (sale, limit) = (sale.to_owned(), i64::try_from(limit).unwrap_or(i64::MAX));
        self.read(move |sql| {
            let after = after.as_ref().map_or(&[][..], |lot| lot.bytes());
            sql.all(SQL, params![sale, after, limit], |row| {
                Ok((DrawLot::new(row.get(0)?), buyer(row, 1)?))
            })
        })
        .await
    }

    pub(crate) async fn waiting_room_view(
        &self,
        sale: &str,
    ) -> StoreResult<Option<WaitingRoomView>> {
        let (sale, now) = (sale.to_owned(), self.now());
        self.read(move |sql| view(sql, &sale, now)).await
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
        self.job(move |ledger| admit::call(ledger, &sale, seen, shop, calls_max, for_ms)).await
    }

    pub(crate) async fn keep_room_open(&self, sale: &str, for_ms: i64) -> StoreResult<()> {
        let sale = sale.to_owned();
        self.job(move |ledger| {
            let until = ledger.now.plus(for_ms);
            let sql = "UPDATE waiting_room SET open_until = ?2 WHERE sale_id = ?1";
            ledger.sql.run(sql, params![sale, until.0]).map(drop)
        })
        .await
    }
}
