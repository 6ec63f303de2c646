//! The continuous audit: the store's rows are added up every few seconds. A finding pauses its sale
//! (every open one, if it is nobody's) and raises an alarm: better no sale than a wrong one. (The
//! auditor of the command line shares no code with this.)
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Millis, Phase};
use doorbuster_store::{ItemCounts, RefundNotice, ReversedPayment};
use tokio::time::Instant;

use crate::catalogue::SaleState;
use crate::engine::{Engine, EngineError};

/// Shortest pause between two audits.
const EVERY: Duration = Duration::from_secs(5);
/// An audit reads every order, so it pauses this many times as long as it took: it never costs more
/// than a hundredth of one core.
const PAUSE_FACTOR: u32 = 100;
/// Tickets that this node settles in a [`LOOK`] from which there is a rush, and an audit lets it
/// pass: while the audit reads, an embedded store cannot carry its log into the database, and
/// buyers wait for a disk that has more to do.
const RUSH: u64 = 1_000;
/// How long it looks whether there is one.
const LOOK: Duration = Duration::from_secs(1);
/// An audit that waited so long for the end of a rush is made in it.
const RUSH_MAX: Duration = Duration::from_secs(30);

/// What the audit saw.
#[derive(Clone, Debug)]
pub struct AuditView {
    /// When.
    pub checked_at: Millis,
    /// Grants closed because a slot failed.
    pub repairs: u64,
    /// What does not add up. Empty: all is well.
    pub findings: Vec<FindingView>,
    /// What others did wrong, and what was dealt with: money that goes back. All is well all the
    /// same.
    pub notices: Vec<RefundNotice>,
    /// Money that went back without having been asked to.
    pub reversals: Vec<ReversedPayment>,
    /// Every item's counts.
    pub items: Vec<ItemAudit>,
}

/// Something that does not add up.
#[derive(Clone, Debug)]
pub struct FindingView {
    /// The invariant.
    pub rule: String,
    /// Sale and item, if it is about one.
    pub item: Option<(String, String)>,
    /// The numbers.
    pub detail: String,
}

/// One item in an audit.
#[derive(Clone, Debug)]
pub struct ItemAudit {
    /// Its sale.
    pub sale: String,
    /// Its name.
    pub item: String,
    /// Where its units are.
    pub counts: ItemCounts,
}

/// Audits until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut pause = EVERY;
    loop {
        tokio::time::sleep(pause - LOOK).await;
        rush_passed(|| engine.meter().read().tickets).await;
        if !engine.control().leads() {
            continue;
        }
        let started = Instant::now();
        match engine.audit().await {
            Ok(view) => engine.act_on(&view).await,
            Err(error) => tracing::warn!(%error, "the audit could not be made"),
        }
        pause = EVERY.max(started.elapsed() * PAUSE_FACTOR);
    }
}

/// Returns after the first [`LOOK`] in which fewer than [`RUSH`] tickets were settled, of which
/// `settled` tells how many there were ever; after [`RUSH_MAX`] anyway.
async fn rush_passed(settled: impl Fn() -> u64) {
    let begun = Instant::now();
    let mut seen = settled();
    loop {
        tokio::time::sleep(LOOK).await;
        let before = std::mem::replace(&mut seen, settled());
        if seen - before < RUSH || begun.elapsed() >= RUSH_MAX {
            return;
        }
    }
}

impl Engine {
    /// Raises the alarm, and pauses the sales that findings are about: every open one for a finding
    /// of which nobody can say whose units they are.
    pub(crate) async fn act_on(&self, view: &AuditView) {
        self.meter().find(view.findings.len());
        for finding in &view.findings {
            let (sale, item) =
                finding.item.as_ref().map(|(sale, item)| (sale.as_str(), item.as_str())).unzip();
            tracing::error!(
                rule = finding.rule,
                sale,
                item,
                detail = finding.detail,
                "the audit found a fault"
            );
            let sales: Vec<String> = match &finding.item {
                Some((sale, _)) => vec![sale.clone()],
                None => {
                    let open = |sale: &&Arc<SaleState>| sale.row.phase == Phase::Open;
                    self.catalogue().sales().filter(open).map(|sale| sale.row.id.clone()).collect()
                }
            };
            for sale in sales {
                if let Err(error) = self.step_sale(&sale, PhaseStep::Pause).await {
                    tracing::error!(%error, sale, "the sale could not be paused");
                }
            }
        }
    }

    /// Adds up the store's rows.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn audit(&self) -> Result<AuditView, EngineError> {
        let check = self.store().check().await?;
        let repairs = self.store().repairs().await?;
        let counts = self.store().counts(None).await?;
        let catalogue = self.catalogue();
        let name = |id| catalogue.item_of(id).map(|i| (i.sale.to_string(), i.row.name.clone()));
        let findings = check.findings.into_iter().map(|f| FindingView {
            rule: f.rule.to_owned(),
            item: f.item.and_then(name),
            detail: f.detail,
        });
        let items = counts.iter().filter_map(|c| {
            let (sale, item) = name(c.item)?;
            Some(ItemAudit { sale, item, counts: *c })
        });
        Ok(AuditView {
            checked_at: check.checked_at,
            repairs,
            findings: findings.collect(),
            notices: check.notices,
            reversals: self.store().reversals().await?,
            items: items.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that an audit waits where so many tickets are settled in each second.
    async fn waits(settled: impl Fn(u64) -> u64) -> u64 {
        let begun = Instant::now();
        rush_passed(|| (0..begun.elapsed().as_secs()).map(&settled).sum()).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_waits_for_the_end_of_a_rush_but_not_for_ever() {
        assert_eq!(waits(|_| 0).await, 1, "nobody buys");
        assert_eq!(waits(|_| RUSH - 1).await, 1, "a few do");
        assert_eq!(waits(|second| if second < 7 { RUSH } else { 3 }).await, 8, "until it is quiet");
        assert_eq!(waits(|_| 50_000).await, RUSH_MAX.as_secs(), "a crowd for an hour");
    }
}
