//! Reads the verdicts of tickets for which no new order was created.
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use doorbuster_core::digest::SnapshotPosition;
use doorbuster_core::{TicketId, Verdict};

use super::{Changes, Poller, resolved};
use crate::failure::Done;
use crate::limits::PG_POLL_ROWS;
use crate::rows;
use crate::sql::to_i64;

impl Poller {
    /// Reads verdicts: first from the rows in `page`, and then from further pages. If a ticket's
    /// verdict names an order, returns the ticket with the order's id. The caller must still read
    /// these orders.
    pub(super) async fn read_resolutions(
        &self,
        mut page: Vec<Row>,
        since: &SnapshotPosition,
        writer: i32,
        seen: &mut Changes,
    ) -> Done<Vec<(TicketId, TicketId)>> {
        let mut named = Vec::new();
        loop {
            for row in &page {
                let found = rows::resolution(row.into())?;
                match found.verdict {
                    Verdict::Order(order) => named.push((found.ticket, order)),
                    verdict => seen.verdicts.extend(resolved(found.ticket, verdict, None)),
                }
            }
            let Some(last) = page.last().filter(|_| page.len() >= PG_POLL_ROWS) else {
                return Ok(named);
            };
            let (ticket, changed): (&str, &str) = (last.try_get(0)?, last.try_get(5)?);
            let (limit, node, xmin) = (PG_POLL_ROWS as i64, i64::from(self.node.0), since.xmin());
            let params: [&(dyn ToSql + Sync); 7] =
                [&since.snapshot, &xmin, &writer, &node, &changed, &ticket, &limit];
            page = self.client.query(&self.resolutions, &params).await?;
        }
    }

    pub(super) async fn read_named_orders(
        &self,
        named: Vec<(TicketId, TicketId)>,
        seen: &mut Changes,
    ) -> Done<()> {
        for (ticket, id) in named {
            let Some(parts) = id.parts() else { continue };
            let row = self
                .client
                .query_opt(&self.order, &[&to_i64(parts.grant.0), &to_i64(parts.n.0)])
                .await?;
            let order = row.as_ref().map(|row| rows::order(row.into())).transpose()?;
            let order = order.filter(|order| order.id == id);
            seen.verdicts.extend(resolved(ticket, Verdict::Order(id), order));
        }
        Ok(())
    }
}
