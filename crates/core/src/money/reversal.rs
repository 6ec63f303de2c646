//! Reversals: a captured payment went back to the buyer, although this server requested no refund.
//! A person refunded the payment at the provider, or the buyer disputes the payment. A reversal
//! changes no payment and no order. The server records it, and an operator decides.
use super::{Money, Payment, PaymentId, PaymentState, RefundId, ReversalKind};
use crate::event::{Actor, Attribution, EventType, Subject};
use crate::event_log;
use crate::ledger::Ledger;
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// Identifies a reversal. A payment has at most one reversal of the kind `returned`, but may have
/// several disputes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReversalKey {
    /// The payment.
    pub payment: PaymentId,
    /// How the money was reversed.
    pub kind: ReversalKind,
    /// The provider's id of the dispute, unique within the payment. Empty for a refund by hand. If
    /// disputes of a payment have no id, they count as one dispute with an empty id.
    pub dispute: String,
}

/// A reversal, as the store records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// Which reversal this is.
    pub key: ReversalKey,
    /// The reversed amount. For refunds by hand: the largest reported amount. A report may give the
    /// amount of one refund, or the total of all refunds by hand.
    pub money: Money,
    /// False if the reversal failed or was withdrawn, so that the shop has the money again.
    pub stands: bool,
    /// When the provider made the newest report that this record includes. This report may only
    /// have confirmed the stored state. If the record combines reports about several refunds by
    /// hand, this is one millisecond after the newest of these reports.
    pub reported_at: Millis,
    /// For a dispute: when it was first recorded (store time). For a refund by hand: `reported_at`.
    pub at: Millis,
}

/// A provider's report about a reversal: a webhook, or the answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversalReport {
    /// The id of the provider's webhook message. The store handles a repeated message only once.
    /// `None` if a query to the provider found the reversal.
    pub event: Option<String>,
    /// The provider.
    pub provider: String,
    /// The payment's id.
    pub payment: PaymentId,
    /// How the money was reversed.
    pub kind: ReversalKind,
    /// The reversed amount: the amount of one dispute, the amount of one refund by hand, or the
    /// total of all refunds by hand. `None` means the whole payment.
    pub money: Option<Money>,
    /// False if the reversal failed or was withdrawn, so that the shop has the money again.
    pub stands: bool,
    /// When the report was made. For a webhook message, this is a time of the provider's clock. For
    /// a query, it is the wall-clock time at the start of the query. `None` means the time when the
    /// report arrives.
    pub reported_at: Option<Millis>,
    /// The provider's id of the dispute, if the provider names a dispute.
    pub dispute: Option<String>,
}

/// The result of recording a reversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalOutcome {
    /// The reversal is new, or the report changed it: its amount, or whether it stands.
    Noted,
    /// The report changed nothing that matters: neither the amount nor whether the reversal stands.
    /// For example, the store already has a newer report, or the reversal is this server's own
    /// refund.
    Known,
    /// The store does not know the payment, or the payment failed. The message was not recorded, so
    /// the provider can send the same message again later.
    NoPayment,
}

impl ReversalReport {
    /// Returns which reversal the report is about.
    #[must_use]
    pub fn key(&self) -> ReversalKey {
        let dispute = match self.kind {
            ReversalKind::Disputed => self.dispute.clone().unwrap_or_default(),
            ReversalKind::Returned => String::new(),
        };
        ReversalKey { payment: self.payment.clone(), kind: self.kind, dispute }
    }

    fn first(&self, payment: &Payment, now: Millis) -> Reversal {
        let reported_at = self.reported_at.unwrap_or(now);
        let at = match self.kind {
            ReversalKind::Disputed => now,
            ReversalKind::Returned => reported_at,
        };
        let money = self.money.clone().unwrap_or_else(|| payment.money.clone());
        Reversal { key: self.key(), money, stands: self.stands, reported_at, at }
    }

    /// Returns the reversal after this report, or `None` if the report changes nothing. `new` is
    /// what the report says.
    ///
    /// - Of two reports about one dispute, or about one amount that was refunded by hand, the newer
    ///   counts. A report without a time is the newest. If both reports have the same time, the
    ///   report about the reversal's end counts.
    /// - If a dispute has no id, each report may be about another dispute, so the last report to
    ///   arrive counts.
    /// - A report about another amount may be about another refund by hand, or about the total. So
    ///   a report that one refund ended does not end a reversal of another amount. If the known
    ///   reversal has ended, a report about a refund of another amount always counts. If neither
    ///   has ended, the larger amount counts. The result gets a time after both reports, so that a
    ///   late report that the larger refund ended does not hide the smaller refund.
    fn next(&self, known: &Reversal, new: Reversal) -> Option<Reversal> {
        let has_other_amount = !self.is_dispute() && known.money.minor != new.money.minor;
        if has_other_amount && enforces(Rule::ReturnsHaveAmounts) {
            return self.next_of_other_amount(known, new);
        }
        let is_newer = self.reported_at.is_none()
            || known.reported_at < new.reported_at
            || known.reported_at == new.reported_at
                && (known.stands || !new.stands || !enforces(Rule::ReversalEndWins))
            || !enforces(Rule::NewestReversalReport);
        let has_no_id = self.is_dispute() && new.key.dispute.is_empty();
        let at = if self.is_dispute() { known.at } else { new.at };
        (is_newer || has_no_id).then_some(Reversal { at, ..new })
    }

    fn next_of_other_amount(&self, known: &Reversal, new: Reversal) -> Option<Reversal> {
        let is_larger = known.money.minor < new.money.minor;
        match (known.stands, new.stands) {
            (_, false) => None,
            (false, true) => Some(new),
            (true, true) if is_larger || enforces(Rule::SmallerReturnCounts) => {
                let money = if is_larger { new.money } else { known.money.clone() };
                let reported_at = known.reported_at.max(new.reported_at).plus(1);
                Some(Reversal { money, reported_at, at: reported_at, ..new })
            }
            (true, true) => None,
        }
    }

    fn is_dispute(&self) -> bool {
        self.kind == ReversalKind::Disputed
    }
}

/// Records a provider's report about a reversal. If this server itself refunds the payment, a
/// report that the payment was returned changes nothing.
pub fn record_reversal<L: Ledger + ?Sized>(
    ledger: &mut L,
    report: &ReversalReport,
    now: Millis,
) -> Result<ReversalOutcome, L::Error> {
    let ReversalReport { provider, event, .. } = report;
    if let Some(event) = event
        && ledger.inbox(provider, event)?
        && enforces(Rule::InboxOnce)
    {
        return Ok(ReversalOutcome::Known);
    }
    let is_captured = |p: &Payment| p.provider == *provider && p.state != PaymentState::Failed;
    let Some(payment) = ledger.payment(&report.payment)?.filter(is_captured) else {
        return Ok(ReversalOutcome::NoPayment);
    };
    if let Some(event) = event {
        ledger.insert_inbox(provider, event, now)?;
    }
    if !report.is_dispute()
        && ledger.refund(&RefundId::for_payment(&payment.id))?.is_some()
        && enforces(Rule::OwnRefundIsNoReversal)
    {
        return Ok(ReversalOutcome::Known);
    }
    let known = ledger.reversal(&report.key())?;
    let new = report.first(&payment, now);
    let new = match &known {
        Some(known) => report.next(known, new),
        None => Some(new),
    };
    let Some(new) = new else { return Ok(ReversalOutcome::Known) };
    ledger.put_reversal(&new)?;
    let confirms =
        |known: &Reversal| known.stands == new.stands && (!new.stands || known.money == new.money);
    if known.as_ref().is_some_and(confirms) {
        return Ok(ReversalOutcome::Known);
    }
    let Reversal { key: ReversalKey { payment: id, kind, .. }, money, stands, .. } = new;
    let dispute = report.dispute.clone();
    let subject =
        Subject::Reversal { payment: id, order: payment.order, money, kind, dispute, stands };
    let by = Attribution::from_actor(Actor::Provider(provider.clone()));
    event_log::append(ledger, EventType::PaymentReversed, subject, &by, now)?;
    Ok(ReversalOutcome::Noted)
}
