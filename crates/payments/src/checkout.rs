//! Creates checkouts for orders that wait for payment. An order has at most one open checkout.
use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::money::{Checkout, CheckoutOutcome, Money};
use doorbuster_core::{BuyerId, Order, OrderState, TicketId};
use doorbuster_engine::catalogue::Catalogue;
use doorbuster_engine::error::EngineError;
use doorbuster_gate::RateLimitExceeded;

use super::Payments;
use super::contract::{CheckoutStatus, NewCheckout, NewSession, ProviderError};

/// Result of a request for a checkout.
#[derive(Debug)]
pub enum CheckoutResult {
    /// The order's open checkout. A checkout of the sandbox has a URL without a host, which is a
    /// path of this server.
    Open(Checkout),
    /// The order does not wait for payment, or its payment window has ended.
    WrongState(OrderState),
    /// There is no such order.
    NotFound,
    /// A limit refused the request, because there were too many requests for checkouts.
    RateLimitExceeded(RateLimitExceeded),
    /// The provider cannot be reached now.
    Unavailable(ProviderError),
    /// The provider refuses to create a checkout for this order. Further requests would be refused
    /// too.
    Refused(ProviderError),
}

impl Payments {
    /// Returns the order's open checkout. If there is none, requests a new checkout from the
    /// provider; `may_ask` first checks the rate limits. `base` is this server's origin in the
    /// buyer's browser.
    ///
    /// # Errors
    ///
    /// Fails if the store is unreachable.
    pub async fn open(
        &self,
        id: TicketId,
        buyer: &BuyerId,
        base: &str,
        may_ask: impl AsyncFnOnce(&Order) -> Result<(), RateLimitExceeded>,
    ) -> Result<CheckoutResult, EngineError> {
        let store = self.node.store();
        let Some(order) = store.order(id).await?.filter(|order| order.buyer == *buyer) else {
            return Ok(CheckoutResult::NotFound);
        };
        // The store's monotonic time decides when an order expires.
        let monotonic_now = store.monotonic_now();
        if order.state != OrderState::Reserved || order.pay_by <= monotonic_now {
            return Ok(CheckoutResult::WrongState(order.state));
        }
        let before = store.checkout(id).await?;
        let kept = before.as_ref().filter(|kept| kept.open);
        let is_usable = |kept: &&Checkout| {
            kept.expires_at > monotonic_now && kept.provider == self.provider.name()
        };
        if let Some(kept) = kept.filter(is_usable) {
            return Ok(CheckoutResult::Open(with_order_deadline(kept.clone(), &order)));
        }
        if let Err(limited) = may_ask(&order).await {
            return Ok(CheckoutResult::RateLimitExceeded(limited));
        }
        if let Some(kept) = kept {
            // The old checkout is closed first, because the buyer may have paid there just before
            // its end.
            if let Some(other) = self.close_previous(&order, kept).await? {
                return Ok(other);
            }
        }
        let Some(new_checkout) = self.new_checkout(&order, before.as_ref(), base) else {
            return Ok(CheckoutResult::NotFound);
        };
        let (now, wall) = (self.node.now(), self.node.clock().wall());
        let opened = match self.provider.open(&new_checkout, now, wall).await {
            Ok(opened) => opened,
            Err(error) => {
                if error.is_refusal || error.is_forbidden {
                    tracing::error!(
                        %error,
                        %id,
                        event = "payment.checkout_refused",
                        "the payment provider refused to create a checkout for the order"
                    );
                }
                return Ok(match error.is_refusal {
                    true => CheckoutResult::Refused(error),
                    false => CheckoutResult::Unavailable(error),
                });
            }
        };
        failpoint::reach(Failpoint::CheckoutAsked);
        let kept = self.store_checkout(&order, opened).await;
        failpoint::reach(Failpoint::CheckoutKept);
        kept
    }

    /// Closes the order's previous checkout at the provider. Returns `None` if the order can now
    /// get a new checkout. Otherwise, returns the result for the buyer.
    async fn close_previous(
        &self,
        order: &Order,
        kept: &Checkout,
    ) -> Result<Option<CheckoutResult>, EngineError> {
        if kept.provider != self.provider.name() {
            let error = ProviderError::unavailable(format!(
                "the order's checkout belongs to {}, a provider that is not configured any more",
                kept.provider
            ));
            return Ok(Some(CheckoutResult::Unavailable(error)));
        }
        match self.provider.close(&order.id, &kept.session, self.node.clock().wall()).await {
            Ok(CheckoutStatus::Closed) => {
                failpoint::reach(Failpoint::CheckoutClosed);
                self.node.store().close_checkout(order.id, kept.session.clone()).await?;
                Ok(None)
            }
            Ok(CheckoutStatus::Paid(found)) => {
                for payment in found {
                    self.apply_found(payment).await?;
                }
                let state = self
                    .node
                    .store()
                    .order(order.id)
                    .await?
                    .map_or(order.state, |order| order.state);
                Ok(Some(CheckoutResult::WrongState(state)))
            }
            Ok(CheckoutStatus::Undecided) => Ok(Some(CheckoutResult::Unavailable(
                ProviderError::unavailable("a payment for this order is pending"),
            ))),
            Err(error) => Ok(Some(CheckoutResult::Unavailable(error))),
        }
    }

    /// Stores a new checkout. If the store rejects the checkout, closes the checkout at the
    /// provider. No payment is lost, because no buyer has seen this checkout.
    async fn store_checkout(
        &self,
        order: &Order,
        opened: NewSession,
    ) -> Result<CheckoutResult, EngineError> {
        let NewSession { session, url, expires_at } = opened;
        let new = Checkout {
            order: order.id,
            provider: self.provider.name().to_owned(),
            session: session.clone(),
            url,
            expires_at,
            open: true,
            at: self.node.now(),
            asked_at: None,
        };
        let (kept, other) = match self.node.store().keep_checkout(new).await? {
            CheckoutOutcome::Kept(kept) => {
                let is_other = kept.session != session;
                (CheckoutResult::Open(with_order_deadline(kept, order)), is_other)
            }
            CheckoutOutcome::WrongState(order) => (CheckoutResult::WrongState(order.state), true),
            CheckoutOutcome::NotFound => (CheckoutResult::NotFound, true),
        };
        let wall = self.node.clock().wall();
        if other && let Err(error) = self.provider.close(&order.id, &session, wall).await {
            tracing::debug!(%error, "failed to close an unused checkout; it expires by itself");
        }
        Ok(kept)
    }

    fn new_checkout(
        &self,
        order: &Order,
        before: Option<&Checkout>,
        base: &str,
    ) -> Option<NewCheckout> {
        let catalogue = self.node.catalogue();
        let item = catalogue.item_by_id(order.item)?;
        let pages = self.page_origin.as_deref().or(self.public_url.as_deref()).unwrap_or(base);
        let return_url = format!("{pages}/order/{}", order.id);
        // The idempotency key is a hash of these parts. A request with the same parts gets the same
        // checkout.
        let parts = format!(
            "{}\0{}\0{}\0{}\0{return_url}",
            order.id,
            before.map(|before| before.session.as_str()).unwrap_or_default(),
            order.pay_by.0,
            item.row.title,
        );
        Some(NewCheckout {
            order: order.id,
            key: format!("checkout_{}", blake3::hash(parts.as_bytes()).to_hex()),
            title: item.row.title.clone(),
            units: order.units.get(),
            price: Money { minor: item.row.price_minor, currency: item.row.currency.clone() },
            total: order_total(&catalogue, order)?,
            pay_by: order.pay_by,
            return_url,
        })
    }

    /// Returns this server's origin in browsers: the configured URL, or a URL with the host of the
    /// request.
    pub fn public_base_url(&self, host: Option<&str>) -> String {
        match (&self.public_url, host) {
            (Some(public_url), _) => public_url.clone(),
            (None, Some(host)) => format!("http://{host}"),
            (None, None) => String::new(),
        }
    }
}

/// Returns the price of all units of the order. Returns `None` if the catalogue does not contain
/// the item.
pub(super) fn order_total(catalogue: &Catalogue, order: &Order) -> Option<Money> {
    let item = catalogue.item_by_id(order.item)?;
    let minor = item.row.price_minor.checked_mul(i64::from(order.units.get()))?;
    Some(Money { minor, currency: item.row.currency.clone() })
}

/// Returns the checkout with its end limited to the end of the order's payment window. The provider
/// may accept payments after this end, but this server does not.
fn with_order_deadline(mut kept: Checkout, order: &Order) -> Checkout {
    kept.expires_at = kept.expires_at.min(order.pay_by);
    kept
}
