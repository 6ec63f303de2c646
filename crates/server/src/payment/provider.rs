//! The contract with a payment provider: what it is asked, what it says, one file for each. Adding
//! one is a file and a line in each `match` here.
//!
//! Nothing that a provider is asked may happen twice because it is asked twice: a checkout and a
//! refund go under a key that is the same each time.
use std::sync::Arc;

use bytes::Bytes;
use doorbuster_api::limits::{ADMIN_BODY_BYTES_MAX, BODY_BYTES_MAX};
use doorbuster_core::money::{Capture, Money, Refund, RefundId, RefundUpdate};
use doorbuster_core::{Millis, TicketId};
use doorbuster_store::Reversal;
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};

use super::sandbox::Sandbox;
use super::stripe::Stripe;
use crate::config::ProviderSettings;
use crate::engine::Engine;
use crate::signing::SigningKey;

/// A provider that could not be asked, or that refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{why}")]
pub struct ProviderError {
    /// What it said, or why it said nothing.
    pub why: String,
    /// It understood, and said no: asking again changes nothing.
    pub is_refusal: bool,
    /// It answers that it is asked too much: nobody knows what it would have said, and asking again
    /// a little later helps.
    pub is_busy: bool,
}

impl ProviderError {
    /// It could not be asked, or could not answer: asking again may help.
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_refusal: false, is_busy: false }
    }

    /// It said no.
    pub(crate) fn refusal(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_refusal: true, is_busy: false }
    }
}

/// Why a provider's message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MessageError {
    /// Nothing proves that the provider sent it, now.
    Unverified(String),
    /// It was sent by the provider, and is not what it must be.
    Malformed(String),
}

/// What a provider's message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProviderMessage {
    /// Money was captured.
    Captured(Capture),
    /// A payment did not succeed. `None`: the message does not say how much was tried.
    FailedPayment(FailedPayment),
    /// How far a refund is.
    Refund {
        /// The message's id.
        event: String,
        /// Which refund.
        id: RefundId,
        /// What of it.
        news: RefundUpdate,
        /// What it is if we asked for none: somebody else sent the money back.
        if_not_ours: Option<Reversal>,
    },
    /// Money went back without having been asked to, or did not after all.
    Reversed {
        /// What is said of it.
        told: Reversal,
        /// The order that the message names, where it is by our own mark; as it was written.
        order: Option<String>,
    },
    /// A checkout takes no money any more.
    Closed {
        /// For which order, as it was written.
        order: String,
        /// Which one.
        session: String,
    },
    /// Nothing that is used here.
    Unused,
}

/// A payment that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedPayment {
    /// The message's id.
    pub event: String,
    /// Which payment.
    pub payment: String,
    /// For which order, as it was written.
    pub order: String,
    /// How much was tried, if the message says.
    pub money: Option<Money>,
    /// The checkout where it was tried, if it is spent by that: the buyer needs another one.
    pub session: Option<String>,
}

/// A checkout to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewCheckout {
    /// For which order.
    pub order: TicketId,
    /// The same for as long as the same is wanted: asking again makes no second checkout.
    pub key: String,
    /// What is bought, for people.
    pub title: String,
    /// How many.
    pub units: u32,
    /// What one costs.
    pub price: Money,
    /// What all of them cost.
    pub total: Money,
    /// When the order's payment window ends.
    pub pay_by: Millis,
    /// Where the buyer's browser goes afterwards.
    pub return_url: String,
}

impl NewCheckout {
    /// Where the buyer's browser goes after `what` happened there, as far as the browser knows: a
    /// hint for the page's words, and never believed.
    pub(crate) fn return_url_with(&self, what: &str) -> String {
        format!("{}?back={what}", self.return_url)
    }
}

/// A checkout that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewSession {
    /// The provider's id of it.
    pub session: String,
    /// Where the buyer's browser goes; a path is one of this server.
    pub url: String,
    /// Until when it takes money, as far as was asked for.
    pub expires_at: Millis,
}

/// What a provider says of a checkout that it is asked to close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckoutStatus {
    /// It takes no money any more, and took none.
    Closed,
    /// It took money, and takes no more.
    Paid(Vec<FoundPayment>),
    /// Money is on its way, and may not arrive: ask again.
    Undecided,
}

/// A payment that was found by asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundPayment {
    /// What was captured.
    pub told: Capture,
    /// What of it went back since, at the provider's own console.
    pub back: Option<Reversal>,
}

/// Why a provider takes no money at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnpayablePrice {
    /// The member of the price that it is about.
    pub member: &'static str,
    /// What of it.
    pub why: &'static str,
}

/// A provider.
pub(crate) enum Provider {
    /// The built-in one.
    Sandbox(Sandbox),
    /// Stripe.
    Stripe(Stripe),
}

impl Provider {
    /// The one that is configured. `secrets` verify and sign the sandbox's messages, newest first.
    pub(super) fn configured(
        engine: &Arc<Engine>,
        settings: &ProviderSettings,
        secrets: &[SecretString],
    ) -> Self {
        match settings {
            ProviderSettings::Sandbox => {
                let keys = secrets
                    .iter()
                    .filter_map(|secret| SigningKey::parse(secret.expose_secret()))
                    .collect();
                Self::Sandbox(Sandbox::new(engine.clone(), keys))
            }
            ProviderSettings::Stripe(stripe) => {
                // No buyer's name begins with a control character, so this is nobody's request.
                let mark = engine.id_key().request_hash("\u{1}installation", super::stripe::NAME).0;
                Self::Stripe(Stripe::new(stripe, format!("{mark:032x}")))
            }
        }
    }

    /// Longest message that it sends.
    pub(crate) fn message_bytes_max(&self) -> usize {
        match self {
            Self::Sandbox(_) => BODY_BYTES_MAX,
            // An event carries the whole of what it is about.
            Self::Stripe(_) => ADMIN_BODY_BYTES_MAX,
        }
    }

    /// Its name: in rows, in addresses, in settings.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sandbox(_) => super::sandbox::NAME,
            Self::Stripe(_) => super::stripe::NAME,
        }
    }

    /// Why it takes no money at this price of one unit, if it does not.
    pub(crate) fn refuses_price(&self, minor: i64, currency: &str) -> Option<UnpayablePrice> {
        match self {
            Self::Sandbox(_) => None,
            Self::Stripe(_) => super::stripe::refuses_price(minor, currency),
        }
    }

    /// Makes a checkout.
    pub(crate) async fn open(
        &self,
        wanted: &NewCheckout,
        now: Millis,
    ) -> Result<NewSession, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.open(wanted).await,
            Self::Stripe(provider) => provider.open(wanted, now).await,
        }
    }

    /// Closes a checkout, and says what it came to. May be asked again.
    pub(crate) async fn close(
        &self,
        order: &TicketId,
        session: &str,
    ) -> Result<CheckoutStatus, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.close(order, session).await,
            Self::Stripe(provider) => provider.close(order, session).await,
        }
    }

    /// Asks for a refund, under its id as the key.
    pub(crate) async fn refund(&self, refund: &Refund) -> Result<RefundUpdate, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.refund(refund).await,
            Self::Stripe(provider) => provider.refund(refund).await,
        }
    }

    /// Asks how far a refund is that was accepted.
    pub(crate) async fn refund_status(
        &self,
        refund: &Refund,
    ) -> Result<RefundUpdate, ProviderError> {
        match self {
            Self::Sandbox(provider) => provider.refund(refund).await,
            Self::Stripe(provider) => provider.refund_status(refund).await,
        }
    }

    /// Verifies and reads a message.
    pub(crate) fn read(
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
