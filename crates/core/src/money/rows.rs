//! The rows of payments and refunds, and the contents of a provider's report.
use crate::TicketId;
use crate::limits::PROVIDER_CHECK_WITHIN_MS;
use crate::limits::PROVIDER_GRACE_MS;
use crate::rules::Rule;
use crate::rules::enforces;
use crate::value::Millis;

pub use doorbuster_types::{PaymentState, RefundCause, RefundState, ReversalKind};

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    /// The amount in minor units of the currency, such as cents.
    pub minor: i64,
    /// The currency, by its ISO 4217 code.
    pub currency: String,
}

/// A provider's id of a payment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentId(pub String);

/// The id of a refund. The refund's id is made from the payment's id, so a payment has at most one
/// refund. The idempotency keys of the requests to refund the money begin with this id
/// ([`Refund::request_key`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefundId(pub String);

impl RefundId {
    /// Returns the id of this payment's refund.
    #[must_use]
    pub fn for_payment(payment: &PaymentId) -> Self {
        let hash = blake3::hash(payment.0.as_bytes());
        Self(format!("ref_{}", &hash.to_hex()[..32]))
    }
}

/// A payment, as its provider reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The provider's id.
    pub id: PaymentId,
    /// The provider's name.
    pub provider: String,
    /// The order that the payment named, exactly as in the provider's report.
    pub order: String,
    /// The amount.
    pub money: Money,
    /// The payment's state.
    pub state: PaymentState,
    /// When the server processed the report of the payment's capture (store time). For a payment
    /// that was never captured: when the server processed the report of the payment's failure.
    pub at: Millis,
}

/// A refund of one whole payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The refund's id.
    pub id: RefundId,
    /// The payment.
    pub payment: PaymentId,
    /// The provider.
    pub provider: String,
    /// The order that the payment named.
    pub order: String,
    /// The amount.
    pub money: Money,
    /// The cause.
    pub cause: RefundCause,
    /// The state.
    pub state: RefundState,
    /// Whether the provider accepted the refund. If so, the server only queries the refund's
    /// progress.
    pub accepted: bool,
    /// The number of consecutive failed requests to the provider.
    pub tries: u32,
    /// When the server next sends a request or query to the provider.
    pub next_at: Millis,
    /// The error of the last failed request.
    pub error: Option<String>,
    /// When the refund was decided.
    pub at: Millis,
    /// When the provider confirmed that the money arrived at the buyer.
    pub settled_at: Option<Millis>,
}

/// A provider's report that a payment was captured: a webhook, or the answer to a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The report's id, which is unique together with the provider's name.
    pub event: String,
    /// The provider that sent the message.
    pub provider: String,
    /// The payment.
    pub payment: PaymentId,
    /// The order, exactly as in the message.
    pub order: String,
    /// The amount.
    pub money: Money,
}

/// A page at a payment provider where a buyer pays for one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The order.
    pub order: TicketId,
    /// The provider.
    pub provider: String,
    /// The provider's id of the checkout.
    pub session: String,
    /// The URL for the buyer's browser.
    pub url: String,
    /// The end of the checkout, as the server requested it from the provider. After this time, the
    /// provider accepts no money.
    pub expires_at: Millis,
    /// Whether the provider may still accept money at this checkout. This becomes false only after
    /// the provider confirms that the checkout is closed and unpaid.
    pub open: bool,
    /// When the checkout was created.
    pub at: Millis,
    /// The time of the first failed query about this checkout after the order's `pay_by`. A query
    /// fails if the provider gives no definite answer.
    pub asked_at: Option<Millis>,
}

impl Checkout {
    /// Returns how long an order with this checkout waits for its provider's answer after `pay_by`,
    /// in milliseconds. The wait ends [`PROVIDER_GRACE_MS`] after the first failed query, but at
    /// the latest [`PROVIDER_CHECK_WITHIN_MS`] after `pay_by`. So the wait also ends if the server
    /// never queried the provider.
    #[must_use]
    pub fn provider_wait_ms(&self, pay_by: Millis) -> i64 {
        if !self.open {
            return 0;
        }
        match self.unanswered_since(pay_by) {
            Some(_) if !enforces(Rule::GraceEnds) => i64::MAX,
            Some(at) => {
                let until = at.plus(PROVIDER_GRACE_MS).min(pay_by.plus(PROVIDER_CHECK_WITHIN_MS));
                until.0.saturating_sub(pay_by.0)
            }
            None if !enforces(Rule::AskedWithin) => i64::MAX,
            None if !enforces(Rule::GraceAfterQuestion) => PROVIDER_GRACE_MS,
            None => PROVIDER_CHECK_WITHIN_MS,
        }
    }

    /// Returns when the first query after `pay_by` failed. A recorded time before `pay_by` is
    /// ignored. Such a time can remain, because the previous version of the program does not delete
    /// it when `pay_by` is extended.
    pub fn unanswered_since(&self, pay_by: Millis) -> Option<Millis> {
        self.asked_at.filter(|at| *at >= pay_by || !enforces(Rule::GraceAnew))
    }
}
