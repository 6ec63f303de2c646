//! Closes one checkout at the provider. [`doorbuster_steps::checkout`] decides the sequence of the
//! steps.
use std::time::Duration;

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::Order;
use doorbuster_core::money::Checkout;
use doorbuster_engine::error::EngineError;
use doorbuster_steps::checkout::{Answer, CheckoutClosing, Effect, Input};

use super::Payments;
use crate::contract::{CheckoutStatus, FoundPayment};
use crate::silence::ProbeResult;

/// The pause after the provider answered that it gets too many requests. During the pause, the
/// request counts as running, so fewer new requests start.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

impl Payments {
    pub(super) async fn close_checkout(
        &self,
        checkout: Checkout,
        order: Order,
    ) -> Result<ProbeResult, EngineError> {
        let (mut found, mut result, mut failure) = (Vec::new(), ProbeResult::NotAsked, None);
        let (mut closing, mut effect) = CheckoutClosing::start();
        loop {
            let input = match effect {
                Effect::Close => {
                    let (answer, payments);
                    (answer, payments, result) = self.ask_to_close(&checkout, &order).await;
                    found = payments;
                    Input::Answer(answer)
                }
                Effect::Apply(nth) => match self.apply_found(found[nth].clone()).await {
                    Ok(()) => {
                        failpoint::reach(Failpoint::ReconcileCaptured);
                        Input::Applied(true)
                    }
                    Err(error) => {
                        failure = Some(error);
                        Input::Applied(false)
                    }
                },
                Effect::Record => {
                    let session = checkout.session.clone();
                    self.node.store().close_checkout(order.id, session).await?;
                    failpoint::reach(Failpoint::ReconcileClosed);
                    Input::Recorded
                }
                // If a payment could not be applied, its checkout is postponed too. Otherwise, the
                // server would repeat the request at once, and requests about other checkouts would
                // wait.
                Effect::AskLater { starts_grace } => {
                    self.postpone(checkout, &order, starts_grace).await?;
                    return failure.map_or(Ok(result), Err);
                }
                Effect::Finish => return Ok(result),
            };
            effect = closing.next(input);
        }
    }

    /// Asks the provider to close the checkout. Returns three values: the input for
    /// `CheckoutClosing`; the payments that the provider reported; and whether the provider
    /// answered.
    async fn ask_to_close(
        &self,
        checkout: &Checkout,
        order: &Order,
    ) -> (Answer, Vec<FoundPayment>, ProbeResult) {
        if checkout.provider != self.provider.name() {
            if self.is_long_over(order) {
                tracing::warn!(
                    order = order.id.to_string(),
                    session = checkout.session,
                    provider = checkout.provider,
                    event = "payment.unknown_provider",
                    "a checkout's provider is not configured; check the payment at the provider"
                );
            }
            return (Answer::Failed, Vec::new(), ProbeResult::NotAsked);
        }
        let wall = self.node.clock().wall();
        let answer = self.provider.close(&order.id, &checkout.session, wall).await;
        failpoint::reach(Failpoint::ReconcileAsked);
        match &answer {
            Ok(_) => self.meter.answered.add_one(),
            Err(_) => self.meter.unanswered.add_one(),
        }
        let result = ProbeResult::from_answer(&answer);
        let (answer, found) = match answer {
            Ok(CheckoutStatus::Closed) => (Answer::Closed(0), Vec::new()),
            Ok(CheckoutStatus::Paid(found)) => (Answer::Closed(found.len()), found),
            Ok(CheckoutStatus::Undecided) => {
                let is_last = self.is_long_over(order);
                if is_last {
                    tracing::error!(
                        order = order.id.to_string(),
                        session = checkout.session,
                        event = "payment.undecided",
                        "the provider did not decide about a checkout for a long time; the server \
                         does not ask again; check the payment at the provider"
                    );
                }
                (Answer::Undecided { is_last }, Vec::new())
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    provider = checkout.provider,
                    event = "payment.ask_failed",
                    "failed to ask the provider about a checkout; will retry"
                );
                if error.is_busy {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                (if error.is_busy { Answer::Busy } else { Answer::Failed }, Vec::new())
            }
        };
        (answer, found, result)
    }
}
