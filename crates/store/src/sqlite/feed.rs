//! Writes rows of feeds. Reads and writes recalls.
use rusqlite::params;

use doorbuster_core::{BuyerId, FeedRow, GrantId, Recall, RecallId, RecallTarget, RequestKey};

use crate::failure::Done;
use crate::sql::int;
use crate::{reads, rows};

use super::statements::Statements;

pub(super) fn append(sql: &mut Statements<'_>, row: &FeedRow) -> Done<()> {
    let ticket = row.ticket.map(|t| t.text());
    sql.run(
        "INSERT INTO feed (grant_id, seq, ticket, buyer, request_key, units, counter, quota_delta,
         cause)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            int(row.grant.0),
            int(row.seq.0),
            ticket.as_ref().map(|t| t.as_str()),
            row.buyer.as_ref().map(BuyerId::as_str),
            row.key.as_ref().map(RequestKey::as_str),
            int(row.units),
            row.counter.as_str(),
            row.quota_delta,
            row.cause.as_str()
        ],
    )?;
    Ok(())
}

pub(super) fn recall(sql: &mut Statements<'_>, id: RecallId) -> Done<Option<Recall>> {
    sql.one(reads::RECALL.sqlite, params![int(id.0)], rows::recall)
}

pub(super) fn pending_recalls(sql: &mut Statements<'_>, grant: GrantId) -> Done<Vec<Recall>> {
    sql.all(
        concat!(
            "SELECT ",
            rows::recall_columns!(),
            " FROM recall WHERE grant_id = ?1 AND done = 0"
        ),
        params![int(grant.0)],
        rows::recall,
    )
}

pub(super) fn put_recall(sql: &mut Statements<'_>, recall: &Recall) -> Done<()> {
    let target = match recall.target {
        RecallTarget::Pool => None,
        RecallTarget::Grant(id) => Some(int(id.0)),
    };
    sql.run(
        "INSERT INTO recall (id, grant_id, target_grant, asked, taken, done)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET taken = excluded.taken, done = excluded.done",
        params![
            int(recall.id.0),
            int(recall.grant.0),
            target,
            int(recall.asked),
            int(recall.taken),
            recall.done
        ],
    )?;
    Ok(())
}
