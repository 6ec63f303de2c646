//! Stripe's HTTP API: forms out, JSON back.
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::payment::provider::ProviderError;

/// The version of the API that requests are written for.
pub(super) const VERSION: &str = "2025-03-31.basil";
/// How long a connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// The same where the question may be asked again as it is, and others wait behind it.
const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, in bytes; a longer one is none.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest message of Stripe that is passed on, in characters.
const MESSAGE_CHARS_MAX: usize = 200;

/// A request that did not succeed.
#[derive(Debug)]
pub(super) struct ApiError {
    /// Stripe understood it and said no: asking again changes nothing.
    pub is_refusal: bool,
    /// The key is not allowed to ask this.
    pub is_forbidden: bool,
    /// Too many requests.
    pub is_busy: bool,
    /// Stripe's code for it.
    pub code: Option<String>,
    message: String,
}

impl From<ApiError> for ProviderError {
    fn from(error: ApiError) -> Self {
        Self { why: error.message, is_refusal: error.is_refusal, is_busy: error.is_busy }
    }
}

/// One account's API.
#[derive(Debug)]
pub(super) struct Api {
    http: reqwest::Client,
    url: String,
    key: SecretString,
}

impl Api {
    pub(super) fn new(url: &str, key: SecretString) -> Self {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("doorbuster/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("http://") {
            // A stand-in on this machine: without this the system's certificates are read, and must
            // exist.
            http = http.tls_certs_only([]).no_proxy();
        }
        let http = http.build().expect("a client without certificates of its own can be made");
        Self { http, url: url.trim_end_matches('/').to_owned(), key }
    }

    /// Changes something, once for each key.
    pub(super) async fn post(
        &self,
        path: &str,
        form: &[(&str, String)],
        key: Option<&str>,
    ) -> Result<Value, ApiError> {
        let body = form.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let request =
            self.http.post(format!("{}{path}", self.url)).body(body.collect::<Vec<_>>().join("&"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        match key {
            Some(key) => self.send(request.header("idempotency-key", key)).await,
            None => self.send(request.timeout(SHORT_TIMEOUT)).await,
        }
    }

    /// Reads something.
    pub(super) async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.send(self.http.get(format!("{}{path}", self.url)).timeout(SHORT_TIMEOUT)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, ApiError> {
        let request =
            request.bearer_auth(self.key.expose_secret()).header("stripe-version", VERSION);
        let away = |error: &dyn std::fmt::Display| ApiError {
            is_refusal: false,
            is_forbidden: false,
            is_busy: false,
            code: None,
            message: format!("Stripe cannot be asked: {error}"),
        };
        let mut answer = request.send().await.map_err(|error| away(&error.without_url()))?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| away(&error.without_url()))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(away(&"its answer is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() && said.is_object() {
            return Ok(said);
        }
        let word = |name: &str| said["error"][name].as_str();
        let message: String =
            word("message").unwrap_or_default().chars().take(MESSAGE_CHARS_MAX).collect();
        Err(ApiError {
            // 409: the same key is in work; 429: too many; both are to be sent again.
            is_refusal: status.is_client_error()
                && !matches!(status.as_u16(), 401 | 403 | 409 | 429),
            is_forbidden: matches!(status.as_u16(), 401 | 403),
            is_busy: status.as_u16() == 429,
            code: word("code").map(str::to_owned),
            message: format!("Stripe answers {}: {message}", status.as_u16()),
        })
    }
}

/// A part of a form.
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
