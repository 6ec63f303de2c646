//! Dead letters: deliveries, refunds and tickets that an operator must resolve.
use doorbuster_core::money::RefundId;
use doorbuster_core::{ItemId, Millis};

use crate::contract::{
    DeadLetter, DeadLetterContent, DeadLetterCounts, DeadLetterId, DeadLetterKind,
    DeadLetterOutcome, Page,
};
use crate::failure::Done;
use crate::limits::PAGE_ROWS_MAX;
use crate::rows;
use crate::rows::money::refund_columns;
use crate::sql::{Row, Statement, as_limit, dialects, locking, statement, values};
use crate::transaction::{RetryUnknown, Transaction};

use super::deliveries::{event_summary, pending_count};
use super::events::EVENT_AT;
use super::{Store, StoreResult};

const DELIVERIES: Statement = dialects!(
    "SELECT d.seq, d.endpoint_id, d.position, e.type, d.about, d.tries, d.error, d.at, e.at
     FROM delivery d LEFT JOIN event e ON ",
    "e.seq" | "e.position",
    " = d.position WHERE d.state = 'dead' AND d.seq < $1 ORDER BY d.seq DESC LIMIT $2"
);
const REFUNDS: Statement = statement(
    "SELECT seq, id, order_id, tries, error, at FROM refund
     WHERE state = 'failed' AND discarded IS NULL AND seq < $1 ORDER BY seq DESC LIMIT $2",
);
const TICKETS: Statement = statement(
    "SELECT seq, ticket, reason, at FROM dead_letter
     WHERE discarded IS NULL AND seq < $1 ORDER BY seq DESC LIMIT $2",
);
const REFUND_SEQ: Statement = statement("SELECT seq FROM refund WHERE id = $1");
const TICKET_SEQ: Statement = statement("SELECT seq FROM dead_letter WHERE ticket = $1");
const REFUND: Statement =
    statement(concat!("SELECT ", refund_columns!(), " FROM refund r WHERE r.id = $1"));
const REQUEST: Statement =
    statement("SELECT item_id, buyer, units FROM dead_letter WHERE seq = $1");
const DEAD_DELIVERY: Statement = locking!(
    "SELECT d.endpoint_id, d.position FROM delivery d JOIN endpoint p ON p.id = d.endpoint_id
     WHERE d.seq = $1 AND d.state = 'dead'",
    "FOR UPDATE OF p"
);
const RETRY_DELIVERY: Statement = statement(
    "UPDATE delivery SET state = 'pending', tries = 0, next_at = $2, at = $2
     WHERE seq = $1 AND state = 'dead'",
);
const DEAD_TICKET: Statement =
    statement("SELECT 1 FROM dead_letter WHERE ticket = $1 AND discarded IS NULL");
const DISCARD_DELIVERY: Statement = statement(
    "UPDATE delivery SET state = 'discarded', why = $2, at = $3 WHERE seq = $1 AND state = 'dead'",
);
const DISCARD_TICKET: Statement =
    statement("UPDATE dead_letter SET discarded = $2 WHERE ticket = $1 AND discarded IS NULL");
const COUNTS: Statement = statement(
    "SELECT (SELECT count(*) FROM delivery WHERE state = 'dead'),
            (SELECT count(*) FROM refund WHERE state = 'failed' AND discarded IS NULL),
            (SELECT count(*) FROM dead_letter WHERE discarded IS NULL)",
);

type ReadRow = fn(Row<'_>) -> Done<(DeadLetter, i64)>;

fn list_of(kind: DeadLetterKind) -> (Statement, ReadRow) {
    match kind {
        DeadLetterKind::Delivery => (DELIVERIES, delivery),
        DeadLetterKind::Refund => (REFUNDS, refund),
        DeadLetterKind::Ticket => (TICKETS, ticket),
    }
}

fn delivery(row: Row<'_>) -> Done<(DeadLetter, i64)> {
    let seq = row.get(0)?;
    let dead = DeadLetter {
        id: DeadLetterId::Delivery(seq),
        reason: row.get::<Option<String>>(6)?.unwrap_or_default(),
        about: row.get(4)?,
        at: Millis(row.get(7)?),
        tries: row.number_u32(5, "number of tries")?,
        delivery: Some((row.get(1)?, row.get(2)?, event_summary(row, 3, 8)?)),
    };
    Ok((dead, seq))
}

fn refund(row: Row<'_>) -> Done<(DeadLetter, i64)> {
    let dead = DeadLetter {
        id: DeadLetterId::Refund(RefundId(row.get(1)?)),
        reason: row.get::<Option<String>>(4)?.unwrap_or_default(),
        about: row.get(2)?,
        at: Millis(row.get(5)?),
        tries: row.number_u32(3, "number of tries")?,
        delivery: None,
    };
    Ok((dead, row.get(0)?))
}

fn ticket(row: Row<'_>) -> Done<(DeadLetter, i64)> {
    let ticket = rows::ticket(row, 1)?;
    let (reason, at, about) = (row.get(2)?, Millis(row.get(3)?), ticket.to_string());
    let id = DeadLetterId::Ticket(ticket);
    Ok((DeadLetter { id, reason, about, at, tries: 1, delivery: None }, row.get(0)?))
}

fn request(row: Row<'_>) -> Done<DeadLetterContent> {
    let units = row.number_u32(2, "number of units")?;
    Ok(DeadLetterContent::Request { item: ItemId(row.get(0)?), buyer: row.get(1)?, units })
}

fn counts(row: Row<'_>) -> Done<DeadLetterCounts> {
    let (deliveries, refunds, tickets) = (row.number(0)?, row.number(1)?, row.number(2)?);
    Ok(DeadLetterCounts { deliveries, refunds, tickets })
}

fn retry(tx: &mut Transaction<'_, '_>, id: &DeadLetterId, most: usize) -> Done<DeadLetterOutcome> {
    match id {
        DeadLetterId::Delivery(seq) => {
            let of = |row: Row<'_>| Ok((row.get::<String>(0)?, row.get::<i64>(1)?));
            let Some((endpoint, position)) = tx.one(DEAD_DELIVERY, &values![*seq], of)? else {
                return Ok(DeadLetterOutcome::NotFound);
            };
            if !tx.exists(EVENT_AT, &values![position])? {
                return Ok(DeadLetterOutcome::Gone);
            }
            if pending_count(tx, &endpoint)? >= most as u64 {
                return Ok(DeadLetterOutcome::Full);
            }
            let changed = tx.run(RETRY_DELIVERY, &values![*seq, tx.now()])?;
            Ok(match tx.record_if(changed > 0)? {
                true => DeadLetterOutcome::Done,
                false => DeadLetterOutcome::NotFound,
            })
        }
        DeadLetterId::Ticket(ticket) => Ok(match tx.exists(DEAD_TICKET, &values![ticket])? {
            true => DeadLetterOutcome::Gone,
            false => DeadLetterOutcome::NotFound,
        }),
        DeadLetterId::Refund(_) => Ok(DeadLetterOutcome::NotFound),
    }
}

fn discard(tx: &mut Transaction<'_, '_>, id: &DeadLetterId, why: &str) -> Done<bool> {
    let changed = match id {
        DeadLetterId::Delivery(seq) => tx.run(DISCARD_DELIVERY, &values![*seq, why, tx.now()])?,
        DeadLetterId::Ticket(ticket) => tx.run(DISCARD_TICKET, &values![ticket, why])?,
        DeadLetterId::Refund(_) => 0,
    };
    tx.record_if(changed > 0)
}

impl Store {
    /// Returns a page of the unresolved dead letters of one kind, newest first.
    pub async fn list_dead_letters(
        &self,
        kind: DeadLetterKind,
        after: Option<i64>,
        limit: usize,
    ) -> StoreResult<Page<DeadLetter>> {
        let (after, limit) = (after.unwrap_or(i64::MAX), limit.min(PAGE_ROWS_MAX));
        let (sql, read) = list_of(kind);
        let rows = self.all(sql, values![after, as_limit(limit + 1)], read).await?;
        Ok(Page::of_pairs(rows, limit))
    }

    /// Returns one dead letter with its content, or `None` if the dead letter does not exist or an
    /// operator has resolved it.
    pub async fn dead_letter(
        &self,
        id: DeadLetterId,
    ) -> StoreResult<Option<(DeadLetter, DeadLetterContent)>> {
        let seq = |row: Row<'_>| row.get::<i64>(0);
        let place = match &id {
            DeadLetterId::Delivery(seq) => Some(*seq),
            DeadLetterId::Refund(id) => self.one(REFUND_SEQ, values![id.0.clone()], seq).await?,
            DeadLetterId::Ticket(ticket) => self.one(TICKET_SEQ, values![ticket], seq).await?,
        };
        let Some(place) = place else { return Ok(None) };
        let (sql, read) = list_of(id.kind());
        let found = self.one(sql, values![place.saturating_add(1), 1_i64], read).await?;
        let Some((dead, _)) = found.filter(|(dead, _)| dead.id == id) else { return Ok(None) };
        // If an operator resolved the dead letter since the read above, its content may be missing.
        let content = match &dead {
            DeadLetter { id: DeadLetterId::Refund(id), .. } => {
                let refund = self.one(REFUND, values![id.0.clone()], rows::money::refund).await?;
                refund.map(|refund| DeadLetterContent::Refund(Box::new(refund)))
            }
            DeadLetter { delivery: Some((_, position, _)), .. } => {
                Some(DeadLetterContent::Event(self.event_at(*position).await?.map(Box::new)))
            }
            DeadLetter { .. } => self.one(REQUEST, values![place], request).await?,
        };
        Ok(content.map(|content| (dead, content)))
    }

    /// Makes the delivery or refund of a dead letter pending again, and sets its number of attempts
    /// to 0. If the endpoint of a delivery already has `most` pending deliveries, changes nothing
    /// and returns [`DeadLetterOutcome::Full`].
    pub async fn retry_dead_letter(
        &self,
        id: DeadLetterId,
        most: usize,
    ) -> StoreResult<DeadLetterOutcome> {
        if let DeadLetterId::Refund(refund) = id {
            let retried = self.retry_refund(refund).await?;
            return Ok(if retried.is_some() {
                DeadLetterOutcome::Done
            } else {
                DeadLetterOutcome::NotFound
            });
        }
        self.job(RetryUnknown::Never, move |tx| retry(tx, &id, most)).await
    }

    /// Discards a dead letter, and stores the reason. Returns false if the dead letter does not
    /// exist, or an operator has resolved it.
    pub async fn discard_dead_letter(&self, id: DeadLetterId, why: String) -> StoreResult<bool> {
        if let DeadLetterId::Refund(refund) = id {
            return self.discard_refund(refund, why).await;
        }
        self.job(RetryUnknown::Never, move |tx| discard(tx, &id, &why)).await
    }

    /// Returns the number of unresolved dead letters of each kind.
    pub async fn dead_letter_counts(&self) -> StoreResult<DeadLetterCounts> {
        Ok(self.one(COUNTS, [], counts).await?.unwrap_or_default())
    }
}
