//! Stripe: Checkout Sessions, refunds and signed events, over its HTTP API.
//!
//! Every change goes under an `Idempotency-Key` of ours. Amounts are in the currency's smallest unit on both sides. A session lives for half an hour
//! at least, longer than most payment windows: it is closed when the order's own window ends, by asking.
mod api;
mod event;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_core::money::{Capture, PaymentId, Refund, RefundNews};
use doorbuster_core::{Millis, TicketId};
use http::HeaderMap;
use serde_json::Value;

use super::provider::{
    Found, Message, NewCheckout, Opened, ProviderError, Standing, Unpayable, Unread,
};
use crate::config::StripeSettings;
use crate::signing::SigningKey;
use api::Api;
use event::captured;

/// Its name.
pub(crate) const NAME: &str = "stripe";
/// Shortest life of a session, as Stripe has it, and a little for clocks that differ.
const LIFE_MIN: Duration = Duration::from_secs(31 * 60);
/// Longest life of a session, as Stripe has it, less a little.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3_600 - 60);
/// When to ask again about a refund that was accepted: Stripe tells by itself, and this is for messages that are lost.
const ASK_AGAIN_MS: i64 = 600_000;

/// Currencies whose smallest unit at Stripe is not that of ISO 4217: an amount would be a hundred times too small, or too large.
const OTHER_UNITS: [&str; 3] = ["ISK", "MGA", "UGX"];
/// Currencies of three decimals: Stripe takes only amounts whose last digit is 0.
const IN_TENS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];
/// What is asked of a session beside itself: how far its payment is, and what of it was given back.
const WITH_PAYMENT: &str = "expand%5B0%5D=payment_intent.latest_charge";

/// Stripe.
#[derive(Debug)]
pub(crate) struct Stripe {
    api: Api,
    /// Secrets of its signing, newest first.
    keys: Vec<SigningKey>,
    /// What this installation knows its own sessions by: others may use the same account.
    mark: String,
    /// Whether it was said that the key may not read payments.
    has_warned: AtomicBool,
}

impl Stripe {
    /// Stripe as it is configured. `mark` is the same on every node of this installation, and on no other's.
    pub(crate) fn new(settings: &StripeSettings, mark: String) -> Self {
        use secrecy::ExposeSecret;
        // Stripe signs with the secret as it is written, prefix and all.
        let keys = settings
            .webhook_secrets
            .iter()
            .map(|secret| SigningKey::new(secret.expose_secret().as_bytes()));
        let api = Api::new(&settings.api_url, settings.secret_key.clone());
        Self { keys: keys.collect(), api, mark, has_warned: AtomicBool::new(false) }
    }

    /// See [`super::provider::Provider::open`].
    pub(super) async fn open(
        &self,
        wanted: &NewCheckout,
        now: Millis,
    ) -> Result<Opened, ProviderError> {
        if let Some(no) = refuses_price(wanted.price.minor, &wanted.price.currency) {
            return Err(ProviderError::refusal(no.why));
        }
        let life = Duration::from_millis((wanted.pay_by.0 - now.0).max(0).unsigned_abs())
            .clamp(LIFE_MIN, LIFE_MAX);
        // The same all through a minute, so that asking again with the same key says the same.
        let minute_secs = now.0.div_euclid(60_000) * 60;
        let ends_secs = match life {
            LIFE_MIN => minute_secs + 60 + LIFE_MIN.as_secs() as i64,
            LIFE_MAX => minute_secs + LIFE_MAX.as_secs() as i64,
            _ => now.plus(life.as_millis() as i64).0 / 1_000,
        };
        let order = wanted.order.to_string();
        let form = [
            ("mode", "payment".to_owned()),
            ("client_reference_id", order.clone()),
            ("metadata[order]", order.clone()),
            ("metadata[doorbuster]", self.mark.clone()),
            ("payment_intent_data[metadata][order]", order),
            ("payment_intent_data[metadata][doorbuster]", self.mark.clone()),
            ("line_items[0][quantity]", wanted.units.to_string()),
            ("line_items[0][price_data][currency]", wanted.price.currency.to_ascii_lowercase()),
            ("line_items[0][price_data][unit_amount]", wanted.price.minor.to_string()),
            ("line_items[0][price_data][product_data][name]", wanted.title.clone()),
            ("expires_at", ends_secs.to_string()),
            ("success_url", wanted.back("paid")),
            ("cancel_url", wanted.back("left")),
        ];
        // Stripe keeps an answer for each key for a day, even that it was out of order: another minute, another key.
        let key = format!("{}_{ends_secs}_{}", wanted.key, now.0.div_euclid(60_000));
        let made = self.api.post("/v1/checkout/sessions", &form, Some(&key)).await?;
        let word =
            |name: &str| made[name].as_str().map(str::to_owned).ok_or_else(|| nonsense(name));
        Ok(Opened {
            session: word("id")?,
            url: word("url")?,
            expires_at: Millis(ends_secs * 1_000),
        })
    }

    /// See [`super::provider::Provider::close`].
    pub(super) async fn close(
        &self,
        order: &TicketId,
        session: &str,
    ) -> Result<Standing, ProviderError> {
        let path = format!("/v1/checkout/sessions/{}", escaped(session));
        let said = match self.api.post(&format!("{path}/expire"), &[], None).await {
            // Only an open session can be closed: it was paid, or is over already.
            Err(error) if error.is_refusal => self.session(&path).await?,
            said => said?,
        };
        let payment = &said["payment_intent"];
        match (said["status"].as_str(), said["payment_status"].as_str()) {
            (Some("expired"), _) => Ok(Standing::Closed),
            (Some("complete"), Some("paid" | "no_payment_required")) => {
                let told = captured(&said, &format!("ask:{session}"));
                let told = told.map_err(|why| {
                    ProviderError::away(format!("Stripe's session {session}: {why}"))
                })?;
                let told = Capture { order: order.to_string(), ..told };
                Ok(Standing::Paid(vec![Found {
                    told,
                    back: event::given_back(&payment["latest_charge"]),
                }]))
            }
            // The bank refused what it was asked for: nothing was taken, and a session that was gone through is spent.
            (Some("complete"), _)
                if matches!(
                    payment["status"].as_str(),
                    Some("requires_payment_method" | "canceled")
                ) =>
            {
                Ok(Standing::Closed)
            }
            (Some("complete" | "open"), _) => Ok(Standing::Undecided),
            _ => Err(nonsense("status")),
        }
    }

    /// A session with its payment, or without that where the key may not read it: whether it was paid is known all the same.
    async fn session(&self, path: &str) -> Result<Value, ProviderError> {
        match self.api.get(&format!("{path}?{WITH_PAYMENT}")).await {
            Err(error) if error.is_forbidden => {
                let said = self.api.get(path).await?;
                if !self.has_warned.swap(true, Ordering::Relaxed) {
                    let error = ProviderError::from(error);
                    tracing::warn!(%error, "Stripe's key may not read payment intents and charges: what was given back by hand may not be known");
                }
                Ok(said)
            }
            said => Ok(said?),
        }
    }

    /// See [`super::provider::Provider::refund`].
    pub(super) async fn refund(&self, refund: &Refund) -> Result<RefundNews, ProviderError> {
        if refund.money.minor == 0 {
            // Nothing was taken.
            return Ok(RefundNews::Settled);
        }
        // Stripe keeps its first answer to a key, even that it was out of order. So a key serves for one try; there is another only after Stripe
        // said that nothing is on its way, and Stripe itself refunds no payment beyond what was paid.
        let key = match refund.error {
            None => refund.id.0.clone(),
            Some(_) => {
                let all = self.refunds_of(&refund.payment).await?;
                match how_far(&all, refund).filter(|_| back(&all) >= refund.money.minor) {
                    Some(news) => return Ok(news),
                    None => format!("{}_{}", refund.id.0, refund.next_at.0),
                }
            }
        };
        let form = [
            ("payment_intent", refund.payment.0.clone()),
            ("metadata[refund]", refund.id.0.clone()),
            ("metadata[order]", refund.order.clone()),
        ];
        match self.api.post("/v1/refunds", &form, Some(&key)).await {
            // Of the rest: whether all of it arrived, all refunds of the payment say. A key gets the same answer again, whatever failed since.
            Ok(made) if has_arrived(&made) && !is_whole(&made, refund) => self.look(refund).await,
            Ok(made) => Ok(event::news(&made)),
            // Somebody refunded it by hand, or our key was forgotten: what there is counts.
            Err(error) if error.code.as_deref() == Some("charge_already_refunded") => {
                self.look(refund).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// See [`super::provider::Provider::look`].
    pub(super) async fn look(&self, refund: &Refund) -> Result<RefundNews, ProviderError> {
        if refund.money.minor == 0 {
            return Ok(RefundNews::Settled);
        }
        let all = self.refunds_of(&refund.payment).await?;
        how_far(&all, refund).ok_or_else(|| ProviderError::away("Stripe knows of no such refund"))
    }

    /// Every refund of this payment.
    async fn refunds_of(&self, payment: &PaymentId) -> Result<Vec<Value>, ProviderError> {
        let path = format!("/v1/refunds?payment_intent={}&limit=100", escaped(&payment.0));
        match self.api.get(&path).await?["data"].take() {
            Value::Array(all) => Ok(all),
            _ => Err(nonsense("data")),
        }
    }

    /// See [`super::provider::Provider::read`].
    pub(super) fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Millis,
    ) -> Result<Message, Unread> {
        event::verify(headers, body, &self.keys, now)?;
        event::read(body, &self.mark)
    }
}

/// Why Stripe takes no money at this price here, if it does not.
pub(super) fn refuses_price(minor: i64, currency: &str) -> Option<Unpayable> {
    if OTHER_UNITS.contains(&currency) {
        let why = "the payment provider counts this currency in other units (ISK, MGA, UGX); prices must be in another one";
        return Some(Unpayable { member: "currency", why });
    }
    // An order is a multiple of it, and ends in the same digit.
    (IN_TENS.contains(&currency) && minor % 10 != 0).then_some(Unpayable {
        member: "amount_minor",
        why: "must end in 0: the payment provider takes two decimals of this currency (BHD, JOD, KWD, OMR, TND)",
    })
}

/// Whether it was made for this refund.
fn is_ours(made: &Value, refund: &Refund) -> bool {
    made["metadata"]["refund"].as_str() == Some(&refund.id.0)
}

/// Whether it is of the whole payment.
fn is_whole(made: &Value, refund: &Refund) -> bool {
    made["amount"].as_i64() == Some(refund.money.minor)
}

fn has_arrived(made: &Value) -> bool {
    made["status"].as_str() == Some("succeeded")
}

/// Whether it arrived or is on its way.
fn lives(made: &Value) -> bool {
    !matches!(made["status"].as_str(), Some("failed" | "canceled"))
}

/// What of a payment arrived or is on its way back, in all of its refunds.
fn back(all: &[Value]) -> i64 {
    sum(all, lives)
}

fn sum(all: &[Value], counts: fn(&Value) -> bool) -> i64 {
    all.iter().filter(|made| counts(made)).filter_map(|made| made["amount"].as_i64()).sum()
}

/// How far a refund is, by all refunds of its payment: of what somebody gave back by hand ours is only the rest. `None`: there is none of it.
fn how_far(all: &[Value], refund: &Refund) -> Option<RefundNews> {
    let ours = || all.iter().filter(|made| is_ours(made, refund));
    if sum(all, has_arrived) >= refund.money.minor {
        return Some(RefundNews::Settled);
    }
    if back(all) >= refund.money.minor || ours().any(|made| lives(made) && !has_arrived(made)) {
        return Some(RefundNews::Accepted { again_ms: ASK_AGAIN_MS });
    }
    if ours().any(has_arrived) {
        return Some(RefundNews::CameBack(
            "a part that was given back by hand did not arrive".to_owned(),
        ));
    }
    // What is left came to nothing.
    let made = ours().next().or_else(|| all.iter().find(|made| is_whole(made, refund)));
    made.map(event::news)
}

fn nonsense(name: &str) -> ProviderError {
    ProviderError::away(format!("Stripe's answer has no {name} that can be used"))
}

/// An id as a part of a path or a query.
fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    text.bytes()
        .map(
            |byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Stripe's documentation says of currencies without decimals; all others that it takes in have two, or three.
    const WITHOUT_DECIMALS: [&str; 15] = [
        "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
        "XOF", "XPF",
    ];

    #[test]
    fn amounts_are_sent_only_where_stripe_counts_as_iso_4217_does() {
        use doorbuster_api::value::Currency;
        let more =
            ["ISK", "UGX", "CNY", "EUR", "USD", "HUF", "TWD", "KWD", "BHD", "JOD", "OMR", "TND"];
        for code in WITHOUT_DECIMALS.iter().chain(&more) {
            let ours = Currency::parse(code).expect("three capitals").decimals();
            let theirs = match *code {
                code if WITHOUT_DECIMALS.contains(&code) => 0,
                "KWD" | "BHD" | "JOD" | "OMR" | "TND" => 3,
                _ => 2,
            };
            assert_eq!(
                refuses_price(0, code).map(|no| no.member),
                (ours != theirs).then_some("currency"),
                "{code}"
            );
        }
    }

    #[test]
    fn of_three_decimals_the_last_is_nought() {
        for code in ["BHD", "JOD", "KWD", "OMR", "TND"] {
            for (minor, is_payable) in
                [(0, true), (10, true), (1_230, true), (1, false), (1_234, false), (1_239, false)]
            {
                let refused = refuses_price(minor, code).map(|no| no.member);
                assert_eq!(refused, (!is_payable).then_some("amount_minor"), "{minor} {code}");
            }
        }
        assert_eq!([refuses_price(1_234, "CNY"), refuses_price(1_234, "JPY")], [None, None]);
    }
}
