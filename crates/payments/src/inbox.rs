//! Handles the messages of payment providers. The store applies each message only once. After a
//! message, the server wakes the refund job and notifies the buyer's page, so that neither of the
//! two waits for its next poll.
use std::sync::Arc;

use doorbuster_api::payment::PaymentEventOutcome;
use doorbuster_core::money::{
    Capture, CaptureOutcome, PaymentId, RefundMessageOutcome, RefundUpdate, ReversalOutcome,
    ReversalReport,
};
use doorbuster_core::{OrderState, TicketId};
use doorbuster_engine::error::EngineError;
use doorbuster_engine::notify::EventKind;
use doorbuster_store::DeadLetterId;

use super::Payments;
use super::contract::{FailedPayment, FoundPayment, ProviderMessage};
use super::refunds::log_failed_refund;

impl Payments {
    /// Applies a message whose signature was verified.
    ///
    /// # Errors
    /// Fails if the store or a slot is unreachable, or if the message arrives too early. The
    /// provider then sends the message again.
    pub async fn handle_message(
        &self,
        message: ProviderMessage,
    ) -> Result<PaymentEventOutcome, EngineError> {
        let outcome = match message {
            ProviderMessage::Captured(capture) => self.apply_capture(capture).await?,
            ProviderMessage::FailedPayment(failed) => self.apply_failure(failed).await?,
            ProviderMessage::Refund { event, id, update, if_not_ours } => {
                let provider = self.provider.name().to_owned();
                let failed = match &update {
                    RefundUpdate::CameBack(why) | RefundUpdate::Failed(why) => {
                        Some((id.clone(), why.clone()))
                    }
                    _ => None,
                };
                let store = self.node.store();
                let settled = store.settle_refund(provider, event, id, update).await?;
                self.wake_refunds();
                // A failed refund is logged only if it is a dead letter. If it is not, the server
                // still asks the provider about an earlier attempt. If the dead letter cannot be
                // read, the failure is logged anyway. A repeated message logs the failure too,
                // because the process may have ended between the first message and its log line.
                if let Some((refund, why)) =
                    failed.filter(|_| settled != RefundMessageOutcome::NoRefund)
                    && store
                        .dead_letter(DeadLetterId::Refund(refund.clone()))
                        .await
                        .map_or(true, |found| found.is_some())
                {
                    log_failed_refund(&refund, &why);
                }
                match (settled, if_not_ours) {
                    (RefundMessageOutcome::Applied, _) => PaymentEventOutcome::Noted,
                    (RefundMessageOutcome::Repeated, _) => PaymentEventOutcome::Repeated,
                    (RefundMessageOutcome::NoRefund, Some(reversal)) => {
                        reversal_outcome(self.apply_reversal(reversal).await?)
                    }
                    (RefundMessageOutcome::NoRefund, None) => PaymentEventOutcome::Ignored,
                }
            }
            ProviderMessage::Reversed { reversal, order } => {
                match self.apply_reversal(reversal).await? {
                    ReversalOutcome::NoPayment if self.is_our_order(order).await? => {
                        return Err(EngineError::TooEarly);
                    }
                    reversing => reversal_outcome(reversing),
                }
            }
            ProviderMessage::Closed { order, session } => {
                let is_ours = match TicketId::parse(&order) {
                    Some(order) => self.node.store().close_checkout(order, session).await?,
                    None => false,
                };
                if is_ours { PaymentEventOutcome::Noted } else { PaymentEventOutcome::Ignored }
            }
            ProviderMessage::Unused => PaymentEventOutcome::Ignored,
        };
        self.meter.messages[outcome as usize].add_one();
        Ok(outcome)
    }

    /// Applies a captured payment, and remembers it, because a failover could lose it.
    pub(super) async fn apply_capture(
        &self,
        capture: Capture,
    ) -> Result<PaymentEventOutcome, EngineError> {
        let Some(applied) = &self.applied else { return self.capture(capture).await };
        let read_for = applied.payments_read_at_fence();
        let outcome = self.capture(capture.clone()).await?;
        match outcome {
            PaymentEventOutcome::Paid => applied.add(capture.clone()),
            PaymentEventOutcome::Refunded => applied.add_refunding(capture.clone()),
            // The store already has this payment. But perhaps no node remembers it, because the
            // store's answer to the first commit was lost. If the payment's order is not paid, the
            // server refunds the payment.
            PaymentEventOutcome::Repeated => {
                applied.add(capture.clone());
                if !self.may_be_paid(&capture.order).await {
                    applied.begin_refund(&capture.order);
                }
            }
            _ => return Ok(outcome),
        }
        // If a failover happened meanwhile, `follow_failovers` may have read the remembered
        // payments before the code above added this one. So this call applies the payment again.
        if applied.payments_read_at_fence() != read_for {
            self.capture(capture).await?;
        }
        Ok(outcome)
    }

    /// Returns whether the order is paid. Also returns `true` if the store does not answer.
    async fn may_be_paid(&self, order: &str) -> bool {
        let Some(id) = TicketId::parse(order) else { return false };
        let order = self.node.store().order(id).await;
        order.map_or(true, |order| order.is_some_and(|order| order.state == OrderState::Paid))
    }

    /// Applies a captured payment. If the payment cannot pay for its order, the server refunds it.
    pub(super) async fn capture(
        &self,
        capture: Capture,
    ) -> Result<PaymentEventOutcome, EngineError> {
        // While a buyer's request waits at this node, its ticket may still become an order. A
        // payment for this order is too early, and the provider sends the message again later. The
        // store makes the same check for requests at other nodes.
        if TicketId::parse(&capture.order).and_then(|id| self.node.waiting_buyer(id)).is_some() {
            return Err(EngineError::TooEarly);
        }
        Ok(match self.orders.capture(capture).await? {
            CaptureOutcome::Paid(_) => PaymentEventOutcome::Paid,
            CaptureOutcome::Refund(refund) => {
                tracing::info!(
                    refund = refund.id.0,
                    cause = refund.cause.as_str(),
                    event = "payment.refunding_stray",
                    "refunding a payment that pays for no order"
                );
                self.wake_refunds();
                self.publish_order(&refund.order).await;
                PaymentEventOutcome::Refunded
            }
            CaptureOutcome::Repeated => PaymentEventOutcome::Repeated,
            CaptureOutcome::TooEarly => return Err(EngineError::TooEarly),
            // After this outcome, `Orders::capture` tries again, and its last attempt always has
            // another outcome. So this line never runs.
            CaptureOutcome::UnitsMissing { .. } => PaymentEventOutcome::Ignored,
        })
    }

    /// Records a refund or dispute that the shop did not request. An operator must decide what
    /// happens to the order.
    pub(super) async fn apply_reversal(
        &self,
        reversal: ReversalReport,
    ) -> Result<ReversalOutcome, EngineError> {
        let (payment, kind, stands) =
            (reversal.payment.clone(), reversal.kind.as_str(), reversal.stands);
        let reversing = self.node.store().record_reversal(reversal).await?;
        // If the store lacks the payment, a failover may have lost it. Then this node must not
        // forget the payment, because it must apply the payment again.
        if let Some(applied) = &self.applied
            && stands
            && reversing != ReversalOutcome::NoPayment
        {
            applied.forget_payment(&payment);
        }
        if reversing == ReversalOutcome::Noted && stands {
            tracing::error!(
                payment = payment.0,
                kind,
                event = "payment.unrequested_refund",
                "a payment was refunded or disputed without a request from the shop; an operator \
                 must decide about the order"
            );
        }
        Ok(reversing)
    }

    async fn is_our_order(&self, order: Option<String>) -> Result<bool, EngineError> {
        let Some(id) = order.and_then(|order| TicketId::parse(&order)) else { return Ok(false) };
        Ok(self.node.store().order(id).await?.is_some())
    }

    /// Applies a payment and its reversal that the provider reported in an answer. The provider's
    /// messages about them may be lost.
    pub(super) async fn apply_found(&self, found: FoundPayment) -> Result<(), EngineError> {
        self.apply_capture(found.capture).await?;
        if let Some(back) = found.back {
            self.apply_reversal(back).await?;
        }
        Ok(())
    }

    /// Sends the order to the buyer's page, which must show that a payment failed or will be
    /// refunded. If the store cannot be read now, the page gets the order with its next poll.
    async fn publish_order(&self, order: &str) {
        let Some(id) = TicketId::parse(order).filter(|_| self.node.hub().may_have_readers()) else {
            return;
        };
        if let Ok(Some(order)) = self.node.store().order(id).await {
            self.node.hub().publish(EventKind::Order(Arc::new(order)));
        }
    }

    async fn apply_failure(
        &self,
        failed: FailedPayment,
    ) -> Result<PaymentEventOutcome, EngineError> {
        let FailedPayment { event, payment, order, money, session } = failed;
        if let (Some(session), Some(id)) = (session, TicketId::parse(&order)) {
            self.node.store().close_checkout(id, session).await?;
        }
        let money = match (money, TicketId::parse(&order)) {
            (Some(money), _) => Some(money),
            (None, Some(id)) => {
                let order = self.node.store().order(id).await?;
                order.and_then(|order| super::checkout::order_total(&self.node.catalogue(), &order))
            }
            (None, None) => None,
        };
        let Some(money) = money else { return Ok(PaymentEventOutcome::Ignored) };
        let provider = self.provider.name().to_owned();
        let failed =
            Capture { event, provider, payment: PaymentId(payment), order: order.clone(), money };
        let is_new = self.node.store().fail_payment(failed).await?;
        if is_new {
            self.publish_order(&order).await;
        }
        Ok(noted_outcome(is_new))
    }
}

fn noted_outcome(is_new: bool) -> PaymentEventOutcome {
    if is_new { PaymentEventOutcome::Noted } else { PaymentEventOutcome::Repeated }
}

fn reversal_outcome(reversing: ReversalOutcome) -> PaymentEventOutcome {
    match reversing {
        ReversalOutcome::Noted => PaymentEventOutcome::Noted,
        ReversalOutcome::Known => PaymentEventOutcome::Repeated,
        // This server does not know the payment.
        ReversalOutcome::NoPayment => PaymentEventOutcome::Ignored,
    }
}
