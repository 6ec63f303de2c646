//! The simulated provider's records of reversals, and its reports about them.
use doorbuster_core::Millis;
use doorbuster_core::money::{Money, PaymentId, ReversalKey, ReversalKind, ReversalReport};

use crate::store::rules::PROVIDER;

/// A dispute, or a refund that a person made at the provider.
#[derive(Clone, Debug)]
pub(crate) struct ProviderReversal {
    /// The id of the dispute. `None` for a refund by hand.
    pub(crate) dispute: Option<String>,
    pub(crate) minor: i64,
    pub(crate) stands: bool,
}

/// All reversals of one payment.
#[derive(Clone, Debug)]
pub(crate) struct PaymentReversals {
    pub(crate) payment: PaymentId,
    pub(crate) paid: Money,
    pub(crate) all: Vec<ProviderReversal>,
    /// The time of the newest report.
    pub(crate) changed_at: Millis,
    /// The newest report.
    pub(crate) last: Option<ReversalReport>,
    /// The reports that no node has handled yet. The simulated provider repeats these reports, even
    /// if the store did not know the payment.
    pub(crate) unanswered: Vec<ReversalReport>,
    /// Whether a failover happened after the first report. If so, the store may lack reversals.
    pub(crate) may_be_lost: bool,
}

impl PaymentReversals {
    pub(crate) fn new(payment: PaymentId, paid: Money) -> Self {
        Self {
            payment,
            paid,
            all: Vec::new(),
            changed_at: Millis(0),
            last: None,
            unanswered: Vec::new(),
            may_be_lost: false,
        }
    }

    /// Returns the amount of all refunds by hand that did not fail, in minor units.
    pub(crate) fn returned(&self) -> i64 {
        self.all.iter().filter(|r| r.dispute.is_none() && r.stands).map(|r| r.minor).sum()
    }

    /// Adds a dispute, or a refund that a person made at the provider. Returns the provider's
    /// report.
    pub(crate) fn add(
        &mut self,
        event: String,
        reversal: ProviderReversal,
        now: Millis,
    ) -> ReversalReport {
        let dispute = reversal.dispute.clone();
        let minor = reversal.minor;
        self.all.push(reversal);
        // The provider reports the total of all refunds that were made by hand.
        let minor = if dispute.is_none() { self.returned() } else { minor };
        // If an earlier refund has the same amount, that refund has failed. So the report of the
        // new refund must have a later time than the report of the failure.
        let is_same = |it: &ProviderReversal| it.minor == minor;
        let others = &self.all[..self.all.len() - 1];
        let pause = i64::from(dispute.is_none() && others.iter().any(is_same));
        self.changed_at = now.max(self.changed_at.plus(pause));
        self.report(event, dispute, minor, true)
    }

    /// Ends a dispute, or marks a refund by hand as failed. Returns the provider's report.
    pub(crate) fn end(&mut self, event: String, nth: usize, now: Millis) -> ReversalReport {
        let reversal = &mut self.all[nth];
        reversal.stands = false;
        let (dispute, minor) = (reversal.dispute.clone(), reversal.minor);
        self.changed_at = now.max(self.changed_at);
        self.report(event, dispute, minor, false)
    }

    fn report(
        &mut self,
        event: String,
        dispute: Option<String>,
        minor: i64,
        stands: bool,
    ) -> ReversalReport {
        let kind = kind(dispute.as_deref());
        let report = ReversalReport {
            event: Some(event),
            provider: PROVIDER.to_owned(),
            payment: self.payment.clone(),
            kind,
            money: Some(Money { minor, currency: self.paid.currency.clone() }),
            stands,
            reported_at: Some(self.changed_at),
            dispute,
        };
        self.last = Some(report.clone());
        self.unanswered.push(report.clone());
        report
    }

    /// Returns the store's key of a reversal.
    pub(crate) fn key(&self, dispute: Option<&str>) -> ReversalKey {
        let (kind, dispute) = (kind(dispute), dispute.unwrap_or_default().to_owned());
        ReversalKey { payment: self.payment.clone(), kind, dispute }
    }
}

fn kind(dispute: Option<&str>) -> ReversalKind {
    if dispute.is_some() { ReversalKind::Disputed } else { ReversalKind::Returned }
}
