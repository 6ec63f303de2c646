//! Sends an event to an endpoint again, in SQLite.
use rusqlite::params;

use crate::contract::{Redelivery, event_about};
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::outbox::{event_at, find, pending_count};

type Done<T> = Result<T, Failure>;

fn redeliver(
    ledger: &mut SqliteLedger<'_>,
    id: &str,
    position: i64,
    most: usize,
) -> Done<Redelivery> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    let Some(endpoint) = find(sql, id)? else { return Ok(Redelivery::NoEndpoint) };
    let Some(event) = event_at(sql, position)? else { return Ok(Redelivery::NoEvent) };
    if position > endpoint.position {
        return Ok(Redelivery::Ahead);
    }
    if pending_count(sql, id)? >= most as u64 {
        return Ok(Redelivery::Full);
    }
    sql.run(
        "INSERT INTO delivery (endpoint_id, position, about, state, tries, next_at, at)
         VALUES (?1, ?2, ?3, 'pending', 0, ?4, ?4)
         ON CONFLICT (endpoint_id, position) DO UPDATE
         SET state = 'pending', tries = 0, next_at = excluded.next_at, why = NULL,
         at = excluded.at",
        params![id, position, event_about(&event), now.0],
    )?;
    ledger.record(&[])?;
    Ok(Redelivery::Done)
}

impl Sqlite {
    pub(crate) async fn redeliver(
        &self,
        id: &str,
        position: i64,
        most: usize,
    ) -> StoreResult<Redelivery> {
        let id = id.to_owned();
        self.job(move |ledger| redeliver(ledger, &id, position, most)).await
    }
}
