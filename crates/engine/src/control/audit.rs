//! The continuous audit checks every few seconds whether the sums of the store's rows agree. A
//! violated invariant raises an alarm and pauses the sale. The command line has its own auditor,
//! which shares no code with this audit.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{Millis, Phase};
use doorbuster_store::{
    ItemCounts, LostOrders, RefundNotice, ReversedPayment, StepOutcome, StoreHistoryRow,
};
use tokio::time::Instant;

use crate::catalogue::SaleState;
use crate::error::EngineError;
use crate::node::Node;
use crate::outage_log;
use crate::sales::SaleControl;
use crate::scheduler::{NextRun, Work};

const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// After an audit, the job pauses for this many times the audit's duration. An audit reads every
/// order. With this pause, audits use at most 1 % of one core.
const PAUSE_FACTOR: u32 = 100;
/// The audit waits while at least this many tickets are settled within one [`RUSH_WINDOW`]. The
/// reason: during an audit, an embedded store cannot move its log into the database, which slows
/// down purchases.
const RUSH_TICKETS: u64 = 1_000;
const RUSH_WINDOW: Duration = Duration::from_secs(1);
/// The longest wait for the end of a rush.
const RUSH_MAX: Duration = Duration::from_secs(30);

/// The result of an audit.
#[derive(Clone, Debug)]
pub struct AuditView {
    /// When the audit ran.
    pub checked_at: Millis,
    /// The number of grants that were closed because a slot failed.
    pub repairs: u64,
    /// Violated invariants. The list is empty if every invariant holds.
    pub findings: Vec<FindingView>,
    /// Refunds of payments that pay for no order. These refunds are not findings, because the
    /// server makes them itself and no person must act.
    pub notices: Vec<RefundNotice>,
    /// Payments that were reversed without a request from the shop: by a dispute, or by hand at the
    /// provider.
    pub reversals: Vec<ReversedPayment>,
    /// Orders that nodes had confirmed to buyers before a failover of the database lost the orders.
    /// They stay listed until an operator has resumed the paused sales.
    pub lost: Vec<LostOrders>,
    /// Every item's counts.
    pub items: Vec<ItemAudit>,
    /// Each restore and each failover of the store, newest first.
    pub history: Vec<StoreHistoryRow>,
}

/// A violated invariant.
#[derive(Clone, Debug)]
pub struct FindingView {
    /// The invariant's name.
    pub rule: String,
    /// The names of the sale and of the item. `None` if the finding is not about one item.
    pub item: Option<(String, String)>,
    /// The numbers that violate the invariant.
    pub detail: String,
}

/// One item in an audit.
#[derive(Clone, Debug)]
pub struct ItemAudit {
    /// The item's sale.
    pub sale: String,
    /// The item's name.
    pub item: String,
    /// Where the item's units are.
    pub counts: ItemCounts,
}

/// Runs until the program stops.
pub(super) async fn run(sale_control: Arc<SaleControl>) {
    let (mut turns, mut next) = (sale_control.node.turns(Work::Audit), NextRun::Now);
    loop {
        turns.wait(next).await;
        wait_for_rush_end(|| sale_control.node.meter().tickets.get()).await;
        if !sale_control.node.control().leads() {
            next = NextRun::Idle;
            continue;
        }
        let started = Instant::now();
        match audit(&sale_control.node).await {
            Ok(view) => handle_findings(&sale_control, &view).await,
            Err(error) => outage_log::warn!(
                sale_control.node.outage_log(),
                error,
                event = "audit.run_failed",
                "failed to run the audit; will retry"
            ),
        }
        let pause = MIN_INTERVAL.max(started.elapsed() * PAUSE_FACTOR);
        next = NextRun::After(pause - RUSH_WINDOW);
    }
}

/// Waits until fewer than [`RUSH_TICKETS`] tickets are settled within one [`RUSH_WINDOW`], or until
/// about [`RUSH_MAX`] has passed. `settled` returns how many tickets this program has settled.
async fn wait_for_rush_end(settled: impl Fn() -> u64) {
    let begun = Instant::now();
    let mut seen = settled();
    loop {
        tokio::time::sleep(RUSH_WINDOW).await;
        let before = std::mem::replace(&mut seen, settled());
        if seen - before < RUSH_TICKETS || begun.elapsed() >= RUSH_MAX {
            return;
        }
    }
}

/// For each finding, raises the alarm and pauses the finding's sale. A finding that is not about
/// one item pauses all open and scheduled sales.
pub(crate) async fn handle_findings(sale_control: &SaleControl, view: &AuditView) {
    sale_control.node.meter().findings.add(view.findings.len() as u64);
    for finding in &view.findings {
        let (sale, item) =
            finding.item.as_ref().map(|(sale, item)| (sale.as_str(), item.as_str())).unzip();
        tracing::error!(
            rule = finding.rule,
            sale,
            item,
            detail = finding.detail,
            event = "audit.fault",
            "the audit found a fault"
        );
        let sales: Vec<String> = match &finding.item {
            Some((sale, _)) => vec![sale.clone()],
            None => {
                let sells = |sale: &&Arc<SaleState>| sale.has_open_slots();
                sale_control
                    .node
                    .catalogue()
                    .sales()
                    .filter(sells)
                    .map(|sale| sale.row.id.clone())
                    .collect()
            }
        };
        for sale in sales {
            pause(sale_control, &sale).await;
        }
    }
}

async fn pause(sale_control: &SaleControl, sale: &str) {
    let error = match sale_control.pause_faulty(sale).await {
        // A draft or a closed sale needs no pause, because it sells nothing.
        Ok(StepOutcome::WrongState(phase)) if !matches!(phase, Phase::Draft | Phase::Closed) => {
            format!("the sale's phase is {}", phase.as_str())
        }
        Ok(_) => return,
        Err(error) => error.to_string(),
    };
    tracing::error!(
        error,
        sale,
        event = "audit.pause_failed",
        "failed to pause the sale; buyers can still buy; run doorbuster sale pause"
    );
}

/// Runs one audit, and returns the violated invariants and the counts.
///
/// # Errors
/// If the store is unreachable.
pub async fn audit(node: &Node) -> Result<AuditView, EngineError> {
    let check = node.store().check().await?;
    let repairs = node.store().repairs().await?;
    let counts = node.store().counts(None).await?;
    let catalogue = node.catalogue();
    let name = |id| catalogue.item_by_id(id).map(|i| (i.sale.to_string(), i.row.name.clone()));
    let findings = check.findings.into_iter().map(|f| FindingView {
        rule: f.rule.to_owned(),
        item: f.item.and_then(name),
        detail: f.detail,
    });
    let items = counts.iter().filter_map(|c| {
        let (sale, item) = name(c.item)?;
        Some(ItemAudit { sale, item, counts: *c })
    });
    let history = node.store().store_history().await?;
    Ok(AuditView {
        lost: node.store().lost_orders().await?,
        checked_at: check.checked_at,
        repairs,
        findings: findings.collect(),
        notices: check.notices,
        reversals: node.store().reversals().await?,
        items: items.collect(),
        history,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns for how many seconds the audit waits. `settled(n)` is the number of tickets that are
    /// settled during second `n`, counted from 0.
    async fn waits(settled: impl Fn(u64) -> u64) -> u64 {
        let begun = Instant::now();
        wait_for_rush_end(|| (0..begun.elapsed().as_secs()).map(&settled).sum()).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_waits_for_the_end_of_a_rush_within_a_bound() {
        assert_eq!(waits(|_| 0).await, 1, "without purchases, the audit must wait one second");
        assert_eq!(
            waits(|_| RUSH_TICKETS - 1).await,
            1,
            "with few purchases, the audit must wait one second"
        );
        assert_eq!(
            waits(|second| if second < 7 { RUSH_TICKETS } else { 3 }).await,
            8,
            "the audit must wait until the rush ends"
        );
        assert_eq!(
            waits(|_| 50_000).await,
            RUSH_MAX.as_secs(),
            "even if the rush continues, the audit must not wait longer than RUSH_MAX"
        );
    }
}
