//! Dead letters in PostgreSQL: deliveries, refunds and tickets that an operator must resolve.
use tokio_postgres::Row;

use doorbuster_core::money::RefundId;
use doorbuster_core::{ItemId, Millis};

use crate::contract::{
    DeadLetter, DeadLetterContent, DeadLetterCounts, DeadLetterId, DeadLetterKind,
    DeadLetterOutcome, OutboxPage,
};
use crate::limits::PAGE_ROWS_MAX;
use crate::store::StoreResult;

use super::Postgres;
use super::events::read;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::outbox::{EVENT_AT, event_summary, pending_count};
use super::read::as_limit;
use super::rows::money::refund_columns;
use super::rows::{self, number, small};
use super::transaction::RetryUnknown;

type Done<T> = Result<T, Failure>;

const DELIVERIES: &str =
    "SELECT d.seq, d.endpoint_id, d.position, e.type, d.about, d.tries, d.error, d.at, e.at
     FROM delivery d LEFT JOIN event e ON e.position = d.position
     WHERE d.state = 'dead' AND d.seq < $1 ORDER BY d.seq DESC LIMIT $2";
const REFUNDS: &str = "SELECT seq, id, order_id, tries, error, at FROM refund
     WHERE state = 'failed' AND discarded IS NULL AND seq < $1 ORDER BY seq DESC LIMIT $2";
const TICKETS: &str = "SELECT seq, ticket, reason, at FROM dead_letter
     WHERE discarded IS NULL AND seq < $1 ORDER BY seq DESC LIMIT $2";

fn delivery(row: &Row) -> Done<(i64, DeadLetter)> {
    let seq = row.try_get(0)?;
    let dead = DeadLetter {
        id: DeadLetterId::Delivery(seq),
        reason: row.try_get::<_, Option<String>>(6)?.unwrap_or_default(),
        about: row.try_get(4)?,
        at: Millis(row.try_get(7)?),
        tries: small(row, 5, "number of tries")?,
        delivery: Some((row.try_get(1)?, row.try_get(2)?, event_summary(row, 3, 8)?)),
    };
    Ok((seq, dead))
}

fn refund(row: &Row) -> Done<(i64, DeadLetter)> {
    let dead = DeadLetter {
        id: DeadLetterId::Refund(RefundId(row.try_get(1)?)),
        reason: row.try_get::<_, Option<String>>(4)?.unwrap_or_default(),
        about: row.try_get(2)?,
        at: Millis(row.try_get(5)?),
        tries: small(row, 3, "number of tries")?,
        delivery: None,
    };
    Ok((row.try_get(0)?, dead))
}

fn ticket(row: &Row) -> Done<(i64, DeadLetter)> {
    let ticket = rows::ticket(row, 1)?;
    let (reason, at, about) = (row.try_get(2)?, Millis(row.try_get(3)?), ticket.to_string());
    Ok((
        row.try_get(0)?,
        DeadLetter {
            id: DeadLetterId::Ticket(ticket),
            reason,
            about,
            at,
            tries: 1,
            delivery: None,
        },
    ))
}

fn retry(ledger: &PostgresLedger<'_>, id: &DeadLetterId, most: usize) -> Done<DeadLetterOutcome> {
    match id {
        DeadLetterId::Delivery(seq) => {
            let sought = "SELECT d.endpoint_id, d.position FROM delivery d JOIN endpoint p
                          ON p.id = d.endpoint_id
                 WHERE d.seq = $1 AND d.state = 'dead' FOR UPDATE OF p";
            let of = |row: &Row| Ok((row.try_get::<_, String>(0)?, row.try_get::<_, i64>(1)?));
            let Some((endpoint, position)) = ledger.one(sought, &[seq], of)? else {
                return Ok(DeadLetterOutcome::NotFound);
            };
            if ledger.one(EVENT_AT, &[&position], read)?.is_none() {
                return Ok(DeadLetterOutcome::Gone);
            }
            if pending_count(ledger, &endpoint)? >= most as u64 {
                return Ok(DeadLetterOutcome::Full);
            }
            let sql = "UPDATE delivery SET state = 'pending', tries = 0, next_at = $2, at = $2
                       WHERE seq = $1 AND state = 'dead'";
            let changed = ledger.run(sql, &[seq, &ledger.now.0])?;
            Ok(match ledger.record_if(changed > 0)? {
                true => DeadLetterOutcome::Done,
                false => DeadLetterOutcome::NotFound,
            })
        }
        DeadLetterId::Ticket(ticket) => {
            let sought = "SELECT FROM dead_letter WHERE ticket = $1 AND discarded IS NULL";
            let found = ledger.one(sought, &[&ticket.text().as_str()], |_| Ok(()))?;
            Ok(if found.is_some() { DeadLetterOutcome::Gone } else { DeadLetterOutcome::NotFound })
        }
        DeadLetterId::Refund(_) => Ok(DeadLetterOutcome::NotFound),
    }
}

fn discard(ledger: &PostgresLedger<'_>, id: &DeadLetterId, why: &str) -> Done<bool> {
    let changed = match id {
        DeadLetterId::Delivery(seq) => {
            let sql = "UPDATE delivery SET state = 'discarded', why = $2, at = $3 WHERE seq = $1
                       AND state = 'dead'";
            ledger.run(sql, &[seq, &why, &ledger.now.0])?
        }
        DeadLetterId::Ticket(ticket) => {
            let sql =
                "UPDATE dead_letter SET discarded = $2 WHERE ticket = $1 AND discarded IS NULL";
            ledger.run(sql, &[&ticket.text().as_str(), &why])?
        }
        DeadLetterId::Refund(_) => 0,
    };
    ledger.record_if(changed > 0)
}

/// Reads a dead letter and its position in the list.
type ReadRow = fn(&Row) -> Done<(i64, DeadLetter)>;

fn query_of(kind: DeadLetterKind) -> (&'static str, ReadRow) {
    match kind {
        DeadLetterKind::Delivery => (DELIVERIES, delivery),
        DeadLetterKind::Refund => (REFUNDS, refund),
        DeadLetterKind::Ticket => (TICKETS, ticket),
    }
}

impl Postgres {
    pub(crate) async fn list_dead_letters(
        &self,
        kind: DeadLetterKind,
        after: Option<i64>,
        limit: usize,
    ) -> StoreResult<OutboxPage<DeadLetter>> {
        let (after, limit) = (after.unwrap_or(i64::MAX), limit.min(PAGE_ROWS_MAX));
        let (sql, read) = query_of(kind);
        let rows = self.all(sql, &[&after, &as_limit(limit + 1)], read).await?;
        let found = OutboxPage::of(rows, limit, |(seq, _)| *seq);
        Ok(OutboxPage {
            rows: found.rows.into_iter().map(|(_, dead)| dead).collect(),
            next: found.next,
        })
    }

    pub(crate) async fn dead_letter(
        &self,
        id: DeadLetterId,
    ) -> StoreResult<Option<(DeadLetter, DeadLetterContent)>> {
        let seq = |row: &Row| Ok(row.try_get::<_, i64>(0)?);
        let place = match &id {
            DeadLetterId::Delivery(seq) => Some(*seq),
            DeadLetterId::Refund(id) => {
                self.one("SELECT seq FROM refund WHERE id = $1", &[&id.0], seq).await?
            }
            DeadLetterId::Ticket(ticket) => {
                let sought = "SELECT seq FROM dead_letter WHERE ticket = $1";
                self.one(sought, &[&ticket.text().as_str()], seq).await?
            }
        };
        let Some(place) = place else { return Ok(None) };
        let (sql, read) = query_of(id.kind());
        let found = self
            .one(sql, &[&place.saturating_add(1), &as_limit(1)], read)
            .await?
            .map(|(_, dead)| dead);
        let Some(dead) = found.filter(|dead| dead.id == id) else { return Ok(None) };
        let held = self.content(&dead, place).await?;
        Ok(held.map(|held| (dead, held)))
    }

    /// Returns the content of a dead letter, or nothing if the letter was resolved since it was
    /// found.
    async fn content(
        &self,
        dead: &DeadLetter,
        place: i64,
    ) -> StoreResult<Option<DeadLetterContent>> {
        const REFUND: &str =
            concat!("SELECT ", refund_columns!(), " FROM refund r WHERE r.id = $1");
        const REQUEST: &str = "SELECT item_id, buyer, units FROM dead_letter WHERE seq = $1";
        let request = |row: &Row| {
            let units = small(row, 2, "number of units")?;
            Ok(DeadLetterContent::Request {
                item: ItemId(row.try_get(0)?),
                buyer: row.try_get(1)?,
                units,
            })
        };
        match dead {
            DeadLetter { id: DeadLetterId::Refund(id), .. } => {
                let refund = self.one(REFUND, &[&id.0], rows::money::refund).await?;
                Ok(refund.map(|refund| DeadLetterContent::Refund(Box::new(refund))))
            }
            DeadLetter { delivery: Some((_, position, _)), .. } => {
                Ok(Some(DeadLetterContent::Event(self.event_at(*position).await?.map(Box::new))))
            }
            DeadLetter { .. } => self.one(REQUEST, &[&place], request).await,
        }
    }

    pub(crate) async fn retry_dead_letter(
        &self,
        id: DeadLetterId,
        most: usize,
    ) -> StoreResult<DeadLetterOutcome> {
        self.job(RetryUnknown::Never, move |ledger| retry(ledger, &id, most)).await
    }

    pub(crate) async fn discard_dead_letter(
        &self,
        id: DeadLetterId,
        why: String,
    ) -> StoreResult<bool> {
        self.job(RetryUnknown::Never, move |ledger| discard(ledger, &id, &why)).await
    }

    pub(crate) async fn dead_letter_counts(&self) -> StoreResult<DeadLetterCounts> {
        let sql = "SELECT (SELECT count(*) FROM delivery WHERE state = 'dead'),
                          (SELECT count(*) FROM refund WHERE state = 'failed'
                          AND discarded IS NULL),
                          (SELECT count(*) FROM dead_letter WHERE discarded IS NULL)";
        let counts = |row: &Row| {
            Ok(DeadLetterCounts {
                deliveries: number(row, 0)?,
                refunds: number(row, 1)?,
                tickets: number(row, 2)?,
            })
        };
        Ok(self.one(sql, &[], counts).await?.unwrap_or_default())
    }
}
