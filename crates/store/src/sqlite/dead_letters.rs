//! Dead letters in SQLite: deliveries, refunds and tickets that an operator must resolve.
use rusqlite::params;

use doorbuster_core::money::RefundId;
use doorbuster_core::{ItemId, Millis};

use crate::contract::{
    DeadLetter, DeadLetterContent, DeadLetterCounts, DeadLetterId, DeadLetterKind,
    DeadLetterOutcome, OutboxPage,
};
use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::money;
use super::outbox::{event_at, event_summary, pending_count};
use super::read::as_limit;
use super::rows::{self, number};
use super::statements::Statements;

type Done<T> = Result<T, Failure>;

fn deliveries(sql: &mut Statements<'_>, after: i64, limit: i64) -> Done<Vec<(i64, DeadLetter)>> {
    sql.all(
        "SELECT d.seq, d.endpoint_id, d.position, e.type, d.about, d.tries, d.error, d.at, e.at
         FROM delivery d LEFT JOIN event e ON e.seq = d.position
         WHERE d.state = 'dead' AND d.seq < ?1 ORDER BY d.seq DESC LIMIT ?2",
        params![after, limit],
        |row| {
            let seq = row.get(0)?;
            let dead = DeadLetter {
                id: DeadLetterId::Delivery(seq),
                reason: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
                about: row.get(4)?,
                at: Millis(row.get(7)?),
                tries: row.get(5)?,
                delivery: Some((row.get(1)?, row.get(2)?, event_summary(row, 3, 8)?)),
            };
            Ok((seq, dead))
        },
    )
}

fn refunds(sql: &mut Statements<'_>, after: i64, limit: i64) -> Done<Vec<(i64, DeadLetter)>> {
    sql.all(
        "SELECT seq, id, order_id, tries, error, at FROM refund
         WHERE state = 'failed' AND discarded IS NULL AND seq < ?1 ORDER BY seq DESC LIMIT ?2",
        params![after, limit],
        |row| {
            let dead = DeadLetter {
                id: DeadLetterId::Refund(RefundId(row.get(1)?)),
                reason: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
                about: row.get(2)?,
                at: Millis(row.get(5)?),
                tries: row.get(3)?,
                delivery: None,
            };
            Ok((row.get(0)?, dead))
        },
    )
}

fn tickets(sql: &mut Statements<'_>, after: i64, limit: i64) -> Done<Vec<(i64, DeadLetter)>> {
    sql.all(
        "SELECT seq, ticket, reason, at FROM dead_letter
         WHERE discarded IS NULL AND seq < ?1 ORDER BY seq DESC LIMIT ?2",
        params![after, limit],
        |row| {
            let ticket = rows::ticket(row, 1)?;
            let (reason, at) = (row.get(2)?, Millis(row.get(3)?));
            let about = ticket.to_string();
            Ok((
                row.get(0)?,
                DeadLetter {
                    id: DeadLetterId::Ticket(ticket),
                    reason,
                    about,
                    at,
                    tries: 1,
                    delivery: None,
                },
            ))
        },
    )
}

fn list(
    sql: &mut Statements<'_>,
    kind: DeadLetterKind,
    after: i64,
    limit: i64,
) -> Done<Vec<(i64, DeadLetter)>> {
    match kind {
        DeadLetterKind::Delivery => deliveries(sql, after, limit),
        DeadLetterKind::Refund => refunds(sql, after, limit),
        DeadLetterKind::Ticket => tickets(sql, after, limit),
    }
}

/// Finds one dead letter by its position in the list, and returns it with its content.
fn find(
    sql: &mut Statements<'_>,
    id: &DeadLetterId,
) -> Done<Option<(DeadLetter, DeadLetterContent)>> {
    let place = match id {
        DeadLetterId::Delivery(seq) => Some(*seq),
        DeadLetterId::Refund(id) => {
            sql.one("SELECT seq FROM refund WHERE id = ?1", params![id.0], |row| Ok(row.get(0)?))?
        }
        DeadLetterId::Ticket(ticket) => {
            let sought = "SELECT seq FROM dead_letter WHERE ticket = ?1";
            sql.one(sought, params![ticket.text().as_str()], |row| Ok(row.get(0)?))?
        }
    };
    let Some(place) = place else { return Ok(None) };
    let found = list(sql, id.kind(), place.saturating_add(1), 1)?.pop();
    let Some((_, dead)) = found.filter(|(_, dead)| dead.id == *id) else { return Ok(None) };
    let held = match &dead {
        DeadLetter { id: DeadLetterId::Refund(id), .. } => {
            money::refund(sql, id)?.map(|refund| DeadLetterContent::Refund(Box::new(refund)))
        }
        DeadLetter { delivery: Some((_, position, _)), .. } => {
            Some(DeadLetterContent::Event(event_at(sql, *position)?.map(Box::new)))
        }
        DeadLetter { .. } => {
            let sought = "SELECT item_id, buyer, units FROM dead_letter WHERE seq = ?1";
            sql.one(sought, params![place], |row| {
                Ok(DeadLetterContent::Request {
                    item: ItemId(row.get(0)?),
                    buyer: row.get(1)?,
                    units: row.get(2)?,
                })
            })?
        }
    };
    Ok(held.map(|held| (dead, held)))
}

fn retry(ledger: &mut SqliteLedger<'_>, id: &DeadLetterId, most: usize) -> Done<DeadLetterOutcome> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    match id {
        DeadLetterId::Delivery(seq) => {
            let sought =
                "SELECT endpoint_id, position FROM delivery WHERE seq = ?1 AND state = 'dead'";
            let found =
                sql.one(sought, params![seq], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
            let Some((endpoint, position)) = found else { return Ok(DeadLetterOutcome::NotFound) };
            if event_at(sql, position)?.is_none() {
                return Ok(DeadLetterOutcome::Gone);
            }
            if pending_count(sql, &endpoint)? >= most as u64 {
                return Ok(DeadLetterOutcome::Full);
            }
            sql.run(
                "UPDATE delivery SET state = 'pending', tries = 0, next_at = ?2, at = ?2 WHERE seq \
                 = ?1",
                params![seq, now.0],
            )?;
            ledger.record(&[])?;
            Ok(DeadLetterOutcome::Done)
        }
        DeadLetterId::Ticket(ticket) => {
            let sought = "SELECT 1 FROM dead_letter WHERE ticket = ?1 AND discarded IS NULL";
            let found = sql.one(sought, params![ticket.text().as_str()], |_| Ok(()))?;
            Ok(if found.is_some() { DeadLetterOutcome::Gone } else { DeadLetterOutcome::NotFound })
        }
        DeadLetterId::Refund(_) => Ok(DeadLetterOutcome::NotFound),
    }
}

fn discard(ledger: &mut SqliteLedger<'_>, id: &DeadLetterId, why: &str) -> Done<bool> {
    let (now, sql) = (ledger.now, &mut ledger.sql);
    let changed = match id {
        DeadLetterId::Delivery(seq) => sql.run(
            "UPDATE delivery SET state = 'discarded', why = ?2, at = ?3 WHERE seq = ?1 AND state = \
             'dead'",
            params![seq, why, now.0],
        )?,
        DeadLetterId::Ticket(ticket) => sql.run(
            "UPDATE dead_letter SET discarded = ?2 WHERE ticket = ?1 AND discarded IS NULL",
            params![ticket.text().as_str(), why],
        )?,
        DeadLetterId::Refund(_) => 0,
    };
    ledger.record_if(changed > 0)
}

fn counts(sql: &mut Statements<'_>) -> Done<DeadLetterCounts> {
    let found = sql.one(
        "SELECT (SELECT count(*) FROM delivery WHERE state = 'dead'),
                (SELECT count(*) FROM refund WHERE state = 'failed' AND discarded IS NULL),
                (SELECT count(*) FROM dead_letter WHERE discarded IS NULL)",
        [],
        |row| {
            Ok(DeadLetterCounts {
                deliveries: number(row, 0)?,
                refunds: number(row, 1)?,
                tickets: number(row, 2)?,
            })
        },
    )?;
    Ok(found.unwrap_or_default())
}

impl Sqlite {
    pub(crate) async fn list_dead_letters(
        &self,
        kind: DeadLetterKind,
        after: Option<i64>,
        limit: usize,
    ) -> StoreResult<OutboxPage<DeadLetter>> {
        let (after, limit) = (after.unwrap_or(i64::MAX), limit.min(PAGE_ROWS_MAX));
        self.read(move |sql| {
            let rows = list(sql, kind, after, as_limit(limit + 1))?;
            let found = OutboxPage::of(rows, limit, |(seq, _)| *seq);
            Ok(OutboxPage {
                rows: found.rows.into_iter().map(|(_, dead)| dead).collect(),
                next: found.next,
            })
        })
        .await
    }

    pub(crate) async fn dead_letter(
        &self,
        id: DeadLetterId,
    ) -> StoreResult<Option<(DeadLetter, DeadLetterContent)>> {
        self.read(move |sql| find(sql, &id)).await
    }

    pub(crate) async fn retry_dead_letter(
        &self,
        id: DeadLetterId,
        most: usize,
    ) -> StoreResult<DeadLetterOutcome> {
        self.job(move |ledger| retry(ledger, &id, most)).await
    }

    pub(crate) async fn discard_dead_letter(
        &self,
        id: DeadLetterId,
        why: String,
    ) -> StoreResult<bool> {
        self.job(move |ledger| discard(ledger, &id, &why)).await
    }

    pub(crate) async fn dead_letter_counts(&self) -> StoreResult<DeadLetterCounts> {
        self.read(counts).await
    }
}
