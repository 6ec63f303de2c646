//! One poll of the committed changes. A poll takes a snapshot, and reads every row that the
//! previous poll's snapshot did not include.
//!
//! Each row has the id of the transaction that wrote it last. A row is new if the new snapshot
//! includes its transaction and the old snapshot did not. So each row is new in exactly one poll,
//! regardless of the order in which transactions commit. Orders are an exception: an order's row
//! has the id of the transaction that created the order, because digests tell other nodes which
//! orders changed.
//!
//! Counts come from the same snapshot, so every order that the counts include is published with the
//! counts or earlier. The snapshot may include a commit of this node that the poll does not know.
//! The poll then reads the orders of this commit like the orders of another node.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use statements::{
    BEGIN, CATALOGUE, CHANGED_COUNTS, DIGESTS, NEEDED_ORDERS, OLD_ORDERS, ORDER, RESOLUTIONS,
};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use doorbuster_core::digest::{
    Backlog, OrderDigest, RestartCause, SnapshotPosition, restart_cause,
};
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{NodeId, Order, TicketId, Token, Verdict, digest};

use crate::contract::ItemCounts;
use crate::failure::{Done, Failure};
use crate::limits::{PG_POLL_DIGESTS, PG_POLL_ROWS};
use crate::rows;
use crate::sql::to_i64;

use super::clock::Clock;
use super::connector::Connector;
use super::notice::{CHANNEL, CommitNotice};
use super::shared::Shared;
use super::snapshot::{SNAPSHOT, since};

mod resolutions;
mod statements;

pub(super) struct PollResult {
    pub(super) position: SnapshotPosition,
    pub(super) seen: Changes,
    /// The older orders that the caller must still read. `None` if the poll continued at the
    /// previous position, because then no order is missing.
    pub(super) old: Option<Backlog>,
}

#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) counts: Vec<ItemCounts>,
    pub(super) orders: Vec<Order>,
    pub(super) digests: Vec<OrderDigest>,
    pub(super) verdicts: Vec<(Token, TicketVerdict)>,
    pub(super) sales: bool,
    pub(super) may_lose_orders: bool,
}

impl Changes {
    /// Removes and returns the rows that may be published before the counts.
    fn take_rows(&mut self) -> Self {
        Self {
            orders: std::mem::take(&mut self.orders),
            digests: std::mem::take(&mut self.digests),
            verdicts: std::mem::take(&mut self.verdicts),
            ..Self::default()
        }
    }
}

pub(super) struct Poller {
    client: Client,
    connector: Connector,
    /// A time just before the connection was opened.
    opened: Instant,
    /// The time at which the database's history was accepted.
    accepted: Instant,
    node: NodeId,
    snapshot: Statement,
    counts: Statement,
    catalogue: Statement,
    digests: Statement,
    needed_orders: Statement,
    old_orders: Statement,
    resolutions: Statement,
    order: Statement,
    notify: Statement,
    /// True if an unreadable digest was already logged for this connection.
    logged_digest: AtomicBool,
}

impl Poller {
    pub(super) async fn new(
        client: Client,
        opened: Instant,
        accepted: Instant,
        shared: &Shared,
    ) -> Done<Self> {
        let counts = client.prepare(CHANGED_COUNTS).await?;
        let (snapshot, catalogue) =
            (client.prepare(SNAPSHOT).await?, client.prepare(CATALOGUE).await?);
        let (digests, resolutions) =
            (client.prepare(DIGESTS).await?, client.prepare(RESOLUTIONS).await?);
        let needed_orders = client.prepare(NEEDED_ORDERS).await?;
        let notify = client.prepare("SELECT pg_notify($1, $2)").await?;
        let (order, old_orders) = (client.prepare(ORDER).await?, client.prepare(OLD_ORDERS).await?);
        Ok(Self {
            client,
            connector: shared.connector.clone(),
            opened,
            accepted,
            node: shared.node,
            snapshot,
            counts,
            catalogue,
            digests,
            needed_orders,
            old_orders,
            resolutions,
            order,
            notify,
            logged_digest: AtomicBool::new(false),
        })
    }

    /// Returns whether the connection must not be used any more.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
            || self.connector.may_see_unconfirmed(self.opened)
            || self.connector.memory().is_outdated(self.accepted)
    }

    /// Returns the current position, which includes every transaction that is committed now.
    pub(super) async fn position(&self, clock: &Clock) -> Done<SnapshotPosition> {
        let sent = Instant::now();
        let row = self.client.query_one(&self.snapshot, &[]).await?;
        since((&row).into(), sent, Instant::now(), clock)
    }

    /// Sends the notification, if there is one. Returns false if the sending failed.
    pub(super) async fn notify(&self, notice: Option<CommitNotice>) -> bool {
        let Some(notice) = notice else { return true };
        if let Err(error) = self.client.execute(&self.notify, &[&CHANNEL, &notice.text()]).await {
            tracing::debug!(%error, "failed to notify other nodes; will retry");
            return false;
        }
        true
    }

    /// Polls once. The orders of the transactions in `own` are left out, because the caller knows
    /// these orders. `publish` receives the earlier parts of a long result. The function returns
    /// the last part, with the counts.
    ///
    /// Every row counts as new if the previous position is unknown, too old, or of another
    /// timeline, or if a digest is unreadable. The caller then reads the earlier orders in parts
    /// ([`Poller::read_backlog`]), so that a commit of this node does not wait for all these
    /// orders.
    pub(super) async fn poll(
        &self,
        since: &SnapshotPosition,
        own: &[String],
        shared: &Shared,
        publish: &mut (dyn FnMut(Changes) + Send),
    ) -> Done<PollResult> {
        let begin = if since.is_beginning() {
            self.position(&shared.clock).await?
        } else {
            match self.poll_from((since, since), own, shared, publish).await? {
                Ok((position, seen)) => return Ok(PollResult { position, seen, old: None }),
                Err((cause, position)) => {
                    log_restart(cause, since, &position);
                    position
                }
            }
        };
        let cause = restart_cause(since, &begin);
        let may_lose_orders = cause.is_some_and(RestartCause::may_lose_orders);
        let beginning = SnapshotPosition::beginning(begin.timeline.clone());
        match self.poll_from((&beginning, &begin), own, shared, publish).await? {
            Ok((position, seen)) => {
                // A failover may also lose this node's own changes of the catalogue, so the
                // catalogue counts as changed.
                let sales = seen.sales || may_lose_orders;
                let seen = Changes { may_lose_orders, sales, ..seen };
                let old = Backlog { snapshot: position.snapshot.clone(), after: -1 };
                Ok(PollResult { position, seen, old: Some(old) })
            }
            // The database failed over again, so the next poll starts from the beginning.
            Err(_) => Err(Failure::TimedOut),
        }
    }

    /// Reads the next part of the backlog. Returns the number of the part's last order, or `None`
    /// if there is no further part.
    pub(super) async fn read_backlog(
        &self,
        old: &Backlog,
        writer: i32,
        publish: &mut (dyn FnMut(Changes) + Send),
    ) -> Done<Option<i64>> {
        let limit = PG_POLL_ROWS as i64;
        let params: [&(dyn ToSql + Sync); 3] = [&old.snapshot, &old.after, &limit];
        let page = self.client.query(&self.old_orders, &params).await?;
        let mut seen = Changes::default();
        self.take_orders(&page, writer, &mut seen)?;
        publish(seen);
        let last = page.last().filter(|_| page.len() >= PG_POLL_ROWS);
        Ok(last.map(|last| last.try_get(14)).transpose()?)
    }

    /// Reads the orders that changed after the position `of_orders`, and all other rows that
    /// changed after `since_then`. If the poll cannot continue at these positions, the inner result
    /// is `Err` with the cause and the new position.
    async fn poll_from(
        &self,
        (since_then, of_orders): (&SnapshotPosition, &SnapshotPosition),
        own: &[String],
        shared: &Shared,
        publish: &mut (dyn FnMut(Changes) + Send),
    ) -> Done<Result<(SnapshotPosition, Changes), (RestartCause, SnapshotPosition)>> {
        let sent = Instant::now();
        let (snapshot, xmin) = (&since_then.snapshot, since_then.xmin());
        let (orders_snapshot, orders_xmin) = (&of_orders.snapshot, of_orders.xmin());
        let (limit, node, digests) =
            (PG_POLL_ROWS as i64, i64::from(self.node.0), PG_POLL_DIGESTS as i64);
        let writer = shared.writer;
        let changed_since: [&(dyn ToSql + Sync); 1] = [snapshot];
        let digests_since: [&(dyn ToSql + Sync); 5] =
            [orders_snapshot, &orders_xmin, &own, &"0", &digests];
        let of_resolutions: [&(dyn ToSql + Sync); 7] =
            [snapshot, &xmin, &writer, &node, &"0", &"", &limit];
        // COMMIT is sent only later, because the reads of further pages must use the same snapshot.
        let (begun, (position, answered), counts, sales, digests, verdicts) = tokio::join!(
            self.client.batch_execute(BEGIN),
            async { (self.client.query_one(&self.snapshot, &[]).await, Instant::now()) },
            self.client.query(&self.counts, &changed_since),
            self.client.query(&self.catalogue, &changed_since),
            self.client.query(&self.digests, &digests_since),
            self.client.query(&self.resolutions, &of_resolutions),
        );
        begun?;
        let position = since((&position?).into(), sent, answered, &shared.clock)?;
        let mut seen = Changes { sales: !sales?.is_empty(), ..Changes::default() };
        seen.counts = counts?.iter().map(|row| rows::counts(row.into())).collect::<Done<_>>()?;
        let mut cause = restart_cause(since_then, &position);
        // If this poll starts at the beginning, its backlog will contain every order, so an unknown
        // digest needs no restart.
        let is_restart = since_then.is_beginning();
        if cause.is_none()
            && !self.read_digests(digests?, (of_orders, own), shared, &mut seen, publish).await?
        {
            cause = (!is_restart).then_some(RestartCause::UnknownDigest);
        }
        if let Some(cause) = cause {
            self.client.batch_execute("ROLLBACK").await?;
            return Ok(Err((cause, position)));
        }
        let named = self.read_resolutions(verdicts?, since_then, writer, &mut seen).await?;
        self.read_named_orders(named, &mut seen).await?;
        self.client.batch_execute("COMMIT").await?;
        if self.connector.may_see_unconfirmed(self.opened) {
            let text = "the synchronous standby did not confirm a commit; connecting again";
            return Err(Failure::NoConnection(text.to_owned()));
        }
        Ok(Ok((position, seen)))
    }

    /// Reads digests, and the orders that this node needs in full. Returns false if a digest has an
    /// unknown format. The caller must then read all orders.
    async fn read_digests(
        &self,
        mut page: Vec<Row>,
        (since, own): (&SnapshotPosition, &[String]),
        shared: &Shared,
        seen: &mut Changes,
        publish: &mut (dyn FnMut(Changes) + Send),
    ) -> Done<bool> {
        let mut are_known = true;
        loop {
            are_known &= self.take_digests(&page, shared, seen).await?;
            let Some(last) = page.last().filter(|_| page.len() >= PG_POLL_DIGESTS) else {
                return Ok(are_known);
            };
            let changed: &str = last.try_get(1)?;
            publish(seen.take_rows());
            let (limit, xmin) = (PG_POLL_DIGESTS as i64, since.xmin());
            let params: [&(dyn ToSql + Sync); 5] = [&since.snapshot, &xmin, &own, &changed, &limit];
            page = self.client.query(&self.digests, &params).await?;
        }
    }

    async fn take_digests(&self, page: &[Row], shared: &Shared, seen: &mut Changes) -> Done<bool> {
        // The orders to read, by grant and number. The value says whether, according to a digest,
        // the order was created for this node. Several digests may contain the same order.
        let mut needed: BTreeMap<(i64, i64), bool> = BTreeMap::new();
        let mut are_known = true;
        for row in page {
            let Ok(orders) = digest::decode(row.try_get(0)?) else {
                are_known = false;
                if !self.logged_digest.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        event = "store.digest_unknown",
                        "a commit digest has an unknown format, so the node reads all orders"
                    );
                }
                continue;
            };
            for order in orders {
                if order.is_needed(self.node, |buyer| (shared.follows)(buyer)) {
                    let is_own =
                        needed.entry((to_i64(order.grant.0), to_i64(order.n.0))).or_default();
                    *is_own |= order.created_for == Some(self.node);
                } else {
                    seen.digests.push(order);
                }
            }
        }
        if needed.is_empty() {
            return Ok(are_known);
        }
        let (grants, numbers): (Vec<i64>, Vec<i64>) = needed.keys().copied().unzip();
        for row in self.client.query(&self.needed_orders, &[&grants, &numbers]).await? {
            let order = rows::order((&row).into())?;
            if needed.get(&(to_i64(order.grant.0), to_i64(order.n.0))) == Some(&true) {
                seen.verdicts.extend(resolved(order.id, Verdict::Reserved, Some(order.clone())));
            }
            seen.orders.push(order);
        }
        Ok(are_known)
    }

    /// Adds orders. If another node created an order for a ticket of this node, also adds the
    /// ticket's verdict.
    fn take_orders(&self, page: &[Row], writer: i32, seen: &mut Changes) -> Done<()> {
        for row in page {
            let order = rows::order(row.into())?;
            if row.try_get::<_, i64>(12)? == i64::from(self.node.0)
                && row.try_get::<_, i32>(13)? != writer
            {
                seen.verdicts.extend(resolved(order.id, Verdict::Reserved, Some(order.clone())));
            }
            seen.orders.push(order);
        }
        Ok(())
    }
}

fn log_restart(cause: RestartCause, before: &SnapshotPosition, now: &SnapshotPosition) {
    match cause {
        RestartCause::FailedOver => tracing::warn!(
            before = before.timeline,
            now = now.timeline,
            event = "database.failed_over",
            "the database failed over to another server, so the node reads all orders again"
        ),
        RestartCause::TooOld => tracing::info!(
            event = "store.orders_read_again",
            "the last refresh was several minutes ago, so the node reads all orders again"
        ),
        // The log already has a line about the digest.
        RestartCause::UnknownDigest => {}
    }
}

fn resolved(
    id: TicketId,
    verdict: Verdict,
    order: Option<Order>,
) -> Option<(Token, TicketVerdict)> {
    let token = id.parts()?.token;
    Some((token, TicketVerdict { id, verdict, order, fresh: true }))
}
