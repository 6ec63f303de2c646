//! The Stripe provider: Checkout Sessions, refunds and signed events, over Stripe's HTTP API.
//!
//! * Every request that creates a session or a refund has an `Idempotency-Key`.
//! * Amounts are in the currency's smallest unit, as in this server.
//! * A session lives for at least half an hour. An order's payment window is often shorter, so the
//!   server closes the session at the end of the window.
mod api;
mod event;
mod refund_progress;
mod session_end;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use doorbuster_base::signing::SigningKey;
use doorbuster_config::StripeSettings;
use doorbuster_core::money::{Capture, PaymentId, Refund, RefundUpdate, ReversalReport};
use doorbuster_core::{Millis, TicketId};
use http::HeaderMap;
use serde_json::Value;

use super::contract::{
    CheckoutStatus, FoundPayment, MessageError, NewCheckout, NewSession, ProviderError,
    ProviderMessage, UnpayablePrice,
};
pub use api::NAME;
use api::{Api, ApiError};
use event::read_capture;
use refund_progress::{has_arrived, is_whole, live_refund_amount, refund_progress};
use session_end::{MINUTE_MS, session_end};

/// Currencies whose smallest unit at Stripe differs from their smallest unit in ISO 4217. For these
/// currencies, Stripe would charge a hundred times too much or too little.
const UNSUPPORTED_CURRENCIES: [&str; 3] = ["ISK", "MGA", "UGX"];
/// Currencies with three decimals. In these, Stripe accepts only amounts whose last digit is 0.
const MULTIPLE_OF_TEN: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];
/// The query that makes Stripe include the session's payment, and the payment's refunded amount, in
/// the answer.
const EXPAND_PAYMENT: &str = "expand%5B0%5D=payment_intent.latest_charge";
/// The query that makes Stripe include the payment's refunded amount in the answer.
const EXPAND_CHARGE: &str = "expand%5B0%5D=latest_charge";

/// Stripe.
#[derive(Debug)]
pub struct Stripe {
    api: Api,
    /// Signing secrets, newest first.
    keys: Vec<SigningKey>,
    /// The mark that this installation writes into its sessions, because other installations may
    /// use the same account at Stripe.
    mark: String,
    /// Whether the server has already logged that the API key may not read payments.
    has_warned: AtomicBool,
    queries_per_sec: u32,
    /// The number of further requests since the last call of `take_further_requests`. If Stripe
    /// refuses to close a session, the server reads the session with a further request. If the API
    /// key may not read payments, the server reads the session once more.
    further_requests: AtomicU32,
}

impl Stripe {
    /// Creates the provider. `mark` identifies this installation: it is the same on all its nodes,
    /// and different in every other installation.
    pub fn new(settings: &StripeSettings, mark: String) -> Self {
        use secrecy::ExposeSecret;
        // Stripe signs with the whole text of the secret, including the prefix.
        let keys = settings
            .webhook_secrets
            .iter()
            .map(|secret| SigningKey::new(secret.expose_secret().as_bytes()));
        let api = Api::new(&settings.api_url, settings.secret_key.clone());
        Self {
            keys: keys.collect(),
            api,
            mark,
            has_warned: AtomicBool::new(false),
            queries_per_sec: settings.queries_per_sec,
            further_requests: AtomicU32::new(0),
        }
    }

    pub(super) fn queries_per_sec(&self) -> u32 {
        self.queries_per_sec
    }

    pub(super) fn take_further_requests(&self) -> u32 {
        self.further_requests.swap(0, Ordering::Relaxed)
    }

    pub(super) async fn open(
        &self,
        wanted: &NewCheckout,
        now: Millis,
        wall: Millis,
    ) -> Result<NewSession, ProviderError> {
        if let Some(no) = refuses_price(wanted.price.minor, &wanted.price.currency) {
            return Err(ProviderError::refusal(no.why));
        }
        let (ends_secs, expires_at) = session_end(wanted.pay_by, now, wall);
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
            ("success_url", wanted.return_url_with("paid")),
            ("cancel_url", wanted.return_url_with("left")),
        ];
        // Stripe remembers its answer to each key for a day, even an internal error, and repeats
        // it. So the key changes each minute.
        let key = format!("{}_{ends_secs}_{}", wanted.key, now.0.div_euclid(MINUTE_MS));
        let made = self.api.post("/v1/checkout/sessions", &form, Some(&key)).await?;
        let word = |name: &str| {
            made[name].as_str().map(str::to_owned).ok_or_else(|| unusable_answer(name))
        };
        Ok(NewSession { session: word("id")?, url: word("url")?, expires_at })
    }

    pub(super) fn renew_client(&self) {
        self.api.renew_client();
    }

    pub(super) async fn close(
        &self,
        order: &TicketId,
        session: &str,
        wall: Millis,
    ) -> Result<CheckoutStatus, ProviderError> {
        let path = format!("/v1/checkout/sessions/{}", percent_encoded(session));
        let answer = match self.api.post(&format!("{path}/expire"), &[], None).await {
            // Stripe refuses because the session is no longer open: it was paid, or it has already
            // ended.
            Err(error) if error.is_refusal => {
                self.further_requests.fetch_add(1, Ordering::Relaxed);
                self.session(&path).await?
            }
            answer => answer?,
        };
        let payment = &answer["payment_intent"];
        match (answer["status"].as_str(), answer["payment_status"].as_str()) {
            (Some("expired"), _) => Ok(CheckoutStatus::Closed),
            (Some("complete"), Some("paid" | "no_payment_required")) => {
                let capture = read_capture(&answer, &format!("ask:{session}"));
                let capture = capture.map_err(|why| {
                    ProviderError::unavailable(format!("Stripe's session {session}: {why}"))
                })?;
                let capture = Capture { order: order.to_string(), ..capture };
                Ok(CheckoutStatus::Paid(vec![FoundPayment {
                    capture,
                    back: event::returned_money(&payment["latest_charge"], report_time(wall)),
                }]))
            }
            // The bank refused the payment, and a completed session accepts no further payment.
            (Some("complete"), _)
                if matches!(
                    payment["status"].as_str(),
                    Some("requires_payment_method" | "canceled")
                ) =>
            {
                Ok(CheckoutStatus::Closed)
            }
            (Some("complete" | "open"), _) => Ok(CheckoutStatus::Undecided),
            _ => Err(unusable_answer("status")),
        }
    }

    /// Returns a session with its payment. If the API key may not read payments, returns the
    /// session without the payment. The session itself says whether the buyer paid.
    async fn session(&self, path: &str) -> Result<Value, ProviderError> {
        match self.api.get(&format!("{path}?{EXPAND_PAYMENT}")).await {
            Err(error) if error.is_forbidden => {
                self.further_requests.fetch_add(1, Ordering::Relaxed);
                let answer = self.api.get(path).await?;
                self.warn_that_payments_are_unreadable(error);
                Ok(answer)
            }
            answer => Ok(answer?),
        }
    }

    pub(super) async fn reversal_of(
        &self,
        payment: &PaymentId,
        wall: Millis,
    ) -> Result<Option<ReversalReport>, ProviderError> {
        let path = format!("/v1/payment_intents/{}?{EXPAND_CHARGE}", percent_encoded(&payment.0));
        match self.api.get(&path).await {
            Err(error) if error.is_forbidden => {
                self.warn_that_payments_are_unreadable(error);
                Ok(None)
            }
            answer => Ok(event::returned_money(&answer?["latest_charge"], report_time(wall))),
        }
    }

    fn warn_that_payments_are_unreadable(&self, error: ApiError) {
        if self.has_warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let error = ProviderError::from(error);
        tracing::warn!(
            %error,
            event = "payment.stripe_key_limited",
            "Stripe's key has no permission to read payment intents and charges, so refunds made by hand may stay unknown; add this permission"
        );
    }

    pub(super) async fn refund(&self, refund: &Refund) -> Result<RefundUpdate, ProviderError> {
        if refund.money.minor == 0 {
            // No money was taken.
            return Ok(RefundUpdate::Settled);
        }
        // Stripe remembers its answer to a key, even an internal error, and repeats it. So each
        // further attempt has a new key. A new key could make a second refund, so the server first
        // reads the refunds of the payment. If the refunds that did not fail cover the payment, the
        // server requests no further refund. Stripe itself never refunds more than was paid.
        if refund.error.is_some() {
            let all = self.refunds_of(&refund.payment).await?;
            let covers = live_refund_amount(&all) >= refund.money.minor;
            if let Some(refund_update) = refund_progress(&all, refund).filter(|_| covers) {
                return Ok(refund_update);
            }
        }
        let form = [
            ("payment_intent", refund.payment.0.clone()),
            ("metadata[refund]", refund.id.0.clone()),
            ("metadata[order]", refund.order.clone()),
        ];
        match self.api.post("/v1/refunds", &form, Some(&refund.request_key())).await {
            // This refund covers only a part of the payment, because a person refunded the other
            // part at Stripe. So the sum of all refunds decides. The server reads the refunds
            // again, because `made` may be an old answer that Stripe repeats.
            Ok(made) if has_arrived(&made) && !is_whole(&made, refund) => {
                self.refund_status(refund).await
            }
            Ok(made) => Ok(event::refund_update(&made)),
            // The whole payment was refunded already: by a person at Stripe, or by this server with
            // a key that Stripe has forgotten.
            Err(error) if error.code.as_deref() == Some("charge_already_refunded") => {
                self.refund_status(refund).await
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn refund_status(
        &self,
        refund: &Refund,
    ) -> Result<RefundUpdate, ProviderError> {
        if refund.money.minor == 0 {
            return Ok(RefundUpdate::Settled);
        }
        let all = self.refunds_of(&refund.payment).await?;
        refund_progress(&all, refund)
            .ok_or_else(|| ProviderError::unavailable("Stripe has no such refund"))
    }

    async fn refunds_of(&self, payment: &PaymentId) -> Result<Vec<Value>, ProviderError> {
        let path = format!("/v1/refunds?payment_intent={}&limit=100", percent_encoded(&payment.0));
        match self.api.get(&path).await?["data"].take() {
            Value::Array(all) => Ok(all),
            _ => Err(unusable_answer("data")),
        }
    }

    pub(super) fn read(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: Millis,
    ) -> Result<ProviderMessage, MessageError> {
        event::verify(headers, body, &self.keys, now)?;
        event::read(body, &self.mark)
    }
}

pub(super) fn refuses_price(minor: i64, currency: &str) -> Option<UnpayablePrice> {
    if UNSUPPORTED_CURRENCIES.contains(&currency) {
        let why = "the payment provider uses other minor units for ISK, MGA and UGX; use another \
                 currency";
        return Some(UnpayablePrice { member: "currency", why });
    }
    // `minor` is the price of one unit, so an order's total also ends in 0.
    (MULTIPLE_OF_TEN.contains(&currency) && minor % 10 != 0).then_some(UnpayablePrice {
        member: "amount_minor",
        why: "must end in 0: the payment provider accepts only two of the three decimals of \
                 BHD, JOD, KWD, OMR and TND",
    })
}

/// Returns the time of a reversal that the server found with a query. `wall` is the time at which
/// the query began. The returned time is rounded down to seconds, because the times of Stripe's
/// events are in whole seconds.
fn report_time(wall: Millis) -> Millis {
    Millis(wall.0.div_euclid(1_000) * 1_000)
}

fn unusable_answer(name: &str) -> ProviderError {
    ProviderError::unavailable(format!("Stripe's answer has no usable {name}"))
}

fn percent_encoded(text: &str) -> String {
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

    /// Currencies without decimals, from Stripe's documentation. All other currencies have two or
    /// three decimals.
    const WITHOUT_DECIMALS: [&str; 15] = [
        "BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF",
        "XOF", "XPF",
    ];

    #[test]
    fn a_currency_is_supported_only_if_stripe_counts_it_as_iso_4217_does() {
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
    fn amounts_of_currencies_with_three_decimals_must_end_in_0() {
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
