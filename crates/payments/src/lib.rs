//! Payments and refunds at a payment provider. The provider reports payments and refunds in
//! messages, which are webhook requests. Each message takes effect only once. Messages can be lost,
//! so the server also asks about each checkout and refund until the result is final.
//!
//! | file | what it does |
//! |---|---|
//! | `contract` | defines the contract with a provider |
//! | `provider` | calls the configured provider |
//! | `sandbox`, `stripe` | implement the providers |
//! | `checkout` | creates the checkouts at which orders are paid |
//! | `inbox` | handles providers' messages |
//! | `checkout_closing` | asks the provider about ended checkouts, before the orders' units return |
//! | `silence` | detects a provider that does not answer |
//! | `failover` | after a failover, applies the payments that the new database lacks |
//! | `refunds` | requests refunds and asks for their progress |
//! | `metrics` | counts messages, refunds and requests |
mod checkout;
mod checkout_closing;
pub mod contract;
mod failover;
#[cfg(test)]
mod fixture;
mod inbox;
mod metrics;
pub mod provider;
mod refunds;
pub mod sandbox;
mod silence;
mod stripe;

use std::sync::Arc;

use doorbuster_config::Settings;
use doorbuster_engine::node::Node;
use doorbuster_engine::orders::Orders;
use doorbuster_engine::scheduler::Work;

pub use checkout::CheckoutResult;
use contract::UnpayablePrice;
use failover::AppliedPayments;
pub(crate) use metrics::PaymentMetrics;
pub use metrics::RefundStep;
use provider::Provider;
use sandbox::Sandbox;
use secrecy::SecretString;

/// The payment service of this node.
pub struct Payments {
    node: Arc<Node>,
    orders: Arc<Orders>,
    provider: Provider,
    meter: PaymentMetrics,
    /// Whether this node has the role `control`. Only a node with this role can be the leader.
    controls: bool,
    /// Whether this node has the role `api`. Only a node with this role can receive the sandbox's
    /// messages.
    serves_api: bool,
    /// The origin of the shop's pages to which buyers return after a payment. `None` if these pages
    /// are at this server.
    page_origin: Option<String>,
    /// Whether the buttons of the sandbox's checkout page work for buyers.
    sandbox_page: bool,
    /// This server's URL for browsers, if the settings name one.
    public_url: Option<String>,
    /// The payments to apply again after a failover. `None` if the store cannot fail over.
    applied: Option<AppliedPayments>,
}

impl Payments {
    /// Creates the payment service. `secrets` sign and verify the sandbox's messages. The newest
    /// secret comes first.
    pub fn new(
        node: Arc<Node>,
        orders: Arc<Orders>,
        settings: &Settings,
        secrets: &[SecretString],
    ) -> Self {
        Self {
            provider: Provider::configured(&node, &settings.payment.provider, secrets),
            applied: node.store().history_changes().map(|_| AppliedPayments::default()),
            node,
            orders,
            meter: PaymentMetrics::default(),
            controls: settings.roles.control,
            serves_api: settings.roles.api,
            sandbox_page: settings.payment.sandbox_page,
            page_origin: settings.page_origin.clone(),
            public_url: settings.page_url.clone(),
        }
    }

    /// Returns the sandbox, if the settings choose it.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        if let Provider::Sandbox(sandbox) = &self.provider { Some(sandbox) } else { None }
    }

    /// Returns the sandbox if this node must send the sandbox's messages. A node sends these
    /// messages to itself, so it must serve the API.
    fn message_sender(&self) -> Option<&Sandbox> {
        self.sandbox().filter(|_| self.serves_api)
    }

    /// Returns whether buyers may use the sandbox's buttons, which mark an order as paid without
    /// money.
    pub fn sandbox_page(&self) -> bool {
        self.sandbox_page
    }

    /// Returns the provider.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    /// If the provider does not accept this price, returns the reason.
    pub fn refuses_price(&self, minor: i64, currency: &str) -> Option<UnpayablePrice> {
        self.provider.refuses_price(minor, currency)
    }

    /// Returns the payment counters.
    pub fn meter(&self) -> &PaymentMetrics {
        &self.meter
    }

    /// Wakes the refund job, because a refund may be due now.
    pub fn wake_refunds(&self) {
        self.node.control().scheduler().wake(Work::Refunds);
    }

    /// Makes the next call to the provider use the system's newest certificates.
    pub fn renew_client(&self) {
        self.provider.renew_client();
    }

    /// Runs the payment jobs until the program stops.
    pub async fn run_jobs(&self) {
        let sending = async {
            match self.message_sender() {
                Some(sandbox) => sandbox.send_messages().await,
                None => std::future::pending().await,
            }
        };
        let asking = async {
            if self.controls {
                let forgetting = async {
                    if let Some(sandbox) = self.sandbox() {
                        sandbox.delete_expired().await;
                    }
                };
                tokio::join!(self.close_ended_checkouts(), self.settle_refunds(), forgetting);
            }
            std::future::pending::<()>().await
        };
        tokio::join!(sending, asking, self.follow_failovers());
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_base::clock::Clock;
    use doorbuster_testkit::TempDir;

    use super::*;

    #[tokio::test]
    async fn only_a_node_that_serves_the_api_sends_the_sandboxs_messages() {
        let dir = TempDir::new();
        let engine = fixture::engine(&dir, Clock::default()).await;
        let provider = Provider::Sandbox(Sandbox::new(engine.node.clone(), Vec::new()));
        let mut payments =
            Payments { provider, ..fixture::stripe_payments(&engine, "http://127.0.0.1:1".into()) };
        assert!(payments.message_sender().is_some());
        payments.serves_api = false;
        assert!(payments.message_sender().is_none());
        assert!(payments.sandbox().is_some());
        engine.stock.stop_node().await;
    }
}
