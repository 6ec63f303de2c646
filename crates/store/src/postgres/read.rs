//! Read-only queries. Each query has its own snapshot, which includes every commit that was
//! published before the query.
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{
    BuyerId, CloseCause, FeedRow, Grant, GrantId, ItemId, Millis, Order, Recall, RequestKey, Seq,
    SlotKey, TicketId, Verdict,
};

use crate::contract::{GrantTransfers, ItemCounts};
use crate::store::StoreResult;

use super::Postgres;
use super::rows::{self, int};

/// Selects the units of an item, in the columns that `rows::counts` reads.
pub(super) const COUNTS: &str =
    "SELECT i.id, i.total, i.pool, i.ended, i.paid, coalesce(g.in_slots, 0)::bigint,
     coalesce(g.settled, 0)::bigint, i.waiting
     FROM item i LEFT JOIN LATERAL (
         SELECT sum(s.granted - s.settled) FILTER (WHERE s.open
         AND s.counted) AS in_slots, sum(s.settled) AS settled
         FROM slot_grant s WHERE s.item_id = i.id) g ON TRUE";

/// Returns a limit as a SQL parameter.
pub(super) fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

impl Postgres {
    pub(crate) async fn counts(&self, items: Option<Vec<ItemId>>) -> StoreResult<Vec<ItemCounts>> {
        let items: Option<Vec<i64>> = items.map(|items| items.iter().map(|item| item.0).collect());
        let sql = format!("{COUNTS} WHERE $1::bigint[] IS NULL OR i.id = ANY($1) ORDER BY i.id");
        self.all(&sql, &[&items], rows::counts).await
    }

    pub(crate) async fn grant(&self, id: GrantId) -> StoreResult<Option<Grant>> {
        const SQL: &str =
            concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant WHERE id = $1");
        self.one(SQL, &[&int(id.0)], rows::grant).await
    }

    pub(crate) async fn grants(&self, item: ItemId) -> StoreResult<Vec<Grant>> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::grant_columns!(),
            " FROM slot_grant WHERE item_id = $1 AND slot <> $2 ORDER BY slot, epoch DESC"
        );
        self.all(SQL, &[&item.0, &i64::from(SlotKey::WAITLIST)], rows::grant).await
    }

    pub(crate) async fn open_grants(&self) -> StoreResult<Vec<Grant>> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::grant_columns!(),
            " FROM slot_grant WHERE open ORDER BY item_id, slot"
        );
        self.all(SQL, &[], rows::grant).await
    }

    pub(crate) async fn feed_after(
        &self,
        id: GrantId,
        seq: Seq,
        limit: usize,
    ) -> StoreResult<Vec<FeedRow>> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::feed_columns!(),
            " FROM feed WHERE grant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
        );
        self.all(SQL, &[&int(id.0), &int(seq.0), &as_limit(limit)], rows::feed).await
    }

    pub(crate) async fn grant_transfers(&self, item: ItemId) -> StoreResult<Vec<GrantTransfers>> {
        // Refills are counted separately for each grant, with an index of their own, because nearly
        // all rows of a feed are of another kind. Otherwise the planner might read all rows.
        let sql = "SELECT g.id, (SELECT count(*) FROM feed f WHERE f.grant_id = g.id
                   AND f.cause = 'refill'), coalesce(r.times, 0)
             FROM slot_grant g
             LEFT JOIN (SELECT grant_id, count(*) AS times FROM recall WHERE done
             GROUP BY grant_id) r
                       ON r.grant_id = g.id
             WHERE g.item_id = $1";
        let moves = |row: &tokio_postgres::Row| {
            let grant = GrantId(row.try_get::<_, i64>(0)?.cast_unsigned());
            Ok(GrantTransfers {
                grant,
                refills: rows::number(row, 1)?,
                recalls: rows::number(row, 2)?,
            })
        };
        self.all(sql, &[&item.0], moves).await
    }

    pub(crate) async fn pending_recalls(&self) -> StoreResult<Vec<Recall>> {
        const SQL: &str =
            concat!("SELECT ", rows::recall_columns!(), " FROM recall WHERE NOT done ORDER BY id");
        self.all(SQL, &[], rows::recall).await
    }

    pub(crate) async fn closings(&self) -> StoreResult<Vec<(CloseCause, u64)>> {
        let sql = "SELECT closed_cause, count(*) FROM slot_grant WHERE NOT open AND slot <> $1
                   GROUP BY closed_cause ORDER BY closed_cause";
        self.all(sql, &[&i64::from(SlotKey::WAITLIST)], |row| {
            Ok((rows::closing(row, 0)?, rows::number(row, 1)?))
        })
        .await
    }

    pub(crate) async fn order(&self, id: TicketId) -> StoreResult<Option<Order>> {
        // The id contains the grant and the number, which identify an order. The rest of the id
        // must match as well.
        let Some(parts) = id.parts() else { return Ok(None) };
        const SQL: &str = concat!(
            "SELECT ",
            rows::order_columns!(),
            " FROM orders o WHERE o.grant_id = $1 AND o.n = $2"
        );
        let found = self.one(SQL, &[&int(parts.grant.0), &int(parts.n.0)], rows::order).await?;
        Ok(found.filter(|order| order.id == id))
    }

    pub(crate) async fn order_of(
        &self,
        buyer: BuyerId,
        key: RequestKey,
    ) -> StoreResult<Option<Order>> {
        const SQL: &str = concat!(
            "SELECT ",
            rows::order_columns!(),
            " FROM orders o WHERE o.buyer = $1 AND o.request_key = $2"
        );
        self.one(SQL, &[&buyer.as_str(), &key.as_str()], rows::order).await
    }

    /// A verdict never changes, so this reads the two tables one after the other.
    pub(crate) async fn verdict(&self, id: TicketId) -> StoreResult<Option<TicketVerdict>> {
        if let Some(order) = self.order(id).await? {
            return Ok(Some(TicketVerdict {
                id,
                verdict: Verdict::Reserved,
                order: Some(order),
                fresh: false,
            }));
        }
        const SQL: &str = concat!(
            "SELECT ",
            rows::resolution_columns!(),
            " FROM resolution r WHERE r.ticket = $1"
        );
        let Some(found) = self.one(SQL, &[&id.text().as_str()], rows::resolution).await? else {
            return Ok(None);
        };
        let order = match found.verdict {
            Verdict::Order(id) => self.order(id).await?,
            _ => None,
        };
        Ok(Some(TicketVerdict { id, verdict: found.verdict, order, fresh: false }))
    }

    pub(crate) async fn next_due(&self) -> StoreResult<Option<Millis>> {
        let sql = "SELECT min(pay_by + ask_ms) FROM orders WHERE state = 'reserved'";
        Ok(self.one(sql, &[], |row| rows::time(row, 0)).await?.flatten())
    }

    pub(crate) async fn quota(&self, item: ItemId, buyer: BuyerId) -> StoreResult<u32> {
        let sql = "SELECT used FROM quota WHERE buyer = $1 AND item_id = $2";
        let used =
            self.one(sql, &[&buyer.as_str(), &item.0], |row| rows::small(row, 0, "quota")).await?;
        Ok(used.unwrap_or(0))
    }
}
