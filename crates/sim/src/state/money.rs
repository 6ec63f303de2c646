//! Messages about money.
use doorbuster_core::TicketId;
use doorbuster_core::money::{Capture, Refund, RefundUpdate};
use doorbuster_steps::checkout::{CheckoutClosing, Effect};

use super::provider::ProviderMessage;

/// A message about payments, checkouts or refunds, between nodes, leaders and the provider.
#[derive(Clone, Debug)]
pub(crate) enum MoneyMessage {
    /// A message from the provider.
    ProviderMessage { event: String, hook: ProviderMessage },
    /// A message from the provider that a node answered before it handled the message. This happens
    /// only if the rule `AnswerAfterEffect` is removed.
    Answered { event: String, hook: ProviderMessage },
    /// A node applies a payment again after a failover.
    ApplyAgain { node: u8, capture: Capture },
    /// A node requests a checkout.
    Make { order: TicketId },
    /// The provider created a checkout.
    Made { order: TicketId, session: usize },
    /// A leader asks the provider to close a checkout.
    Close { leader: u8, closing: Closing },
    /// A leader performs the next effect of closing a checkout. `found` are the payments at this
    /// checkout that the provider reported as captured.
    NextEffect { leader: u8, closing: Closing, effect: Effect, found: Vec<usize> },
    /// A leader requests a refund from the provider, or asks for the refund's state.
    Refund { leader: u8, refund: Refund },
    /// The provider's answer about a refund. `requested` is the refund at the time of the query.
    RefundAnswered { leader: u8, requested: Refund, update: RefundUpdate },
}

impl MoneyMessage {
    pub(crate) fn leader(&self) -> Option<u8> {
        match self {
            Self::NextEffect { leader, .. } | Self::RefundAnswered { leader, .. } => Some(*leader),
            _ => None,
        }
    }

    pub(crate) fn node(&self) -> Option<u8> {
        match self {
            Self::ApplyAgain { node, .. } => Some(*node),
            _ => None,
        }
    }
}

/// A checkout that a leader closes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) order: TicketId,
    pub(crate) session: usize,
    pub(crate) steps: CheckoutClosing,
}

/// What follows after a payment is applied: `leader` continues to close the checkout at which the
/// buyer paid.
#[derive(Clone, Debug)]
pub(crate) struct AfterPayment {
    pub(crate) leader: u8,
    pub(crate) closing: Closing,
    pub(crate) found: Vec<usize>,
}
