//! Asks the provider about checkouts that are over: of orders that are due, before their units return, and of orders that ended. Run by the leader.
//!
//! What the provider says decides: it took money (then the order is paid, whatever became of the message), or it closes the checkout. While it
//! cannot be asked, a due order waits, for as long as the rules have it and no longer.
use std::time::Duration;

use doorbuster_core::money::Checkout;
use doorbuster_core::{Order, OrderState};
use futures_util::StreamExt;

use super::Payments;
use super::provider::Standing;
use crate::engine::EngineError;

/// Checkouts that are read at once.
const PAGE: usize = 256;
/// Checkouts that are asked about at the same time.
const AT_ONCE: usize = 16;
/// Between two looks. A hold that ended is told within two seconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two questions about a checkout of a due order, when its provider cannot be asked or does not know yet.
const AGAIN_MS: i64 = 2_000;
/// The same of an order that ended: nothing waits for it.
const AGAIN_LATER_MS: i64 = 60_000;

impl Payments {
    /// Asks until the program stops.
    pub(super) async fn reconcile(&self) {
        loop {
            let is_full = match self.leads() {
                true => self.ask_all().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "checkouts that are over could not be looked for");
                    false
                }),
                false => {
                    self.meter.lag(0);
                    false
                }
            };
            if !is_full {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Asks about every checkout that is over. True: there are more.
    async fn ask_all(&self) -> Result<bool, EngineError> {
        let found = self.engine.store().checkouts_to_close(PAGE).await?;
        let now = self.engine.now();
        let since = |order: &Order| order.ended_at.or(order.paid_at).unwrap_or(order.pay_by).0;
        self.meter.lag(found.iter().map(|(_, order)| now.0 - since(order)).max().unwrap_or(0).max(0));
        let is_full = found.len() == PAGE;
        let asking = futures_util::stream::iter(found).map(|(checkout, order)| self.ask(checkout, order));
        asking
            .buffer_unordered(AT_ONCE)
            .for_each(async |asked| {
                if let Err(error) = asked {
                    tracing::warn!(%error, "what a provider said of a checkout could not be written down");
                }
            })
            .await;
        Ok(is_full)
    }

    async fn ask(&self, checkout: Checkout, order: Order) -> Result<(), EngineError> {
        let store = self.engine.store();
        let again_ms = if order.state == OrderState::Reserved { AGAIN_MS } else { AGAIN_LATER_MS };
        if checkout.provider != self.provider.name() {
            store.put_off_checkout(order.id, checkout.session, AGAIN_LATER_MS).await?;
            return Ok(());
        }
        let said = self.provider.close(&order.id, &checkout.session).await;
        self.meter.ask(said.is_err());
        match said {
            Ok(Standing::Closed) => {}
            Ok(Standing::Paid(captures)) => {
                for told in captures {
                    self.captured(told).await?;
                }
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
        Ok(())
    }
}
