//! The configured payment provider. A new provider needs a file, and one arm in each `match` here.
use std::sync::Arc;

use bytes::Bytes;
use doorbuster_api::limits::{ADMIN_BODY_BYTES_MAX, BODY_BYTES_MAX};
use doorbuster_base::signing::SigningKey;
use doorbuster_config::ProviderSettings;
use doorbuster_core::money::{PaymentId, Refund, RefundUpdate, ReversalReport};
use doorbuster_core::{Millis, TicketId};
use doorbuster_engine::node::Node;
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};

use super::contract::{
    CheckoutStatus, MessageError, NewCheckout, NewSession, ProviderError, ProviderMessage,
    UnpayablePrice,
};
use super::sandbox::Sandbox;
use super::stripe::Stripe;

/// A payment provider.
pub enum Provider {
    /// The built-in provider.
    Sandbox(Sandbox),
    /// Stripe.
    Stripe(Stripe),
}

impl Provider {
    pub(super) fn renew_client(&self) {
        match self {
            // The sandbox uses no TLS.
            Self::Sandbox(_) => {}
            Self::Stripe(stripe) => stripe.renew_client(),
        }
    }

    /// Creates the configured provider. `secrets` sign and verify the sandbox's messages. The
    /// newest secret comes first.
    pub(super) fn configured(
        node: &Arc<Node>,
        settings: &ProviderSettings,
        secrets: &[SecretString],
    ) -> Self {
        match settings {
            ProviderSettings::Sandbox => {
                let keys = secrets
                    .iter()
                    .filter_map(|secret| SigningKey::parse(secret.expose_secret()))
                    .collect();
                Self::Sandbox(Sandbox::new(node.clone(), keys))
            }
            ProviderSettings::Stripe(stripe) => {
                // The mark of this installation is a hash with the installation's key, like the
                // hash of a purchase. No buyer's id begins with a control character, so no purchase
                // has the same hash.
                let mark = node.id_key().request_hash("\u{1}installation", super::stripe::NAME).0;
                Self::Stripe(Stripe::new(stripe, format!("{mark:032x}")))
            }
        }
    }

    /// Returns the size of the provider's largest message, in bytes.
    pub fn message_bytes_max(&self) -> usize {
        match self {
            Self::Sandbox(_) => BODY_BYTES_MAX,
            // Stripe's messages are large: each contains the whole object that it reports, for
            // example a session.
            Self::Stripe(_) => ADMIN_BODY_BYTES_MAX,
        }
    }

    /// Returns the provider's name, as it stands in the store, in paths and in the settings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => super::sandbox::NAME,
            Self::Stripe(_) => super::stripe::NAME,
        }
    }

    /// Returns how many further requests the provider's client has sent since the last call.
    /// Closing a checkout sometimes needs a second request, which counts against the rate limit.
    pub(super) fn take_further_requests(&self) -> u32 {
        match self {
            Self::Sandbox(_) => 0,
            Self::Stripe(provider) => provider.take_further_requests(),
        }
    }

    pub(super) fn queries_per_sec(&self) -> u32 {
        match self {
            Self::Sandbox(_) => super::sandbox::QUERIES_PER_SEC,
            Self::Stripe(provider) => provider.queries_per_sec(),
        }
    }

    /// If the provider does not accept this price of one unit, returns the reason.
    pub fn refuses_price(&self, minor: i64, currency: &str) -> Option<UnpayablePrice> {
        match self {
            Self::Sandbox(_) => None,
            Self::Stripe(_) => super::stripe::refuses_price(minor, currency),
        }
    }

    /// Creates a checkout. `now` and the end of the checkout are in the store's time. `wall` is the
    /// time of the wall clock.
    pub async fn open(
        &self,
        wanted: &NewCheckout,
        now: Millis,
        wall: Millis,
    ) -> Result<NewSession, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.open(wanted).await,
            Self::Stripe(provider) => provider.open(wanted, now, wall).await,
        }
    }

    /// Closes a checkout and returns its state. The call is idempotent. `wall` is the time of the
    /// wall clock.
    pub async fn close(
        &self,
        order: &TicketId,
        session: &str,
        wall: Millis,
    ) -> Result<CheckoutStatus, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.close(order, session).await,
            Self::Stripe(provider) => provider.close(order, session, wall).await,
        }
    }

    /// Requests a refund. The refund's id is the idempotency key.
    pub async fn refund(&self, refund: &Refund) -> Result<RefundUpdate, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.refund(refund).await,
            Self::Stripe(provider) => provider.refund(refund).await,
        }
    }

    /// Asks for the progress of an accepted refund.
    pub(crate) async fn refund_status(
        &self,
        refund: &Refund,
    ) -> Result<RefundUpdate, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.refund(refund).await,
            Self::Stripe(provider) => provider.refund_status(refund).await,
        }
    }

    /// Returns the reversal of a captured payment, if the provider knows one.
    pub(crate) async fn reversal_of(
        &self,
        payment: &PaymentId,
        wall: Millis,
    ) -> Result<Option<ReversalReport>, ProviderError> {
        match self {
            // Asking is not necessary: the sandbox's messages are in the same database as the
            // payments. A failover that loses a reversal also loses the record that the message
            // about this reversal was sent. The sandbox then sends the message again.
            Self::Sandbox(_) => Ok(None),
            Self::Stripe(provider) => provider.reversal_of(payment, wall).await,
        }
    }

    /// Verifies and parses a message.
    pub fn read(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        now: Millis,
    ) -> Result<ProviderMessage, MessageError> {
        match self {
            Self::Sandbox(provider) => provider.read(headers, body, now),
            Self::Stripe(provider) => provider.read(headers, body, now),
        }
    }
}
