//! A client for Stripe's HTTP API. Requests are forms, and responses are JSON.
use std::time::Duration;

use doorbuster_base::outgoing::OutgoingClient;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::contract::ProviderError;

/// The provider's name.
pub const NAME: &str = "stripe";
/// The pause before the server asks Stripe for the progress of an accepted refund. Usually, Stripe
/// reports the progress earlier in a message, but the message may be lost.
pub(super) const REFUND_RECHECK_MS: i64 = 600_000;
/// The version of the API that this client uses.
pub(super) const VERSION: &str = "2025-03-31.basil";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The timeout of a request without an idempotency key. It is short, because other work waits for
/// the answer. After a timeout, the server can safely repeat such a request.
const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum size of a response, in bytes. A larger response is an error.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// The maximum length of an error text of Stripe, in characters. The rest of a longer text is cut
/// off.
const MESSAGE_CHARS_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct ApiError {
    /// Whether Stripe refused the request. A repeated request would be refused too.
    pub is_refusal: bool,
    /// The key does not allow this request.
    pub is_forbidden: bool,
    /// Stripe received too many requests.
    pub is_busy: bool,
    /// Stripe's error code.
    pub code: Option<String>,
    message: String,
}

impl ApiError {
    fn unreachable(error: &dyn std::fmt::Display) -> Self {
        Self {
            is_refusal: false,
            is_forbidden: false,
            is_busy: false,
            code: None,
            message: format!("got no usable answer from Stripe: {error}"),
        }
    }
}

impl From<ApiError> for ProviderError {
    fn from(error: ApiError) -> Self {
        let ApiError { message, is_refusal, is_forbidden, is_busy, .. } = error;
        Self { why: message, is_refusal, is_forbidden, is_busy }
    }
}

#[derive(Debug)]
pub(super) struct Api {
    http: OutgoingClient,
    url: String,
    key: SecretString,
}

impl Api {
    pub(super) fn new(url: &str, key: SecretString) -> Self {
        let is_plain = url.starts_with("http://");
        let http = OutgoingClient::new(move || {
            let mut http = reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(REQUEST_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("doorbuster/", env!("CARGO_PKG_VERSION")));
            if is_plain {
                // An http address belongs to a test server on this machine, so the client needs no
                // certificates. Without this line, the client would load the system's certificates,
                // which may be missing.
                http = http.tls_certs_only([]).no_proxy();
            }
            http.build()
        });
        Self { http, url: url.trim_end_matches('/').to_owned(), key }
    }

    /// Sends a POST request. If the request has an idempotency key, Stripe applies the request at
    /// most once.
    pub(super) async fn post(
        &self,
        path: &str,
        form: &[(&str, String)],
        key: Option<&str>,
    ) -> Result<Value, ApiError> {
        let body = form.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let body = body.collect::<Vec<_>>().join("&");
        let request = self.client()?.post(format!("{}{path}", self.url)).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        match key {
            Some(key) => self.send(request.header("idempotency-key", key)).await,
            None => self.send(request.timeout(SHORT_TIMEOUT)).await,
        }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        let request = self.client()?.get(format!("{}{path}", self.url));
        self.send(request.timeout(SHORT_TIMEOUT)).await
    }

    fn client(&self) -> Result<reqwest::Client, ApiError> {
        self.http.get().map_err(|error| ApiError::unreachable(&error))
    }

    pub(super) fn renew_client(&self) {
        self.http.renew();
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, ApiError> {
        let request =
            request.bearer_auth(self.key.expose_secret()).header("stripe-version", VERSION);
        let away = ApiError::unreachable;
        let mut answer = request.send().await.map_err(|error| away(&error.without_url()))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| away(&error.without_url()))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(away(&"the answer is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let parsed: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() && parsed.is_object() {
            return Ok(parsed);
        }
        let word = |name: &str| parsed["error"][name].as_str();
        let message: String =
            word("message").unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect();
        Err(ApiError {
            // These four statuses are not refusals, because the same request may succeed later. 401
            // and 403: the API key is wrong or lacks a permission. 409: a request with the same
            // idempotency key is running. 429: too many requests.
            is_refusal: status.is_client_error()
                && !matches!(status.as_u16(), 401 | 403 | 409 | 429),
            is_forbidden: matches!(status.as_u16(), 401 | 403),
            is_busy: status.as_u16() == 429,
            code: word("code").map(str::to_owned),
            message: format!("Stripe answered {}: {message}", status.as_u16()),
        })
    }
}

fn encoded(text: &str) -> String {
    let plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'*');
    let each = text.bytes().map(|byte| match byte {
        b' ' => "+".to_owned(),
        byte if plain(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}
