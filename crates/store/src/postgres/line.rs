//! Places in the lines of items: what the rules read of them, and the store's methods.
//!
//! A place is changed only under the lock of its line's grant: what is read under that lock is kept, what is read before is not. Serving locks the
//! sale, the line, and the quotas of everybody whom it may serve before it comes to the item: in the order of every transaction.
use tokio_postgres::Row;

use doorbuster_core::event::Actor;
use doorbuster_core::limits::LINE_BATCH_MAX;
use doorbuster_core::line::{self, Joined, Joiner, Left, LineEnded};
use doorbuster_core::{
    BuyerId, Grant, GrantId, ItemId, Ledger, Millis, Order, Place, PlaceState, RequestKey, SlotKey,
    TicketId, TicketN,
};

use crate::contract::{LinePlace, LineServed};
use crate::events::actor;
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::held::Quota;
use super::ledger::PostgresLedger;
use super::prefetch::QUOTAS;
use super::read::as_limit;
use super::rows::{self, int, word};
use super::run::Again;

type Done<T> = Result<T, Failure>;

macro_rules! place_columns {
    () => {
        "w.item_id, w.n, w.id, w.buyer, w.request_key, w.state, w.joined_at, w.ended_at"
    };
}
pub(super) use place_columns;

/// With `ahead` behind its columns.
macro_rules! select_turn {
    () => {
        concat!(
            "SELECT ",
            place_columns!(),
            ", CASE w.state WHEN 'waiting' THEN
                 (SELECT count(*) FROM waitlist b WHERE b.item_id = w.item_id AND b.state = 'waiting' AND b.n < w.n)
               ELSE 0 END FROM waitlist w"
        )
    };
}

pub(super) fn row(row: &Row) -> Done<Place> {
    Ok(Place {
        item: ItemId(row.try_get(0)?),
        n: TicketN(rows::number(row, 1)?),
        id: rows::ticket(row, 2)?,
        buyer: word(row, 3, "buyer", BuyerId::new)?,
        key: word(row, 4, "request key", RequestKey::new)?,
        state: word(row, 5, "state", PlaceState::parse)?,
        joined_at: Millis(row.try_get(6)?),
        ended_at: rows::time(row, 7)?,
    })
}

pub(super) fn in_slots(ledger: &PostgresLedger<'_>, item: ItemId) -> Done<u64> {
    const SQL: &str =
        concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant WHERE item_id = $1 AND open");
    let mut units: u64 = 0;
    for grant in ledger.all(SQL, &[&item.0], rows::grant)? {
        units += if ledger.held.grants.contains_key(&grant.id) { 0 } else { grant.unsettled() };
    }
    let held = ledger.held.grants.values().map(|kept| &kept.row);
    Ok(units + held.filter(|g| g.open && g.slot.item == item).map(Grant::unsettled).sum::<u64>())
}

/// What has ended stays so: nothing is locked.
pub(super) fn has_ended(ledger: &PostgresLedger<'_>, item: ItemId) -> Done<bool> {
    let sql =
        "SELECT s.phase = 'closed' FROM item i JOIN sale s ON s.id = i.sale_id WHERE i.id = $1";
    Ok(ledger.one(sql, &[&item.0], |row| Ok(row.try_get(0)?))?.unwrap_or(false))
}

fn is_locked(ledger: &PostgresLedger<'_>, item: ItemId) -> bool {
    ledger.held.grants.values().any(|kept| kept.row.slot == SlotKey::line(item))
}

/// Of two who make an item's line at once, the second one's insertion fails, and it is run again.
pub(super) fn line(ledger: &mut PostgresLedger<'_>, item: ItemId) -> Done<Option<Grant>> {
    if let Some(kept) =
        ledger.held.grants.values().find(|kept| kept.row.slot == SlotKey::line(item))
    {
        return Ok(Some(kept.row.clone()));
    }
    const SQL: &str = concat!(
        "SELECT ",
        rows::grant_columns!(),
        " FROM slot_grant WHERE item_id = $1 AND slot = $2 FOR NO KEY UPDATE"
    );
    let found = ledger.one(SQL, &[&item.0, &i64::from(SlotKey::LINE)], rows::grant)?;
    Ok(found.map(|row| ledger.held.keep_grant(row)))
}

fn keep_if_locked(ledger: &mut PostgresLedger<'_>, place: Place) -> Place {
    match is_locked(ledger, place.item) {
        true => ledger.held.keep_place(place),
        false => place,
    }
}

pub(super) fn place(ledger: &mut PostgresLedger<'_>, id: &TicketId) -> Done<Option<Place>> {
    if let Some(kept) = ledger.held.places.values().find(|kept| kept.row.id == *id) {
        return Ok(Some(kept.row.clone()));
    }
    const SQL: &str = concat!("SELECT ", place_columns!(), " FROM waitlist w WHERE w.id = $1");
    let found = ledger.one(SQL, &[&id.text().as_str()], row)?;
    Ok(found.map(|place| keep_if_locked(ledger, place)))
}

pub(super) fn place_of(
    ledger: &mut PostgresLedger<'_>,
    item: ItemId,
    buyer: &BuyerId,
) -> Done<Option<Place>> {
    const SQL: &str = concat!(
        "SELECT ",
        place_columns!(),
        " FROM waitlist w WHERE w.item_id = $1 AND w.buyer = $2 AND w.state = 'waiting'"
    );
    let waits = |place: &Place| {
        place.item == item && place.buyer == *buyer && place.state == PlaceState::Waiting
    };
    if let Some(kept) = ledger.held.places.values().find(|kept| waits(&kept.row)) {
        return Ok(Some(kept.row.clone()));
    }
    let found = ledger.one(SQL, &[&item.0, &buyer.as_str()], row)?;
    // One in hand that ended here is still among the rows.
    Ok(found.map(|place| keep_if_locked(ledger, place)).filter(waits))
}

pub(super) fn in_line(
    ledger: &mut PostgresLedger<'_>,
    item: ItemId,
    limit: usize,
) -> Done<Vec<Place>> {
    const SQL: &str = concat!(
        "SELECT ",
        place_columns!(),
        " FROM waitlist w WHERE w.item_id = $1 AND w.state = 'waiting' ORDER BY w.n LIMIT $2"
    );
    // Those in hand may have ended here.
    let among = as_limit(limit.saturating_add(ledger.held.places.len()));
    let mut places = ledger.all(SQL, &[&item.0, &among], row)?;
    places.retain(|place| !ledger.held.places.contains_key(&(place.item, place.n)));
    let held = ledger.held.places.values().map(|kept| &kept.row);
    places.extend(held.filter(|p| p.item == item && p.state == PlaceState::Waiting).cloned());
    places.sort_unstable_by_key(|place| place.n);
    places.truncate(limit);
    Ok(places.into_iter().map(|place| keep_if_locked(ledger, place)).collect())
}

/// Looked for among the buyer's orders, behind `OFFSET 0`: sorted by number, all of the grant's would be walked through.
pub(super) fn first_unpaid(
    ledger: &PostgresLedger<'_>,
    grant: GrantId,
    buyer: &BuyerId,
    by: Option<&Actor>,
) -> Done<Option<Order>> {
    const SQL: &str = concat!(
        "SELECT ",
        rows::order_columns!(),
        " FROM (SELECT * FROM orders o WHERE o.buyer = $1 OFFSET 0) o
          WHERE o.grant_id = $2 AND (o.state = 'expired' OR (o.state = 'cancelled' AND ($3::text IS NULL OR $3 =
              (SELECT e.actor FROM event e WHERE e.grant_id = o.grant_id AND e.n = o.n AND e.type = 'order.cancelled' LIMIT 1))))
          ORDER BY o.n LIMIT 1"
    );
    ledger.one(SQL, &[&buyer.as_str(), &int(grant.0), &by.map(actor)], rows::order)
}

/// Locks the line, and the quotas of those who are first in it.
fn lock_first(ledger: &mut PostgresLedger<'_>, item: ItemId, at_most: usize) -> Done<()> {
    if ledger.line(item)?.is_none() {
        return Ok(());
    }
    let places = ledger.in_line(item, at_most)?;
    let buyers: Vec<&str> = places.iter().map(|place| place.buyer.as_str()).collect();
    let items = vec![item.0; buyers.len()];
    let quota =
        |row: &Row| Ok((rows::word(row, 0, "buyer", BuyerId::new)?, rows::small(row, 2, "quota")?));
    for (buyer, used) in ledger.all(QUOTAS, &[&buyers, &items], quota)? {
        ledger.held.quotas.insert((buyer, item), Quota { used, read: Some(used) });
    }
    for place in places {
        // Without a row there is nothing to lock: should somebody make one meanwhile, making it fails here, and all is run again.
        ledger.held.quotas.entry((place.buyer, item)).or_insert(Quota { used: 0, read: None });
    }
    Ok(())
}

fn serve(ledger: &mut PostgresLedger<'_>, item: ItemId) -> Done<LineServed> {
    let sql = "SELECT least(pool, waiting) FROM item WHERE id = $1";
    let kept = ledger.one(sql, &[&item.0], |row| rows::number(row, 0))?.unwrap_or(0);
    let at_most = usize::try_from(kept).unwrap_or(usize::MAX).min(LINE_BATCH_MAX);
    if at_most == 0 {
        return Ok(LineServed::default());
    }
    ledger.on_sale(item)?;
    lock_first(ledger, item, at_most)?;
    let now = ledger.now;
    line::serve(ledger, item, at_most, now)
}

fn end_with_sale(ledger: &mut PostgresLedger<'_>, item: ItemId) -> Done<LineEnded> {
    let sql = "SELECT waiting FROM item WHERE id = $1";
    if ledger.one(sql, &[&item.0], |row| rows::number(row, 0))?.unwrap_or(0) == 0 {
        return Ok(LineEnded::default());
    }
    let now = ledger.now;
    line::end_with_sale(ledger, item, LINE_BATCH_MAX, now)
}

fn turn(found: &Row) -> Done<LinePlace> {
    Ok(LinePlace { place: row(found)?, ahead: rows::number(found, 8)? })
}

impl Postgres {
    pub(crate) async fn join_line(&self, item: ItemId, joiner: Joiner) -> StoreResult<Joined> {
        let id_key = self.shared().id_key.clone();
        let join = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            line::join(ledger, &id_key, item, &joiner, now)
        };
        self.job(Again::Safe, join).await
    }

    pub(crate) async fn leave_line(&self, id: TicketId) -> StoreResult<Left> {
        let leave = move |ledger: &mut PostgresLedger<'_>| {
            let now = ledger.now;
            line::leave(ledger, &id, now)
        };
        self.job(Again::Safe, leave).await
    }

    pub(crate) async fn serve_line(&self, item: ItemId) -> StoreResult<LineServed> {
        self.job(Again::Safe, move |ledger| serve(ledger, item)).await
    }

    pub(crate) async fn end_line(&self, item: ItemId) -> StoreResult<LineEnded> {
        self.job(Again::Safe, move |ledger| end_with_sale(ledger, item)).await
    }

    /// Looked for among the buyer's orders, as what was not paid for is.
    pub(crate) async fn line_order_of(
        &self,
        item: ItemId,
        buyer: BuyerId,
    ) -> StoreResult<Option<Order>> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::order_columns!(),
            " FROM (SELECT * FROM orders o WHERE o.buyer = $2 OFFSET 0) o
              WHERE o.grant_id = (SELECT g.id FROM slot_grant g WHERE g.item_id = $1 AND g.slot = $3)
              AND NOT EXISTS (SELECT FROM waitlist w WHERE w.item_id = $1 AND w.n > o.n AND w.buyer = $2)
              ORDER BY o.n DESC LIMIT 1"
        );
        self.one(SQL, &[&item.0, &buyer.as_str(), &i64::from(SlotKey::LINE)], rows::order).await
    }

    pub(crate) async fn line_place(&self, id: TicketId) -> StoreResult<Option<LinePlace>> {
        const SQL: &str = concat!(select_turn!(), " WHERE w.id = $1");
        self.one(SQL, &[&id.text().as_str()], turn).await
    }

    pub(crate) async fn line_place_of(
        &self,
        item: ItemId,
        buyer: BuyerId,
    ) -> StoreResult<Option<LinePlace>> {
        const SQL: &str = concat!(
            select_turn!(),
            " WHERE w.item_id = $1 AND w.buyer = $2 AND w.state = 'waiting'"
        );
        self.one(SQL, &[&item.0, &buyer.as_str()], turn).await
    }
}
