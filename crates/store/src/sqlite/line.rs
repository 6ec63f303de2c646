//! Places in the lines of items: what the rules read and write of them, and the store's methods.
use rusqlite::{Row, params};

use doorbuster_core::limits::LINE_BATCH_MAX;
use doorbuster_core::line::{Joined, Joiner, Left, LineEnded};
use doorbuster_core::{
    BuyerId, ItemId, Ledger, Millis, Order, Place, PlaceState, RequestKey, SlotKey, TicketId,
    TicketN, line,
};

use crate::contract::{LinePlace, LineServed};
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::read::{Reader, as_limit};
use super::rows::{self, int, word};
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

macro_rules! place_columns {
    () => {
        "item_id, n, id, buyer, request_key, state, joined_at, ended_at"
    };
}
pub(super) use place_columns;

pub(super) fn row(row: &Row<'_>) -> Done<Place> {
    Ok(Place {
        item: ItemId(row.get(0)?),
        n: TicketN(rows::number(row, 1)?),
        id: rows::ticket(row, 2)?,
        buyer: word(row, 3, "buyer", BuyerId::new)?,
        key: word(row, 4, "request key", RequestKey::new)?,
        state: word(row, 5, "state", PlaceState::parse)?,
        joined_at: Millis(row.get(6)?),
        ended_at: row.get::<_, Option<i64>>(7)?.map(Millis),
    })
}

pub(super) fn in_slots(sql: &mut Statements<'_>, item: ItemId) -> Done<u64> {
    let text = "SELECT coalesce(sum(granted - settled), 0) FROM slot_grant WHERE item_id = ?1 AND open = 1 AND counted = 1";
    Ok(sql.one(text, params![item.0], |row| rows::number(row, 0))?.unwrap_or(0))
}

pub(super) fn has_ended(sql: &mut Statements<'_>, item: ItemId) -> Done<bool> {
    let text =
        "SELECT s.phase = 'closed' FROM item i JOIN sale s ON s.id = i.sale_id WHERE i.id = ?1";
    Ok(sql.one(text, params![item.0], |row| Ok(row.get::<_, bool>(0)?))?.unwrap_or(false))
}

pub(super) fn place(sql: &mut Statements<'_>, id: &TicketId) -> Done<Option<Place>> {
    let text = concat!("SELECT ", place_columns!(), " FROM waitlist WHERE id = ?1");
    sql.one(text, params![id.text().as_str()], row)
}

pub(super) fn place_of(
    sql: &mut Statements<'_>,
    item: ItemId,
    buyer: &BuyerId,
) -> Done<Option<Place>> {
    let text = concat!(
        "SELECT ",
        place_columns!(),
        " FROM waitlist WHERE item_id = ?1 AND buyer = ?2 AND state = 'waiting'"
    );
    sql.one(text, params![item.0, buyer.as_str()], row)
}

pub(super) fn in_line(sql: &mut Statements<'_>, item: ItemId, limit: usize) -> Done<Vec<Place>> {
    let text = concat!(
        "SELECT ",
        place_columns!(),
        " FROM waitlist WHERE item_id = ?1 AND state = 'waiting' ORDER BY n LIMIT ?2"
    );
    sql.all(text, params![item.0, as_limit(limit)], row)
}

pub(super) fn put_place(sql: &mut Statements<'_>, place: &Place) -> Done<()> {
    sql.run(
        "INSERT INTO waitlist (item_id, n, id, buyer, request_key, state, joined_at, ended_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (item_id, n) DO UPDATE SET state = excluded.state, ended_at = excluded.ended_at",
        params![
            place.item.0,
            int(place.n.0),
            place.id.text().as_str(),
            place.buyer.as_str(),
            place.key.as_str(),
            place.state.as_str(),
            place.joined_at.0,
            place.ended_at.map(|t| t.0)
        ],
    )?;
    Ok(())
}

/// The order that the buyer's last place in a line became. Looked for among the buyer's orders: the `+` keeps SQLite from walking through all of the grant's.
fn order_of_last(sql: &mut Reader<'_>, item: ItemId, buyer: &BuyerId) -> Done<Option<Order>> {
    let text = concat!(
        "SELECT ",
        rows::order_columns!(),
        " FROM orders WHERE buyer = ?2 AND +grant_id = (SELECT g.id FROM slot_grant g WHERE g.item_id = ?1 AND g.slot = ?3)
          AND NOT EXISTS (SELECT 1 FROM waitlist w WHERE w.item_id = ?1 AND w.n > orders.n AND w.buyer = ?2)
          ORDER BY n DESC LIMIT 1"
    );
    sql.one(text, params![item.0, buyer.as_str(), SlotKey::LINE], rows::order)
}

fn with_turn(sql: &mut Reader<'_>, place: Option<Place>) -> Done<Option<LinePlace>> {
    let Some(place) = place else { return Ok(None) };
    let mut ahead = 0;
    if place.state == PlaceState::Waiting {
        let text =
            "SELECT count(*) FROM waitlist WHERE item_id = ?1 AND state = 'waiting' AND n < ?2";
        ahead = sql
            .one(text, params![place.item.0, int(place.n.0)], |row| rows::number(row, 0))?
            .unwrap_or(0);
    }
    Ok(Some(LinePlace { place, ahead }))
}

impl Sqlite {
    pub(crate) async fn join_line(&self, item: ItemId, joiner: Joiner) -> StoreResult<Joined> {
        let id_key = self.0.shared.id_key.clone();
        self.job(move |ledger| {
            let now = ledger.now;
            line::join(ledger, &id_key, item, &joiner, now)
        })
        .await
    }

    pub(crate) async fn leave_line(&self, id: TicketId) -> StoreResult<Left> {
        self.job(move |ledger| {
            let now = ledger.now;
            line::leave(ledger, &id, now)
        })
        .await
    }

    pub(crate) async fn serve_line(&self, item: ItemId) -> StoreResult<LineServed> {
        self.job(move |ledger| {
            let now = ledger.now;
            let kept = ledger.item(item)?.map_or(0, |item| item.kept());
            line::serve(
                ledger,
                item,
                usize::try_from(kept).unwrap_or(usize::MAX).min(LINE_BATCH_MAX),
                now,
            )
        })
        .await
    }

    pub(crate) async fn end_line(&self, item: ItemId) -> StoreResult<LineEnded> {
        self.job(move |ledger| {
            let now = ledger.now;
            line::end_with_sale(ledger, item, LINE_BATCH_MAX, now)
        })
        .await
    }

    pub(crate) async fn line_order_of(
        &self,
        item: ItemId,
        buyer: BuyerId,
    ) -> StoreResult<Option<Order>> {
        self.read(move |sql| order_of_last(sql, item, &buyer)).await
    }

    pub(crate) async fn line_place(&self, id: TicketId) -> StoreResult<Option<LinePlace>> {
        self.read(move |sql| {
            let found = place(sql, &id)?;
            with_turn(sql, found)
        })
        .await
    }

    pub(crate) async fn line_place_of(
        &self,
        item: ItemId,
        buyer: BuyerId,
    ) -> StoreResult<Option<LinePlace>> {
        self.read(move |sql| {
            let found = place_of(sql, item, &buyer)?;
            with_turn(sql, found)
        })
        .await
    }
}
