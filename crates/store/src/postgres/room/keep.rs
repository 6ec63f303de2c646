//! Lets a visitor who uses the turn keep it.
use doorbuster_core::BuyerId;
use doorbuster_core::gate::room::kept_until;

use super::{Done, ROOM, VISITORS, put_until, room, visitor};
use crate::contract::RoomVisitor;
use crate::postgres::Postgres;
use crate::postgres::ledger::PostgresLedger;
use crate::postgres::rows;
use crate::postgres::transaction::RetryUnknown;
use crate::store::StoreResult;

/// Lets the visitor keep the whole admission.
fn keep(
    ledger: &mut PostgresLedger<'_>,
    sale: &str,
    buyer: &BuyerId,
    for_ms: i64,
) -> Done<Option<RoomVisitor>> {
    // Under the room's lock no other node changes the visitor meanwhile.
    if ledger.one(ROOM, &[&sale], room)?.is_none() {
        return Ok(None);
    }
    let known = ledger.one(VISITORS, &[&sale, &vec![buyer.as_str()]], visitor)?;
    let Some(known) = known else { return Ok(None) };
    let sql = "SELECT called_at FROM waiting_room_visitor WHERE sale_id = $1 AND buyer = $2";
    let called = ledger.one(sql, &[&sale, &buyer.as_str()], |row| rows::time(row, 0))?;
    let kept = called
        .flatten()
        .zip(known.until)
        .and_then(|(called_at, until)| kept_until(called_at, until, for_ms, ledger.now));
    if kept.is_some() {
        put_until(ledger, sale, buyer, kept)?;
    }
    Ok(Some(RoomVisitor { until: kept.or(known.until), ..known }))
}

impl Postgres {
    pub(crate) async fn keep_turn(
        &self,
        sale: &str,
        buyer: BuyerId,
        for_ms: i64,
    ) -> StoreResult<Option<RoomVisitor>> {
        let sale = sale.to_owned();
        let keep = move |ledger: &mut PostgresLedger<'_>| keep(ledger, &sale, &buyer, for_ms);
        self.job(RetryUnknown::Allowed, keep).await
    }
}
