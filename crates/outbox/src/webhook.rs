//! Sends messages to the shop's webhooks as HTTP requests, which are signed as in Standard
//! Webhooks. Does not follow redirects. Limits the time of a request, and the size of a response.
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

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The server reads the body of a response for at most this time, in order to reuse the connection.
/// The server can reuse the connection only if it has read the whole body.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// If the body of a response is larger than this number of bytes, the server stops reading and
/// closes the connection.
const DRAIN_BYTES_MAX: usize = 16 * 1024;
const IDLE_MAX: usize = 4;
/// Longest pause that a receiver can request with `Retry-After`.
const PAUSE_MAX_MS: i64 = 3_600_000;

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
        made.map_err(|error| DeliveryError::local(format!("cannot create an HTTP client: {error}")))
    }

    pub(super) fn renew_client(&self) {
        self.client.renew();
    }

    /// Sends a message once. Signs it with each secret of the endpoint that is active at `now`, the
    /// store's time. The timestamp in the request is `wall`, the wall clock's time, because the
    /// receiver compares the timestamp with its own clock.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        message: &Message,
        now: Millis,
        wall: Millis,
    ) -> Result<(), DeliveryError> {
        // The settings may have changed since the endpoint was added, so the URL is checked again.
        // This check is also needed for a URL with an IP address: the client does not resolve such
        // a URL, so the guard's resolver would not check the address.
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
            is_local: false,
        })
    }
}

/// Returns a client that does not follow redirects, and that connects only to addresses that the
/// guard allows.
pub(crate) fn guarded_client(guard: AddressGuard, timeout: Duration) -> OutgoingClient {
    let resolver = std::sync::Arc::new(guard);
    let builder = move || {
        reqwest::Client::builder()
            // A proxy would resolve the host name itself, and connect to addresses that the guard
            // has not checked.
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .pool_max_idle_per_host(IDLE_MAX)
            .referer(false)
            .user_agent(concat!("doorbuster/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(resolver.clone())
    };
    // If the system's certificates cannot be loaded, the client trusts no certificates. Such a
    // client reaches only http endpoints.
    OutgoingClient::new(move || builder().build().or_else(|_| builder().tls_certs_only([]).build()))
}

/// Returns whether the endpoint would refuse the message in every further attempt. Statuses of
/// temporary problems and redirects allow another attempt.
fn is_final(status: StatusCode) -> bool {
    let may_pass =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !may_pass.contains(&status)
}

/// Returns the pause that the receiver requests in the header `Retry-After` with status 429 or 503,
/// in milliseconds. Returns 0 if the receiver requests no pause. `now` is the wall clock's time.
fn pause_ms(status: StatusCode, headers: &HeaderMap, now: Millis) -> i64 {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return 0;
    }
    let value = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    value.and_then(|text| asked_ms(text.trim(), now)).unwrap_or(0).clamp(0, PAUSE_MAX_MS)
}

fn asked_ms(text: &str, now: Millis) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(i64::MAX, |secs: i64| secs.saturating_mul(1_000)));
    }
    let at = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(at.as_millisecond().saturating_sub(now.0))
}

/// Reads a short body to its end, so that the client can reuse the connection. The content of the
/// body does not change the result of the attempt.
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

/// Returns the error of a request that got no response. The error does not contain the URL, because
/// the URL may contain a secret of the shop.
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
