//! Asks the provider about checkouts that are over: of orders that are due, before their units return, and of orders that ended. Run by the leader.
//!
//! What the provider says decides: it took money (then the order is paid, whatever became of the message), or it closes the checkout. While it
//! cannot be asked, a due order waits, for as long as the rules have it and no longer.
use std::collections::HashSet;
use std::time::Duration;

use doorbuster_api::payment::Outcome;
use doorbuster_core::money::{Checkout, PaymentId};
use doorbuster_core::{Order, OrderState};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Payments;
use super::provider::Standing;
use crate::engine::EngineError;
use crate::failpoint::{self, Point};

/// Checkouts that are read at once.
const PAGE: usize = 256;
/// Checkouts that are asked about at the same time.
const AT_ONCE: usize = 32;
/// Between two looks. A hold that ended is told within two seconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long nobody is asked after an answer that could not be written down.
const REST: Duration = Duration::from_secs(1);
/// Between two questions about a checkout of a due order, when its provider cannot be asked or does not know yet.
const AGAIN_MS: i64 = 2_000;
/// The same of an order that ended: nothing waits for it.
const AGAIN_LATER_MS: i64 = 60_000;

impl Payments {
    /// Asks until the program stops. What waits longest for its answer keeps its own place, and no other's.
    pub(super) async fn reconcile(&self) {
        let (mut asking, mut asked) = (FuturesUnordered::new(), HashSet::new());
        loop {
            let mut waiting = match self.leads() {
                true => self.to_ask().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "checkouts that are over could not be looked for");
                    Vec::new()
                }),
                false => {
                    self.meter.lag(0);
                    Vec::new()
                }
            };
            // They are told until they are answered: those that are asked about already are left out.
            waiting.retain(|(checkout, _): &(Checkout, Order)| !asked.contains(&checkout.session));
            waiting.reverse();
            let mut all_noted = true;
            let look = tokio::time::sleep(LOOK_EVERY);
            tokio::pin!(look);
            loop {
                while asking.len() < AT_ONCE
                    && let Some((checkout, order)) = waiting.pop()
                {
                    let session = checkout.session.clone();
                    if asked.insert(session.clone()) {
                        asking.push(async move { (session, self.ask(checkout, order).await) });
                    }
                }
                tokio::select! {
                    Some((session, answered)) = asking.next(), if !asking.is_empty() => {
                        asked.remove(&session);
                        if let Err(error) = answered {
                            all_noted = false;
                            tracing::warn!(%error, "what a provider said of a checkout could not be written down");
                        }
                    }
                    () = &mut look => break,
                }
            }
            if !all_noted {
                // They are over still: without a rest the provider would hear of them as fast as it answers.
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Checkouts that are over, those of orders that wait for it first.
    async fn to_ask(&self) -> Result<Vec<(Checkout, Order)>, EngineError> {
        let found = self.engine.store().checkouts_to_close(PAGE).await?;
        let now = self.engine.now();
        let since = |order: &Order| order.ended_at.or(order.paid_at).unwrap_or(order.pay_by).0;
        self.meter.lag(found.iter().map(|(_, order)| now.0 - since(order)).max().unwrap_or(0).max(0));
        Ok(found)
    }

    /// Asks whether a payment that nobody told of went back in the meantime.
    async fn look_back(&self, payment: &PaymentId) -> Result<(), EngineError> {
        match self.provider.reversed(payment).await {
            Ok(Some(reversal)) => drop(self.reversed(reversal).await?),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, payment = payment.0, "a provider could not be asked about a payment"),
        }
        Ok(())
    }

    async fn ask(&self, checkout: Checkout, order: Order) -> Result<(), EngineError> {
        let store = self.engine.store();
        let again_ms = if order.state == OrderState::Reserved { AGAIN_MS } else { AGAIN_LATER_MS };
        if checkout.provider != self.provider.name() {
            store.put_off_checkout(order.id, checkout.session, AGAIN_LATER_MS).await?;
            return Ok(());
        }
        let said = self.provider.close(&order.id, &checkout.session).await;
        failpoint::pass(Point::ReconcileAsked);
        self.meter.ask(said.is_err());
        match said {
            Ok(Standing::Closed) => {}
            Ok(Standing::Paid(captures)) => {
                for told in captures {
                    let payment = told.payment.clone();
                    if self.captured(told).await? == Outcome::Paid {
                        // Whoever lost the message of it may have lost that it went back, too.
                        self.look_back(&payment).await?;
                    }
                }
                failpoint::pass(Point::ReconcileCaptured);
            }
            Ok(Standing::Undecided) => {
                store.put_off_checkout(order.id, checkout.session, again_ms).await?;
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(%error, provider = checkout.provider, "a provider could not be asked about a checkout");
                store.put_off_checkout(order.id, checkout.session, again_ms).await?;
                return Ok(());
            }
        }
        store.close_checkout(order.id, checkout.session).await?;
        failpoint::pass(Point::ReconcileClosed);
        Ok(())
    }
}
