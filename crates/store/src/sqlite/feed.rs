//! Writes rows of feeds. Reads and writes recalls.
use rusqlite::params;

use doorbuster_core::{BuyerId, FeedRow, GrantId, Recall, RecallId, RecallTarget, RequestKey};

use crate::failure::Done;
use crate::sql::to_i64;
use crate::{queries, rows};

use super::statement_cache::Statements;

pub(super) fn append(sql: &mut Statements<'_>, row: &FeedRow) -> Done<()> {
    let ticket = row.ticket.map(|t| t.text());
    sql.run(
        "INSERT INTO feed (grant_id, seq, ticket, buyer, request_key, units, counter, quota_delta,
         cause)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            to_i64(row.grant.0),
            to_i64(row.seq.0),
            ticket.as_ref().map(|t| t.as_str()),
            row.buyer.as_ref().map(BuyerId::as_str),
            row.key.as_ref().map(RequestKey::as_str),
            to_i64(row.units),
            row.counter.as_str(),
            row.quota_delta,
            row.cause.as_str()
        ],
    )?;
    Ok(())
}

pub(super) fn recall(sql: &mut Statements<'_>, id: RecallId) -> Done<Option<Recall>> {
    sql.one(queries::RECALL.sqlite, params![to_i64(id.0)], rows::recall)
}

pub(super) fn pending_recalls(sql: &mut Statements<'_>, grant: GrantId) -> Done<Vec<Recall>> {
    sql.all(
        concat!(
            "SELECT ",
            rows::recall_columns!(),
            " FROM recall WHERE grant_id = ?1 AND done = 0"
        ),
        params![to_i64(grant.0)],
        rows::recall,
    )
}

pub(super) fn put_recall(sql: &mut Statements<'_>, recall: &Recall) -> Done<()> {
    let target = match recall.target {
        RecallTarget::Pool => None,
        RecallTarget::Grant(id) => Some(to_i64(id.0)),
    };
    sql.run(
        "INSERT INTO recall (id, grant_id, target_grant, asked, taken, done)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET taken = excluded.taken, done = excluded.done",
        params![
            to_i64(recall.id.0),
            to_i64(recall.grant.0),
            target,
            to_i64(recall.asked),
            to_i64(recall.taken),
            recall.done
        ],
    )?;
    Ok(())
}
