//! Lets a visitor who uses the turn keep it.
use rusqlite::params;

use doorbuster_core::gate::room::kept_until;
use doorbuster_core::{BuyerId, Millis};

use super::{Done, VISITOR, put_until, visitor};
use crate::contract::RoomVisitor;
use crate::sqlite::Sqlite;
use crate::sqlite::ledger::SqliteLedger;
use crate::store::StoreResult;

const CALLED_AT: &str =
    "SELECT called_at FROM waiting_room_visitor WHERE sale_id = ?1 AND buyer = ?2";

/// Lets the visitor keep the whole admission.
fn keep(
    ledger: &mut SqliteLedger<'_>,
    sale: &str,
    buyer: &BuyerId,
    for_ms: i64,
) -> Done<Option<RoomVisitor>> {
    let now = ledger.now;
    let key = params![sale, buyer.as_str()];
    let Some(known) = ledger.sql.one(VISITOR, key, visitor)? else { return Ok(None) };
    let called = ledger.sql.one(CALLED_AT, key, |row| Ok(row.get::<_, Option<i64>>(0)?))?;
    let kept = called
        .flatten()
        .zip(known.until)
        .and_then(|(called_at, until)| kept_until(Millis(called_at), until, for_ms, now));
    if kept.is_some() {
        put_until(&mut ledger.sql, sale, buyer, kept, now)?;
    }
    Ok(Some(RoomVisitor { until: kept.or(known.until), ..known }))
}

impl Sqlite {
    pub(crate) async fn keep_turn(
        &self,
        sale: &str,
        buyer: BuyerId,
        for_ms: i64,
    ) -> StoreResult<Option<RoomVisitor>> {
        let sale = sale.to_owned();
        self.job(move |ledger| keep(ledger, &sale, &buyer, for_ms)).await
    }
}
