//! Lists of payments and refunds, and what of them an operator should see.
use doorbuster_core::event::{Actor, Attribution, Event, EventType, Subject};
pub use doorbuster_core::money::ReversalKind;
use doorbuster_core::money::{Money, Payment, PaymentId, PaymentState, RefundCause};
use doorbuster_core::{ItemId, Ledger, Millis, TicketId};

/// A checkout that is to be asked about once more, later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckoutDeferral {
    /// Of which order.
    pub order: TicketId,
    /// The provider's id of it.
    pub session: String,
    /// For how long, from now.
    pub ms: i64,
    /// Whether its provider was asked in vain: see [`doorbuster_core::money::asked_in_vain`]. Else
    /// nobody could ask.
    pub no_answer: bool,
}

/// Which payments or refunds to list.
#[derive(Clone, Debug, Default)]
pub struct MoneyQuery {
    /// Only those that named this order, as it was written.
    pub order: Option<String>,
    /// Only those of orders of these items; a payment that names no order of ours is of no item.
    pub items: Option<Vec<ItemId>>,
    /// Only what somebody else did wrong ([`RefundCause::is_notice`]).
    pub notices: bool,
    /// Continue after this position (from [`MoneyPage::next`]).
    pub after: Option<i64>,
    /// Oldest first; else newest first.
    pub oldest_first: bool,
    /// At most this many.
    pub limit: usize,
}

/// A page of payments or refunds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoneyPage<T> {
    /// In the order that was asked for.
    pub rows: Vec<T>,
    /// Position to continue after; `None`: no more.
    pub next: Option<i64>,
}

/// Money that came though it should not have, and goes back: somebody else's mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNotice {
    /// Mismatch, second payment, or unknown order.
    pub what: RefundCause,
    /// Of which item, if the order is one of ours.
    pub item: Option<ItemId>,
    /// The payment.
    pub payment: PaymentId,
    /// The order that it named, as it was written.
    pub order: String,
    /// How much.
    pub money: Money,
    /// When it was taken.
    pub at: Millis,
}

/// What a provider says of money that it took, and that went back without having been asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// The message's id, which is taken once; `None`: it was found by asking.
    pub event: Option<String>,
    /// By which provider.
    pub provider: String,
    /// Which payment.
    pub payment: PaymentId,
    /// How.
    pub kind: ReversalKind,
    /// How much, all in all; `None`: the whole payment.
    pub money: Option<Money>,
    /// False: it came to nothing, and the money is there.
    pub stands: bool,
    /// Which dispute it is, where its provider says so.
    pub dispute: Option<Dispute>,
}

/// A dispute, and when its provider said what is told of it: what it said before and is heard later
/// changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    /// The provider's id, unique among those of a payment.
    pub id: String,
    /// By the provider's clock; `None`: when it is heard.
    pub reported_at: Option<Millis>,
}

impl Reversal {
    /// Takes its message, once, and not before its payment, which it gives; or what it comes to
    /// when nothing is to be written.
    pub(crate) fn take<L: Ledger>(
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

    /// The dispute that it is told of. One without an id is the payment's only one, and what is
    /// heard last of it is believed.
    pub(crate) fn dispute(&self, now: Millis) -> Option<(String, Millis)> {
        let Dispute { id, reported_at } =
            self.dispute.clone().unwrap_or(Dispute { id: String::new(), reported_at: None });
        (self.kind == ReversalKind::Disputed).then(|| (id, reported_at.unwrap_or(now)))
    }

    /// Whether a dispute that is written down as so much is told of, by what was known of it and
    /// whether that stood.
    pub(crate) fn is_change(&self, before: Option<(Money, bool)>, written: &Money) -> bool {
        before.is_none_or(|(money, stood)| stood != self.stands || self.stands && money != *written)
    }

    /// What is told of it, as it is written down: the order that its payment named, and how much
    /// went back.
    pub(crate) fn event(&self, order: String, money: Money, at: Millis) -> Event {
        let by = Attribution::from_actor(Actor::Provider(self.provider.clone()));
        let dispute = self.dispute.as_ref().map(|dispute| dispute.id.clone());
        let (payment, kind, stands) = (self.payment.clone(), self.kind, self.stands);
        let subject = Subject::Reversal { payment, order, money, kind, dispute, stands };
        Event { what: EventType::PaymentReversed, subject, by, at }
    }
}

/// What writing down a reversal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversalOutcome {
    /// It is news.
    Noted,
    /// It was known, or is our own refund.
    Known,
    /// There is no such payment, or it is not known yet: the message was not taken.
    NoPayment,
}

/// A reversal that an operator should see: its payment stands for an order still, or is disputed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReversedPayment {
    /// How.
    pub kind: ReversalKind,
    /// Of which item, if the order is one of ours.
    pub item: Option<ItemId>,
    /// The payment.
    pub payment: PaymentId,
    /// The order that it named, as it was written.
    pub order: String,
    /// How much.
    pub money: Money,
    /// When it was told of first.
    pub at: Millis,
}
