//! A node's reaction to a change of the database's history, for example after a failover. The
//! database may now lack confirmed orders. So the node pauses sales, and compares the orders that
//! it confirmed with the database.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;
use tokio::sync::watch;

use doorbuster_core::database_history::DatabaseHistory;
use doorbuster_core::sale::{Phase, PhaseStep, StepRequest};
use doorbuster_core::{Millis, NodeId, OrderState, TicketId};

use crate::contract::StoreResult;
use crate::contract::{HistoryReaction, LostOrders, PausedSale};
use crate::failure::{Done, Failure};
use crate::history::{parse_paused, paused_json};
use crate::limits::{COMPARED_AT_ONCE, LOSS_SHOWN_MS, LOST_ROWS_MAX, LOST_SAMPLE_MAX};
use crate::rows;
use crate::sql::{Row, to_i64};
use crate::store::phases;
use crate::transaction::Transaction;

use super::Postgres;
use super::acknowledged::is_lost;
use super::ledger::PostgresLedger;
use super::transaction::RetryUnknown;

const STATES: &str =
    "SELECT o.id, o.state FROM unnest($1::bigint[], $2::bigint[]) AS k(grant_id, n)
     JOIN orders o ON o.grant_id = k.grant_id AND o.n = k.n";
/// Selects the newest row of the history for which nodes must still pause the open sales. The
/// second column is true if the rows are in another database than before, for example after a
/// restored dump.
const PENDING: &str = "SELECT fence, cause = 'moved', paused FROM store_history
     WHERE pause = 'pending' ORDER BY fence DESC LIMIT 1 FOR UPDATE";

/// Selects the reports of lost orders that an operator must still see. If the failover paused no
/// sale, its reports are selected for [`LOSS_SHOWN_MS`]. If it paused sales, the reports are
/// selected until each of these sales has been resumed, or has been closed for [`LOSS_SHOWN_MS`].
const UNRESOLVED: &str = "SELECT l.node, l.fence, l.at, l.acknowledged, l.lost, l.sample
     FROM lost_orders l JOIN store_history h ON h.fence = l.fence
     WHERE CASE WHEN h.paused = '[]' THEN h.at > $1 ELSE EXISTS (
         SELECT FROM json_array_elements(h.paused::json) p JOIN sale s ON s.id = p.value ->> 'sale'
         WHERE (s.phase = 'paused' OR s.closed_at > $1) AND NOT EXISTS (
             SELECT FROM action a WHERE a.at >= h.at AND a.action = 'sale.resumed'
             AND a.subject = 'sale:' || s.id)) END
     ORDER BY l.fence DESC, l.node LIMIT $2";

impl Postgres {
    pub(crate) fn database(&self) -> Option<DatabaseHistory> {
        self.shared().connector.memory().known()
    }

    pub(crate) fn history_changes(&self) -> watch::Receiver<i64> {
        self.shared().connector.memory().changes()
    }

    pub(crate) async fn commit_check(&self) -> StoreResult<()> {
        let shared = Arc::clone(self.shared());
        shared.state.check_accepting()?;
        self.run_to_completion(async move {
            shared.commit_check().await.map_err(|failure| shared.state.store_error(failure))
        })
        .await
    }

    /// Checks, once for each new history, whether the database has the orders that this node
    /// acknowledged. Pauses sales if no node has paused them yet.
    pub(crate) async fn react_to_history(&self) -> StoreResult<HistoryReaction> {
        let lost = self.compare_acknowledged().await?;
        let pending = "SELECT 1 FROM store_history WHERE pause = 'pending'";
        let mut paused = Vec::new();
        if self.one(pending, &[], |_| Ok(())).await?.is_some() {
            while let Some(sale) = self.job(RetryUnknown::Allowed, pause_next).await? {
                paused.push(sale);
            }
        }
        Ok(HistoryReaction { paused, lost })
    }

    async fn compare_acknowledged(&self) -> StoreResult<Option<LostOrders>> {
        let shared = self.shared();
        let Some(fence) = self.database().map(|known| known.fence) else { return Ok(None) };
        if shared.compared.load(Ordering::Acquire) >= fence {
            return Ok(None);
        }
        let compared_at = Instant::now();
        let acknowledged = shared.acknowledged.recent();
        let mut lost: Vec<TicketId> = Vec::new();
        let ids: Vec<TicketId> = acknowledged.keys().copied().collect();
        for ids in ids.chunks(COMPARED_AT_ONCE) {
            let parts = ids.iter().filter_map(TicketId::parts);
            let (grants, numbers): (Vec<i64>, Vec<i64>) =
                parts.map(|parts| (to_i64(parts.grant.0), to_i64(parts.n.0))).unzip();
            let read = |row: Row<'_>| {
                let state = row.parse(1, "state", OrderState::parse)?;
                Ok((rows::ticket(row, 0)?, state))
            };
            let found = self.all(STATES, &[&grants, &numbers], read).await?;
            let found: HashMap<TicketId, OrderState> = found.into_iter().collect();
            let missing = |id: &&TicketId| is_lost(acknowledged[*id], found.get(*id).copied());
            lost.extend(ids.iter().filter(missing));
        }
        lost.sort_unstable_by_key(ToString::to_string);
        let report = LostOrders {
            node: shared.node,
            fence,
            at: self.now(),
            acknowledged: acknowledged.len() as u64,
            lost: lost.len() as u64,
            sample: lost.iter().take(LOST_SAMPLE_MAX).map(ToString::to_string).collect(),
        };
        if report.lost > 0 {
            let row = report.clone();
            self.job(RetryUnknown::Allowed, move |ledger| insert_lost(ledger, &row)).await?;
            shared.acknowledged.forget(&lost.into_iter().collect(), compared_at);
        }
        shared.compared.fetch_max(fence, Ordering::AcqRel);
        Ok((report.lost > 0).then_some(report))
    }

    pub(crate) async fn lost_orders(&self) -> StoreResult<Vec<LostOrders>> {
        let since = self.now().plus(-LOSS_SHOWN_MS).0;
        self.all(UNRESOLVED, &[&since, &LOST_ROWS_MAX], |row| {
            let bad = || Failure::Row("invalid sample of lost orders".to_owned());
            let sample = row.text(5, "sample of lost orders")?;
            Ok(LostOrders {
                node: NodeId(row.number_u32(0, "node")?),
                fence: row.get(1)?,
                at: Millis(row.get(2)?),
                acknowledged: row.number(3)?,
                lost: row.number(4)?,
                sample: serde_json::from_str(sample).map_err(|_| bad())?,
            })
        })
        .await
    }
}

/// Records lost orders, and makes the nodes pause every open sale.
fn insert_lost(ledger: &mut PostgresLedger<'_>, row: &LostOrders) -> Done<()> {
    let sql = "INSERT INTO lost_orders (fence, node, at, acknowledged, lost, sample)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (fence, node) DO NOTHING";
    let (node, sample) = (i64::from(row.node.0), Value::from(row.sample.clone()).to_string());
    let (compared, lost) = (to_i64(row.acknowledged), to_i64(row.lost));
    ledger.run(sql, &[&row.fence, &node, &row.at.0, &compared, &lost, &sample])?;
    let pause = "UPDATE store_history SET pause = 'pending' WHERE fence = $1";
    ledger.run(pause, &[&row.fence]).map(drop)
}

/// Pauses one sale because of a change of the database's history. Returns `None` if no sale is left
/// to pause. The row of the history is locked first. So only one node at a time pauses a sale, and
/// the list of paused sales is complete.
fn pause_next(ledger: &mut PostgresLedger<'_>) -> Done<Option<PausedSale>> {
    let pending = ledger.one(PENDING, &[], |row| {
        let bad = || Failure::Row("invalid list of paused sales".to_owned());
        let paused = parse_paused(row.text(2, "list of paused sales")?).ok_or_else(bad)?;
        Ok((row.get::<i64>(0)?, row.get::<bool>(1)?, paused))
    })?;
    let Some((fence, moved, mut paused)) = pending else { return Ok(None) };
    let due = "SELECT id, phase FROM sale WHERE phase = 'open' OR (phase = 'scheduled' AND $1)
               ORDER BY seq LIMIT 1";
    let due = ledger.one(due, &[&moved], |row| {
        let was = row.parse(1, "phase", Phase::parse)?;
        Ok(PausedSale { sale: row.get(0)?, was })
    })?;
    let Some(sale) = due else {
        let done = "UPDATE store_history SET pause = 'done' WHERE pause = 'pending'";
        ledger.run(done, &[])?;
        return Ok(None);
    };
    match sale.was {
        // `PhaseStep::Pause` is refused for a sale that has not opened, so another function pauses
        // it.
        Phase::Scheduled => {
            drop(phases::pause_scheduled(&mut Transaction::Postgres(ledger), &sale.sale)?)
        }
        _ => drop(phases::apply_step(
            &mut Transaction::Postgres(ledger),
            &sale.sale,
            StepRequest::Now(PhaseStep::Pause),
            None,
        )?),
    }
    paused.retain(|earlier| earlier.sale != sale.sale);
    paused.push(sale.clone());
    let list = "UPDATE store_history SET paused = $2 WHERE fence = $1";
    ledger.run(list, &[&fence, &paused_json(&paused)])?;
    Ok(Some(sale))
}
