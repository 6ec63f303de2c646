//! Takes a provider's message. Whatever it says is done once, by the store; what follows from it is only hurried here.
use std::sync::Arc;

use doorbuster_api::payment::Outcome;
use doorbuster_core::TicketId;
use doorbuster_core::money::{Capture, Captured, PaymentId, RefundNews, RefundTold};
use doorbuster_store::{Reversal, Reversing};

use super::Payments;
use super::provider::{Failed, Found, Message};
use crate::engine::EngineError;
use crate::notify::Kind;

impl Payments {
    /// Takes a message that was verified.
    ///
    /// # Errors
    /// When a store or slot is away: the provider sends it again.
    pub(crate) async fn take(&self, message: Message) -> Result<Outcome, EngineError> {
        let outcome = match message {
            Message::Captured(told) => self.captured(told).await?,
            Message::Failed(failed) => self.failed(failed).await?,
            Message::Refund { event, id, news, otherwise } => {
                let provider = self.provider.name().to_owned();
                let came_back = if let RefundNews::CameBack(why) = &news {
                    Some((id.0.clone(), why.clone()))
                } else {
                    None
                };
                let told = self.engine.store().settle_refund(provider, event, id, news).await?;
                if let Some((refund, why)) = came_back.filter(|_| told == RefundTold::Taken) {
                    tracing::error!(refund, why, "a refund came back: an operator must look");
                }
                self.wake_refunds();
                match (told, otherwise) {
                    (RefundTold::Taken, _) => Outcome::Noted,
                    (RefundTold::Repeated, _) => Outcome::Repeated,
                    (RefundTold::NoRefund, Some(reversal)) => {
                        reversed(self.reversed(reversal).await?)
                    }
                    (RefundTold::NoRefund, None) => Outcome::Ignored,
                }
            }
            Message::Reversed { told, order } => match self.reversed(told).await? {
                Reversing::NoPayment if self.knows(order).await? => {
                    return Err(EngineError::TooEarly);
                }
                reversing => reversed(reversing),
            },
            Message::Closed { order, session } => {
                let is_ours = match TicketId::parse(&order) {
                    Some(order) => self.engine.store().close_checkout(order, session).await?,
                    None => false,
                };
                if is_ours { Outcome::Noted } else { Outcome::Ignored }
            }
            Message::Unused => Outcome::Ignored,
        };
        self.meter.take(outcome);
        Ok(outcome)
    }

    /// Takes a captured payment: its order is paid by it, or its money goes back.
    pub(super) async fn captured(&self, told: Capture) -> Result<Outcome, EngineError> {
        // It may become an order any moment.
        if TicketId::parse(&told.order).and_then(|id| self.engine.waits_here(id)).is_some() {
            return Err(EngineError::TooEarly);
        }
        Ok(match self.engine.capture(told).await? {
            Captured::Paid(_) => Outcome::Paid,
            Captured::Refund(refund) => {
                tracing::info!(
                    refund = refund.id.0,
                    cause = refund.cause.as_str(),
                    "a payment goes back"
                );
                self.wake_refunds();
                self.hint(&refund.order).await;
                Outcome::Refunded
            }
            Captured::Repeated => Outcome::Repeated,
            // The last try writes something in any case.
            Captured::Lacks { .. } => Outcome::Ignored,
        })
    }

    /// Takes that money went back without having been asked to: it is written down, and what becomes of the order is for an operator to say.
    async fn reversed(&self, told: Reversal) -> Result<Reversing, EngineError> {
        let (payment, kind, stands) = (told.payment.0.clone(), told.kind.as_str(), told.stands);
        let reversing = self.engine.store().reverse(told).await?;
        if reversing == Reversing::Noted && stands {
            tracing::error!(
                payment,
                kind,
                "money went back that nobody here asked for: an operator must look"
            );
        }
        Ok(reversing)
    }

    /// Whether this is an order of ours.
    async fn knows(&self, order: Option<String>) -> Result<bool, EngineError> {
        let Some(id) = order.and_then(|order| TicketId::parse(&order)) else { return Ok(false) };
        Ok(self.engine.store().order(id).await?.is_some())
    }

    /// Takes payments that were found by asking, and what became of each since: whoever lost the message of one may have lost that it went back, too.
    pub(super) async fn found(&self, found: Vec<Found>) -> Result<(), EngineError> {
        for Found { told, back } in found {
            self.captured(told).await?;
            if let Some(back) = back {
                self.reversed(back).await?;
            }
        }
        Ok(())
    }

    /// Has the buyer's page look again, though the order itself is as it was. No more than a hint: it looks by itself too.
    async fn hint(&self, order: &str) {
        let Some(id) = TicketId::parse(order).filter(|_| self.engine.hub().is_heard()) else {
            return;
        };
        if let Ok(Some(order)) = self.engine.store().order(id).await {
            self.engine.hub().publish(Kind::Order(Arc::new(order)));
        }
    }

    async fn failed(&self, failed: Failed) -> Result<Outcome, EngineError> {
        let Failed { event, payment, order, money, session } = failed;
        if let (Some(session), Some(id)) = (session, TicketId::parse(&order)) {
            self.engine.store().close_checkout(id, session).await?;
        }
        let money = match (money, TicketId::parse(&order)) {
            (Some(money), _) => Some(money),
            // What was tried is what the order costs, unless the message says something else.
            (None, Some(id)) => {
                let order = self.engine.store().order(id).await?;
                order.and_then(|order| super::checkout::total(&self.engine.catalogue(), &order))
            }
            (None, None) => None,
        };
        let Some(money) = money else { return Ok(Outcome::Ignored) };
        let provider = self.provider.name().to_owned();
        let told =
            Capture { event, provider, payment: PaymentId(payment), order: order.clone(), money };
        let is_new = self.engine.store().fail_payment(told).await?;
        if is_new {
            self.hint(&order).await;
        }
        Ok(noted(is_new))
    }
}

fn noted(is_new: bool) -> Outcome {
    if is_new { Outcome::Noted } else { Outcome::Repeated }
}

/// What a message about money that went back came to.
fn reversed(reversing: Reversing) -> Outcome {
    match reversing {
        Reversing::Noted => Outcome::Noted,
        Reversing::Known => Outcome::Repeated,
        // Of no payment that is known here.
        Reversing::NoPayment => Outcome::Ignored,
    }
}
