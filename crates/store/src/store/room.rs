//! Waiting rooms: positions, the draw, and admission. In PostgreSQL, entering and admitting lock
//! the room's row, so these calls run one after the other.

use doorbuster_core::gate::draw::{DrawLot, DrawSeed};
use doorbuster_core::gate::room::{LEFT, RoomProgress, RoomSupply, extended_end};
use doorbuster_core::{BuyerId, ItemId, Millis};

use crate::contract::{
    EnterOutcome, RoomAdmissions, RoomKey, RoomProgressStep, RoomVisitor, WaitingRoom,
    WaitingRoomView,
};
use crate::failure::Done;
use crate::sql::{Row, Statement, as_limit, dialects, locking, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::{Store, StoreResult};

macro_rules! room_columns {
    () => {
        "r.sale_id, r.seed, r.participants, r.entered, r.called, r.open_until, r.item_id,
         (SELECT n.name FROM item n WHERE n.id = r.item_id)"
    };
}
macro_rules! visitors {
    ($rest:literal) => {
        concat!(
            "SELECT buyer, lot, rank, admitted_until, left_at FROM waiting_room_visitor
             WHERE sale_id = $1 AND item_id = $2 AND ",
            $rest
        )
    };
}
mod admit;
mod auto_open;
mod enter;

pub(super) use auto_open::open_if_auto;

const ROOM: Statement = locking!(
    concat!(
        "SELECT ",
        room_columns!(),
        " FROM waiting_room r WHERE r.sale_id = $1 AND r.item_id = $2"
    ),
    "FOR UPDATE"
);
const ROOMS: Statement = dialects!(
    concat!("SELECT ", room_columns!(), " FROM waiting_room r WHERE r.sale_id "),
    "IN (SELECT value FROM json_each($1))" | "= ANY($1)",
    ""
);
const VISITORS: Statement =
    dialects!(visitors!("buyer "), "IN (SELECT value FROM json_each($3))" | "= ANY($3)", "");
const ADMITTED_AFTER: Statement =
    statement(visitors!("rank > $3 AND called_at IS NOT NULL ORDER BY rank LIMIT $4"));
const DRAWN_AFTER: Statement = statement(
    "SELECT lot, buyer FROM waiting_room_visitor
     WHERE sale_id = $1 AND item_id = $2 AND lot > $3 ORDER BY lot LIMIT $4",
);
const PUT_PROGRESS: Statement = statement(
    "UPDATE waiting_room SET participants = $3, entered = $4, called = $5
     WHERE sale_id = $1 AND item_id = $2",
);
const PUT_UNTIL: Statement = statement(
    "UPDATE waiting_room_visitor SET admitted_until = $4, left_at = $5
     WHERE sale_id = $1 AND item_id = $2 AND buyer = $3",
);
const ADMITTED_AT: Statement = statement(
    "SELECT called_at FROM waiting_room_visitor
     WHERE sale_id = $1 AND item_id = $2 AND buyer = $3",
);
/// The SQL condition that selects the items `i` of a room. A room is for one item, or for all items
/// of its sale.
macro_rules! of_room {
    () => {
        "i.sale_id = $1 AND (i.id = $2 OR CAST($2 AS bigint) = 0)"
    };
}
/// Three columns: whether every item `i` has limited stock, the highest limit for one buyer, and
/// the sum of the items' free units.
macro_rules! stock_columns {
    ($is_open:literal) => {
        concat!(
            "count(*) = count(i.total) AS counted, coalesce(max(i.limit_per_buyer), 1) AS most,
             CAST(coalesce(sum(i.pool - CASE WHEN i.pool < i.waiting THEN i.pool ELSE i.waiting END
                 + (SELECT coalesce(sum(g.granted - g.settled), 0) FROM slot_grant g
                    WHERE g.item_id = i.id AND ",
            $is_open,
            " AND g.counted)), 0) AS bigint) AS free"
        )
    };
}
macro_rules! stock {
    ($is_open:literal) => {
        concat!(
            "SELECT s.phase = 'open', ",
            stock_columns!($is_open),
            " FROM sale s JOIN item i ON i.sale_id = s.id WHERE s.id = $1 AND ",
            of_room!(),
            " GROUP BY s.id, s.phase"
        )
    };
}
const STOCK: Statement = Statement { sqlite: stock!("g.open = 1"), postgres: stock!("g.open") };
macro_rules! view {
    ($is_open:literal) => {
        concat!(
            "WITH i AS (SELECT ",
            stock_columns!($is_open),
            " FROM item i WHERE ",
            of_room!(),
            "),
             u AS MATERIALIZED (
                 SELECT (SELECT sum(o.units) FROM orders o JOIN item i ON i.id = o.item_id
                         WHERE o.buyer = p.buyer AND i.sale_id = p.sale_id
                         AND (i.id = p.item_id OR p.item_id = 0)
                         AND o.reserved_at >= p.called_at) AS units
                 FROM waiting_room_visitor p
                 WHERE p.sale_id = $1 AND p.item_id = $2 AND p.admitted_until > $3),
             w AS (SELECT count(*) - count(u.units) AS unused, count(u.units) AS used,
                          CAST(coalesce(sum(u.units), 0) AS bigint) AS units FROM u)
             SELECT ",
            room_columns!(),
            ", s.phase = 'open', i.counted, i.most, i.free, w.unused, w.used, w.units
             FROM waiting_room r JOIN sale s ON s.id = r.sale_id CROSS JOIN i CROSS JOIN w
             WHERE r.sale_id = $1 AND r.item_id = $2"
        )
    };
}
const VIEW: Statement = Statement { sqlite: view!("g.open = 1"), postgres: view!("g.open") };

/// The item id in the row of a room that is for the whole sale.
const SALE_ROOM: ItemId = ItemId(0);

fn columns(room: &RoomKey) -> (&str, ItemId) {
    (&room.sale, room.item.unwrap_or(SALE_ROOM))
}

fn room(row: Row<'_>) -> Done<WaitingRoom> {
    Ok(WaitingRoom {
        key: RoomKey {
            sale: row.text(0, "sale id")?.into(),
            item: Some(ItemId(row.get(6)?)).filter(|item| *item != SALE_ROOM),
        },
        item_name: row.text_opt(7, "item name")?.map(str::to_owned),
        seed: DrawSeed::new(row.bytes(1, "seed")?),
        line: RoomProgress {
            participants: row.number_opt(2)?,
            entered: row.number(3)?,
            admitted: row.number(4)?,
        },
        open_until: row.time(5)?,
    })
}

fn visitor(row: Row<'_>) -> Done<RoomVisitor> {
    Ok(RoomVisitor {
        buyer: row.parse(0, "buyer", BuyerId::new)?,
        lot: row.bytes_opt(1, "lot")?.map(DrawLot::new),
        rank: row.number_opt(2)?,
        until: match row.time(4)? {
            Some(_) => Some(LEFT),
            None => row.time(3)?,
        },
    })
}

/// Returns the free units (`None` if unlimited), and the limit for one buyer. If the sale is not
/// open, returns 0 free units and a limit of 1.
fn stock(row: Row<'_>, at: usize) -> Done<(Option<u64>, u64)> {
    let (is_open, counted) = (row.get::<bool>(at)?, row.get::<bool>(at + 1)?);
    let (limit, free) = (row.number(at + 2)?, row.number(at + 3)?);
    Ok(if is_open { (counted.then_some(free), limit) } else { (Some(0), 1) })
}

fn view(row: Row<'_>) -> Done<WaitingRoomView> {
    let (free, limit) = stock(row, 8)?;
    let (open, used, used_units) = (row.number(12)?, row.number(13)?, row.number(14)?);
    let shop = RoomSupply { free, limit, open, used, used_units };
    Ok(WaitingRoomView { room: room(row)?, shop })
}

fn names(buyers: &[BuyerId]) -> Vec<String> {
    buyers.iter().map(|buyer| buyer.as_str().to_owned()).collect()
}

fn put_progress(tx: &mut Transaction<'_, '_>, room: &RoomKey, line: &RoomProgress) -> Done<()> {
    let (sale, item) = columns(room);
    let values = values![sale, item, line.participants, line.entered, line.admitted];
    tx.run(PUT_PROGRESS, &values).map(drop)
}

/// Stores the new end of a visitor's admission. If the visitor has left, stores the time of leaving
/// instead.
fn put_until(
    tx: &mut Transaction<'_, '_>,
    room: &RoomKey,
    buyer: &BuyerId,
    until: Option<Millis>,
) -> Done<()> {
    let (sale, item) = columns(room);
    let left = until == Some(LEFT);
    let admitted_until = until.filter(|_| !left);
    let left_at = left.then_some(tx.now());
    tx.run(PUT_UNTIL, &values![sale, item, buyer, admitted_until, left_at]).map(drop)
}

/// Locks the room until the commit, so that no other node admits or changes the visitor. Returns
/// the visitor.
fn lock_visitor(
    tx: &mut Transaction<'_, '_>,
    room: &RoomKey,
    buyer: &BuyerId,
) -> Done<Option<RoomVisitor>> {
    let (sale, item) = columns(room);
    if !tx.exists(ROOM, &values![sale, item])? {
        return Ok(None);
    }
    tx.one(VISITORS, &values![sale, item, names(std::slice::from_ref(buyer))], visitor)
}

fn leave(
    tx: &mut Transaction<'_, '_>,
    room: &RoomKey,
    buyer: &BuyerId,
) -> Done<Option<RoomVisitor>> {
    let Some(known) = lock_visitor(tx, room, buyer)? else { return Ok(None) };
    let Some(left) = known.queue_position(None).leave(tx.now()) else { return Ok(None) };
    put_until(tx, room, buyer, left.until)?;
    Ok(Some(RoomVisitor { until: left.until, ..known }))
}

fn keep(
    tx: &mut Transaction<'_, '_>,
    room: &RoomKey,
    buyer: &BuyerId,
    for_ms: i64,
) -> Done<Option<RoomVisitor>> {
    let Some(known) = lock_visitor(tx, room, buyer)? else { return Ok(None) };
    let (sale, item) = columns(room);
    let admitted = tx.one(ADMITTED_AT, &values![sale, item, buyer], |row| row.time(0))?;
    let kept = admitted
        .flatten()
        .zip(known.until)
        .and_then(|(called_at, until)| extended_end(called_at, until, for_ms, tx.now()));
    if kept.is_some() {
        put_until(tx, room, buyer, kept)?;
    }
    Ok(Some(RoomVisitor { until: kept.or(known.until), ..known }))
}

impl Store {
    /// Creates the room if it does not exist, and closes its draw if the sale has opened. The seed
    /// is used only if the sale has no room yet. Returns `None` if there is no such sale or item.
    pub async fn open_room(
        &self,
        room: &RoomKey,
        seed: DrawSeed,
    ) -> StoreResult<Option<WaitingRoom>> {
        Ok(self.enter_room(room, seed, Vec::new()).await?.map(|(room, _)| room))
    }

    /// Opens the room like [`Store::open_room`]. A buyer in `buyers` gets a position if the buyer
    /// has no position or has left, or if the buyer's admission has ended. The outcomes are in the
    /// same sequence as the buyers.
    pub async fn enter_room(
        &self,
        room: &RoomKey,
        seed: DrawSeed,
        buyers: Vec<BuyerId>,
    ) -> StoreResult<Option<(WaitingRoom, Vec<EnterOutcome>)>> {
        let room = room.clone();
        let weight = buyers.len().max(1);
        let enter = move |tx: &mut Transaction<'_, '_>| enter::enter(tx, &room, &seed, &buyers);
        self.weighed_job(weight, RetryUnknown::Allowed, enter).await
    }

    /// Gives up the buyer's position ([`doorbuster_core::gate::room::QueuePosition::leave`]). If
    /// the buyer is admitted, the admission ends now. If the buyer waits, the room passes over the
    /// buyer. Returns the new position, or `None` if the buyer had no position.
    pub async fn leave_room(
        &self,
        room: &RoomKey,
        buyer: BuyerId,
    ) -> StoreResult<Option<RoomVisitor>> {
        let room = room.clone();
        self.job(RetryUnknown::Allowed, move |tx| leave(tx, &room, &buyer)).await
    }

    /// If a buyer's admission has not ended, makes the admission last `for_ms` from its start
    /// ([`doorbuster_core::gate::room::extended_end`]). Returns the buyer's new position, or `None`
    /// if the buyer has no position.
    pub async fn keep_turn(
        &self,
        room: &RoomKey,
        buyer: BuyerId,
        for_ms: i64,
    ) -> StoreResult<Option<RoomVisitor>> {
        let room = room.clone();
        self.job(RetryUnknown::Allowed, move |tx| keep(tx, &room, &buyer, for_ms)).await
    }

    /// Returns the existing rooms of these sales and of their items, in any order.
    pub async fn waiting_rooms(&self, sales: Vec<String>) -> StoreResult<Vec<WaitingRoom>> {
        self.all(ROOMS, values![sales], self::room).await
    }

    /// Returns the positions of these buyers, in any order.
    pub async fn visitors(
        &self,
        room: &RoomKey,
        buyers: Vec<BuyerId>,
    ) -> StoreResult<Vec<RoomVisitor>> {
        let (sale, item) = columns(room);
        self.all(VISITORS, values![sale.to_owned(), item, names(&buyers)], visitor).await
    }

    /// Returns at most `limit` admitted visitors with ranks above `after`, sorted by rank.
    pub async fn admitted_after(
        &self,
        room: &RoomKey,
        after: u64,
        limit: usize,
    ) -> StoreResult<Vec<RoomVisitor>> {
        let (sale, item) = columns(room);
        let values = values![sale.to_owned(), item, after, as_limit(limit)];
        self.all(ADMITTED_AFTER, values, visitor).await
    }

    /// Returns at most `limit` participants of the draw after this lot, in the order of the draw.
    pub async fn drawn_after(
        &self,
        room: &RoomKey,
        after: Option<DrawLot>,
        limit: usize,
    ) -> StoreResult<Vec<(DrawLot, BuyerId)>> {
        let after = after.map_or(Vec::new(), |lot| lot.bytes().to_vec());
        let (sale, item) = columns(room);
        let values = values![sale.to_owned(), item, after, as_limit(limit)];
        let drawn = |row: Row<'_>| {
            let lot = DrawLot::new(row.bytes(0, "lot")?);
            Ok((lot, row.parse(1, "buyer", BuyerId::new)?))
        };
        self.all(DRAWN_AFTER, values, drawn).await
    }

    /// Returns the room and the supply of its items, in one snapshot.
    pub async fn waiting_room_view(&self, room: &RoomKey) -> StoreResult<Option<WaitingRoomView>> {
        let (sale, item) = columns(room);
        self.one(VIEW, values![sale.to_owned(), item, self.now()], view).await
    }

    /// Admits visitors of several rooms of one sale in one transaction. Each room admits as many
    /// visitors as the rules allow for the current stock ([`RoomSupply::admissions`]), but at most
    /// [`RoomAdmissions::most`]. A room admits no visitors if other visitors were admitted since
    /// the caller read the room. An admission lasts `for_ms`. While other visitors wait, an
    /// admission is shorter at first ([`doorbuster_core::gate::room::first_turn_ms`]). Returns a
    /// list of admitted visitors for each room, in the order of `rooms`. Each list is sorted by
    /// rank.
    pub async fn admit_visitors(
        &self,
        rooms: Vec<RoomAdmissions>,
        for_ms: i64,
    ) -> StoreResult<Vec<Vec<RoomVisitor>>> {
        self.job(RetryUnknown::Allowed, move |tx| {
            rooms.iter().map(|room| admit::admit_visitors(tx, room, for_ms)).collect()
        })
        .await
    }

    /// Admits the next `visitors` visitors at once, even if little stock is left. An admission
    /// lasts as long as in [`Store::admit_visitors`]. Records the caller's action. Returns `None`
    /// if the sale is not open or the draw is not closed.
    pub async fn admit_more(
        &self,
        room: &RoomKey,
        visitors: u64,
        for_ms: i64,
    ) -> StoreResult<Option<RoomProgressStep>> {
        let room = room.clone();
        // A second run would admit more visitors.
        self.job(RetryUnknown::Never, move |tx| {
            admit::admit_beyond_supply(tx, &room, visitors, for_ms)
        })
        .await
    }
}
