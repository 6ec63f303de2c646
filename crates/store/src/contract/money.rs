//! Lists of payments and refunds, and the payments that an operator should see.
use doorbuster_core::event::{Actor, Attribution, Event, EventType, Subject};
pub use doorbuster_core::money::ReversalKind;
use doorbuster_core::money::{Money, Payment, PaymentId, PaymentState, RefundCause};
use doorbuster_core::{ItemId, Ledger, Millis, TicketId};

/// A checkout whose next check at the provider is postponed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutDeferral {
    /// The order.
    pub order: TicketId,
    /// The provider's id of the checkout.
    pub session: String,
    /// The time from now until the next check, in milliseconds.
    pub ms: i64,
    /// True if a query was sent to the provider and got no answer (see
    /// [`doorbuster_core::money::record_unanswered_check`]). False if no query reached the
    /// provider.
    pub unanswered: bool,
}

/// A filter for a list of payments or refunds.
#[derive(Clone, Debug, Default)]
pub struct MoneyQuery {
    /// Only rows that name this order. The text is the order's id as the provider sent it.
    pub order: Option<String>,
    /// Only rows for orders of these items. A payment for an unknown order belongs to no item.
    pub items: Option<Vec<ItemId>>,
    /// Only rows that a provider or a buyer caused by mistake ([`RefundCause::is_irregular`]).
    pub notices: bool,
    /// Continue after this position (from [`crate::Page::next`]).
    pub after: Option<i64>,
    /// True if the oldest rows come first. Otherwise the newest rows come first.
    pub oldest_first: bool,
    /// The largest number of rows in the page.
    pub limit: usize,
}

/// A payment that a provider or a buyer made by mistake. The server refunds the payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNotice {
    /// The cause: mismatch, second payment, or unknown order.
    pub what: RefundCause,
    /// The item, if the order exists.
    pub item: Option<ItemId>,
    /// The payment's id.
    pub payment: PaymentId,
    /// The order that the payment named, as the provider sent it.
    pub order: String,
    /// The amount.
    pub money: Money,
    /// When the provider captured the payment.
    pub at: Millis,
}

/// A provider's report that a captured payment was reversed, although this server requested no
/// reversal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// The id of the provider's webhook message. The store handles a repeated message only once.
    /// `None` if a query to the provider found the reversal.
    pub event: Option<String>,
    /// The provider.
    pub provider: String,
    /// The payment's id.
    pub payment: PaymentId,
    /// How the money was reversed.
    pub kind: ReversalKind,
    /// The total reversed amount. `None` means the whole payment.
    pub money: Option<Money>,
    /// False if the reversal failed or was withdrawn, so that the shop has the money again.
    pub stands: bool,
    /// When the report was made. For a webhook message, this is a time of the provider's clock. For
    /// a query, it is the wall-clock time at the start of the query. `None` means the time when the
    /// report arrives. A report that is older than the stored report of the same reversal changes
    /// nothing.
    pub reported_at: Option<Millis>,
    /// The provider's id of the dispute, unique within a payment, if the provider names a dispute.
    pub dispute: Option<String>,
}

impl Reversal {
    /// Records the report's message, so that the message is handled only once, and returns the
    /// payment. If the message is known, or if its payment is unknown or failed, records nothing
    /// and returns the outcome for the caller.
    pub(crate) fn record_message<L: Ledger + ?Sized>(
        &self,
        ledger: &mut L,
        now: Millis,
    ) -> Result<Result<Payment, ReversalOutcome>, L::Error> {
        if let Some(event) = &self.event
            && ledger.inbox(&self.provider, event)?
        {
            return Ok(Err(ReversalOutcome::Known));
        }
        let is_it = |payment: &Payment| {
            payment.provider == self.provider && payment.state != PaymentState::Failed
        };
        let Some(payment) = ledger.payment(&self.payment)?.filter(is_it) else {
            return Ok(Err(ReversalOutcome::NoPayment));
        };
        if let Some(event) = &self.event {
            ledger.insert_inbox(&self.provider, event, now)?;
        }
        Ok(Ok(payment))
    }

    /// For a report about a dispute, returns the dispute's id and the time of the report. All
    /// disputes of a payment that have no id count as one dispute with an empty id. The last report
    /// to arrive decides the state of this dispute.
    pub(crate) fn dispute(&self, now: Millis) -> Option<(String, Millis)> {
        (self.kind == ReversalKind::Disputed)
            .then(|| (self.dispute.clone().unwrap_or_default(), self.reported_at.unwrap_or(now)))
    }

    /// Returns whether this report changes the stored reversal. `written` is this report's amount.
    /// `before` has the stored amount, and whether the stored reversal was in force. It is `None`
    /// if no reversal is stored.
    pub(crate) fn is_change(&self, before: Option<(Money, bool)>, written: &Money) -> bool {
        before.is_none_or(|(money, stood)| stood != self.stands || self.stands && money != *written)
    }

    pub(crate) fn event(&self, order: String, money: Money, at: Millis) -> Event {
        let by = Attribution::from_actor(Actor::Provider(self.provider.clone()));
        let dispute = self.dispute.clone();
        let (payment, kind, stands) = (self.payment.clone(), self.kind, self.stands);
        let subject = Subject::Reversal { payment, order, money, kind, dispute, stands };
        Event { what: EventType::PaymentReversed, subject, by, at }
    }
}

/// The result of recording a reversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalOutcome {
    /// The reversal is new, or the report changed the recorded reversal.
    Noted,
    /// The report changed nothing: the store already has this report or a newer report, or the
    /// reversal is this server's own refund.
    Known,
    /// The store does not know the payment, or the payment failed. The message was not recorded, so
    /// it can be sent again later.
    NoPayment,
}

/// A reversal that an operator should see: its payment still counts as captured, or the reversal is
/// a dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversedPayment {
    /// How the money was reversed.
    pub kind: ReversalKind,
    /// The item, if the order exists.
    pub item: Option<ItemId>,
    /// The payment's id.
    pub payment: PaymentId,
    /// The order that the payment named, as the provider sent it.
    pub order: String,
    /// The reversed amount.
    pub money: Money,
    /// For a dispute: when it was first reported. For a refund by hand: the time of the report that
    /// is stored.
    pub at: Millis,
}
