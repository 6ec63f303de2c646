//! Sends messages to the shop as signed HTTP requests (Standard Webhooks). Follows no redirects,
//! and limits the time and the size of a response.
use std::time::Duration;

use doorbuster_base::outgoing::OutgoingClient;
use doorbuster_base::signing::{self, SigningKey};
use doorbuster_core::Millis;
use doorbuster_store::Endpoint;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::Response;
use reqwest::redirect::Policy;

use super::address_guard::{AddressGuard, check};
use super::receiver::{DeliveryError, Message};

/// Longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a response body is read. A connection can be reused only after the whole body was read.
/// After this time, the connection is closed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum number of bytes of a body that are read. If the body is longer, the connection is
/// closed.
const DRAIN_BYTES_MAX: usize = 16 * 1024;
/// The maximum number of idle connections to one host.
const IDLE_MAX: usize = 4;
/// Longest pause that a receiver's `Retry-After` can request.
const PAUSE_MAX_MS: i64 = 3_600_000;

/// Sends webhooks.
pub(super) struct Webhooks {
    guard: AddressGuard,
    client: OutgoingClient,
}

impl Webhooks {
    pub(super) fn new(guard: AddressGuard, timeout: Duration) -> Self {
        let client = guarded_client(guard.clone(), timeout);
        Self { guard, client }
    }

    fn client(&self) -> Result<reqwest::Client, DeliveryError> {
        let made = self.client.get();
        made.map_err(|error| DeliveryError::new(format!("cannot create an HTTP client: {error}")))
    }

    /// Makes the next message use the system's newest certificates.
    pub(super) fn renew_client(&self) {
        self.client.renew();
    }

    /// Sends a message once, signed with every active secret. `now` is the store's time, and
    /// decides which secrets are active. `wall` is the time of the wall clock, and becomes the
    /// message's timestamp, because the receiver compares the timestamp with its own clock.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        message: &Message,
        now: Millis,
        wall: Millis,
    ) -> Result<(), DeliveryError> {
        // The address is checked again, because the settings may have changed after the endpoint
        // was added. Also, the client does not resolve a URL with an IP address, so the guard's
        // resolver cannot check such a URL.
        let url = check(&endpoint.url, &self.guard).map_err(DeliveryError::new)?;
        let live =
            endpoint.secrets.iter().filter(|secret| secret.until.is_none_or(|until| now < until));
        let keys: Vec<SigningKey> =
            live.filter_map(|secret| SigningKey::parse(&secret.secret)).collect();
        if keys.is_empty() {
            return Err(DeliveryError::new(
                "the endpoint has no secret that can sign its messages",
            ));
        }
        let at_secs = wall.0.div_euclid(1_000);
        let request = self
            .client()?
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(signing::ID_HEADER, &message.id)
            .header(signing::TIMESTAMP_HEADER, at_secs)
            .header(
                signing::SIGNATURE_HEADER,
                signing::sign(&message.id, at_secs, &message.body, &keys),
            )
            .body(message.body.clone());
        let answer = request.send().await.map_err(|error| refused(&error))?;
        let status = answer.status();
        let pause_ms = pause_ms(status, answer.headers(), wall);
        drain(answer).await;
        if status.is_success() {
            return Ok(());
        }
        let error = match status.is_redirection() {
            true => {
                format!("the endpoint answered {}: redirects are not followed", status.as_u16())
            }
            false => format!("the endpoint answered {}", status.as_u16()),
        };
        Err(DeliveryError {
            error,
            pause_ms,
            is_final: is_final(status),
            is_gone: status == StatusCode::GONE,
        })
    }
}

/// Returns a client that follows no redirects and connects only to addresses that the guard allows.
pub(crate) fn guarded_client(guard: AddressGuard, timeout: Duration) -> OutgoingClient {
    let resolver = std::sync::Arc::new(guard);
    let builder = move || {
        reqwest::Client::builder()
            // If the environment names a proxy, the client must not use it. The proxy would connect
            // to addresses that the guard never checks.
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .pool_max_idle_per_host(IDLE_MAX)
            .referer(false)
            .user_agent(concat!("doorbuster/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(resolver.clone())
    };
    // If the system's certificates cannot be loaded, the client has none. Then it reaches only http
    // endpoints.
    OutgoingClient::new(move || builder().build().or_else(|_| builder().tls_certs_only([]).build()))
}

/// Returns whether this status refuses the message permanently. Any other error status means a
/// temporary problem or a redirect, so another attempt can succeed.
fn is_final(status: StatusCode) -> bool {
    let may_pass =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !may_pass.contains(&status)
}

/// If a response has status 429 or 503, returns the pause that it asks for, in milliseconds.
/// Returns 0 for other responses. `now` is the time of the wall clock.
fn pause_ms(status: StatusCode, headers: &HeaderMap, now: Millis) -> i64 {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return 0;
    }
    let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    value.and_then(|text| asked_ms(text.trim(), now)).unwrap_or(0).clamp(0, PAUSE_MAX_MS)
}

/// Parses the value of `Retry-After`, in seconds or as a date. Returns milliseconds.
fn asked_ms(text: &str, now: Millis) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(i64::MAX, |secs: i64| secs.saturating_mul(1_000)));
    }
    let at = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(at.as_millisecond().saturating_sub(now.0))
}

/// Reads a response body to its end if the body is short. Drops a long or slow body together with
/// its connection. The body does not change the result of the attempt.
async fn drain(mut answer: Response) {
    let reading = async {
        let mut bytes = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            bytes += chunk.len();
            if bytes > DRAIN_BYTES_MAX {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
}

/// Converts an error. The result does not contain the URL, because the URL may contain a secret of
/// the shop.
fn refused(error: &reqwest::Error) -> DeliveryError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    DeliveryError::new(if error.is_timeout() {
        "the endpoint did not answer in time".to_owned()
    } else if error.is_connect() {
        format!("no connection: {cause}")
    } else {
        format!("the connection broke: {cause}")
    })
}

#[cfg(test)]
mod tests;
