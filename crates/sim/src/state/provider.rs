//! The records of the simulated payment provider, and its messages.
use doorbuster_core::money::{Money, PaymentId, RefundId, RefundUpdate, ReversalReport};
use doorbuster_core::{Millis, TicketId};
use doorbuster_steps::applied_payments::KEPT_MS;

use super::reversals::PaymentReversals;

/// How long the server waits before it asks the provider again about an accepted refund.
pub(crate) const RECHECK_MS: i64 = 5_000;

/// A payment that was captured or failed.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) payment: PaymentId,
    /// The order's id as a text.
    pub(crate) order: String,
    pub(crate) money: Money,
    pub(crate) captured: bool,
    /// The checkout at which the buyer paid, if there was one.
    pub(crate) session: Option<usize>,
    /// The id of the message about the charge. `None` after a node has answered this message.
    pub(crate) unanswered: Option<String>,
    /// The nodes that applied the payment, each with the monotonic time at which the node applied
    /// the payment. Nodes whose process has ended since then are removed.
    pub(crate) applied_at: Vec<(u8, Millis)>,
}

impl Charge {
    /// Returns whether a node still remembers the payment. Such a node applies the payment again
    /// after a failover.
    pub(crate) fn is_remembered(&self, now: Millis) -> bool {
        self.applied_at.iter().any(|(_, at)| now.0 - at.0 <= KEPT_MS)
    }
}

/// A checkout page.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) order: TicketId,
    pub(crate) money: Money,
    pub(crate) open: bool,
    pub(crate) until: Millis,
    /// Whether a buyer has the URL of the page.
    pub(crate) handed: bool,
}

/// A refund in the provider's records.
#[derive(Clone, Debug)]
pub(crate) struct ProviderRefund {
    /// The key of the request.
    pub(crate) key: String,
    pub(crate) refund: RefundId,
    pub(crate) payment: PaymentId,
    pub(crate) money: Money,
    pub(crate) arrived: bool,
    /// Whether the money came back to the shop. This state is final.
    pub(crate) came_back: bool,
}

impl ProviderRefund {
    pub(crate) fn refund_update(&self) -> RefundUpdate {
        match (self.came_back, self.arrived) {
            (true, _) => RefundUpdate::CameBack("the account is closed".into()),
            (false, true) => RefundUpdate::Settled,
            (false, false) => RefundUpdate::Accepted { again_ms: RECHECK_MS },
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum ProviderMessage {
    /// A payment was captured.
    Captured(usize),
    /// A payment failed.
    Failed(usize),
    /// The state of a refund.
    Refund(RefundId, RefundUpdate),
    /// A report about a reversal.
    Reversed(ReversalReport),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Provider {
    pub(crate) charges: Vec<Charge>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) backs: Vec<ProviderRefund>,
    /// At most one entry for each payment.
    pub(crate) reversals: Vec<PaymentReversals>,
    pub(crate) away: bool,
    pub(crate) refuses: u8,
    pub(crate) messages: u64,
    pub(crate) at_rest: bool,
}

impl Provider {
    pub(crate) fn message_id(&mut self) -> String {
        self.messages += 1;
        format!("msg_{}", self.messages)
    }

    pub(crate) fn allow_more_at_rest(&mut self) {
        self.at_rest = true;
    }

    pub(crate) fn takes_money(&self, session: usize, mono: Millis) -> bool {
        self.sessions.get(session).is_some_and(|s| s.open && mono < s.until)
    }

    pub(crate) fn paid_at(&self, session: usize) -> Vec<usize> {
        let here = |c: &Charge| c.captured && c.session == Some(session);
        (0..self.charges.len()).filter(|&i| here(&self.charges[i])).collect()
    }
}
