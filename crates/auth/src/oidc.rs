//! Signs operators in at an OpenID Connect issuer. The crate `oauth2` implements the authorization
//! code flow with PKCE. This module reads the issuer's configuration and checks the ID token.
//!
//! The browser carries the state of a sign-in attempt in a cookie, so any node can finish the
//! attempt. The server reads the issuer's configuration and keys only when an attempt needs them.

mod attempt;
mod callback;
mod claims;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_base::outgoing::{OutgoingClient, may_get_secrets};
use doorbuster_config::OidcSettings;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::AuthenticationError;
use super::jwks::{Jwks, JwksSource};
pub use attempt::SignInAttempt;
use callback::Callback;
pub use claims::SignedIn;

const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The maximum length of a response from the issuer, in bytes. The server refuses a longer
/// response.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long the server uses the issuer's configuration before it reads the configuration again.
const CONFIGURATION_FOR: Duration = Duration::from_secs(600);
/// After a failed read of the issuer's configuration, all sign-ins fail for this time. Without this
/// pause, every attempt would send a request while the issuer is down.
const FAILURE_FOR: Duration = Duration::from_secs(10);
/// If a read was interrupted, the next read starts at least this long after the start of the
/// interrupted read.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum length of an authorization code from the issuer, in bytes. The server refuses a
/// longer code.
const CODE_BYTES_MAX: usize = 2_048;

/// Why a person could not sign in. The texts are for operators of the server, and contain no
/// secrets.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OidcError {
    /// The issuer cannot be reached, or its answer is invalid.
    #[error("the issuer cannot be used: {0}")]
    Issuer(String),
    /// The issuer's answer does not belong to a sign-in that this browser began, or the answer's
    /// token is invalid.
    #[error("the sign-in is invalid: {0}")]
    Invalid(&'static str),
    /// The issuer's token gives the person no role.
    #[error("{0} has no role; list its group in console.oidc.viewers, .operators or .admins")]
    NoRole(String),
}

/// The issuer's configuration, as OpenID Connect Discovery publishes it.
#[derive(Deserialize)]
struct Configuration {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Configuration {
    /// Returns how the client sends its id and secret to the issuer.
    fn auth_type(&self) -> AuthType {
        let methods = self.token_endpoint_auth_methods_supported.as_ref();
        let is_basic = |known: &Vec<String>| known.iter().any(|name| name == "client_secret_basic");
        match methods.is_none_or(is_basic) {
            true => AuthType::BasicAuth,
            false => AuthType::RequestBody,
        }
    }
}

/// The ID token, which OpenID Connect adds to an OAuth 2.0 token response.
#[derive(Deserialize, Serialize)]
struct IdToken {
    id_token: String,
}

impl ExtraTokenFields for IdToken {}

impl std::fmt::Debug for IdToken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("IdToken")
    }
}

/// A client of the issuer's authorization endpoint and token endpoint.
type Client = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<IdToken, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

struct Issuer {
    client: Client,
    keys: Jwks,
}

#[derive(Default)]
struct LastRead {
    begun: Option<Instant>,
    /// `None` if the read was interrupted, because the client that waited for the read
    /// disconnected.
    result: Option<Result<Arc<Issuer>, OidcError>>,
}

/// Signs operators in at one issuer.
pub struct Oidc {
    settings: OidcSettings,
    /// The address on this server to which the issuer sends browsers back.
    redirect_uri: String,
    http: Arc<OutgoingClient>,
    last_read: Mutex<LastRead>,
}

impl Oidc {
    /// Creates the client of the issuer that the settings name. `page_url` is the address of this
    /// server's pages.
    pub fn new(settings: &OidcSettings, page_url: &str) -> Self {
        let http = OutgoingClient::new(|| {
            let builder = reqwest::Client::builder().timeout(ANSWER_WAIT);
            builder.redirect(reqwest::redirect::Policy::none()).build()
        });
        Self {
            settings: settings.clone(),
            redirect_uri: format!("{page_url}/console/callback"),
            http: Arc::new(http),
            last_read: Mutex::default(),
        }
    }

    /// After this call, the next request to the issuer uses the system's newest certificates.
    pub fn renew_client(&self) {
        self.http.renew();
    }

    /// Begins a sign-in. Returns the address of the issuer to which the browser goes next, and the
    /// secrets that the browser must keep until [`Self::finish`].
    pub async fn begin(&self) -> Result<(Url, SignInAttempt), OidcError> {
        let issuer = self.issuer().await?;
        let attempt = SignInAttempt::new();
        let verifier = PkceCodeVerifier::new(attempt.verifier.clone());
        let state = attempt.state.clone();
        let (url, _) = issuer
            .client
            .authorize_url(move || CsrfToken::new(state))
            .add_scopes(self.settings.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .add_extra_param("nonce", attempt.nonce.clone())
            .url();
        Ok((url, attempt))
    }

    /// Finishes a sign-in. Returns the person who signed in. `query` is the query string of the
    /// address to which the issuer sent the browser back.
    pub async fn finish(
        &self,
        attempt: &SignInAttempt,
        query: &str,
        now_secs: i64,
    ) -> Result<SignedIn, OidcError> {
        let answer = Callback::parse(query);
        let is_ours = answer.state.as_bytes().ct_eq(attempt.state.as_bytes());
        if !bool::from(is_ours) {
            return Err(OidcError::Invalid("the state does not match this browser's sign-in"));
        }
        // RFC 9207: if the answer names an issuer, it must be the configured issuer.
        if !answer.iss.is_empty() && answer.iss != self.settings.issuer {
            return Err(OidcError::Invalid("the answer is from another issuer"));
        }
        if answer.code.is_empty() || answer.code.len() > CODE_BYTES_MAX {
            return Err(OidcError::Invalid("the issuer sent no code"));
        }
        let issuer = self.issuer().await?;
        let token = self.exchange(&issuer.client, answer.code, attempt).await?;
        let claims = match issuer.keys.signed_claims(&token) {
            // The token's key is not in the key set. The issuer may have added the key, so the key
            // set is read again.
            Err(AuthenticationError::Unknown) => {
                issuer
                    .keys
                    .refresh()
                    .await
                    .map_err(|error| OidcError::Issuer(error.to_string()))?;
                issuer.keys.signed_claims(&token)
            }
            checked => checked,
        };
        let claims = claims.map_err(|denied| {
            OidcError::Invalid(match denied {
                AuthenticationError::Bad(why) => why,
                AuthenticationError::Missing | AuthenticationError::Unknown => {
                    "no key of the issuer signed the token"
                }
            })
        })?;
        claims::check(&claims, &self.settings, &attempt.nonce, now_secs)
    }

    async fn exchange(
        &self,
        client: &Client,
        code: String,
        attempt: &SignInAttempt,
    ) -> Result<String, OidcError> {
        let http = self.http.get().map_err(why)?;
        let sender = move |request| send(http.clone(), request);
        let answer = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.clone()))
            .request_async(&sender)
            .await;
        let answer = answer.map_err(|error| match error {
            RequestTokenError::Request(error) => error,
            RequestTokenError::ServerResponse(error) => {
                OidcError::Issuer(format!("it refused the code: {}", error.error()))
            }
            // The answer may contain secrets, so the error shows only where the answer is invalid.
            RequestTokenError::Parse(error, _) => {
                OidcError::Issuer(format!("its answer has no valid token, at {}", error.path()))
            }
            RequestTokenError::Other(text) => OidcError::Issuer(text),
        })?;
        Ok(answer.extra_fields().id_token.clone())
    }

    fn client(&self, configuration: &Configuration) -> Result<Client, OidcError> {
        let redirect = RedirectUrl::new(self.redirect_uri.clone())
            .map_err(|_| OidcError::Issuer("page.url is not an address".to_owned()))?;
        let secret = self.settings.client_secret.expose_secret().to_owned();
        Ok(oauth2::Client::new(ClientId::new(self.settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(secret))
            .set_auth_type(configuration.auth_type())
            .set_auth_uri(AuthUrl::from_url(url(&configuration.authorization_endpoint)?))
            .set_token_uri(TokenUrl::from_url(url(&configuration.token_endpoint)?))
            .set_redirect_uri(redirect))
    }

    /// Returns the issuer. Reads its configuration again if the known configuration is older than
    /// [`CONFIGURATION_FOR`], or if the last read failed at least [`FAILURE_FOR`] ago.
    async fn issuer(&self) -> Result<Arc<Issuer>, OidcError> {
        self.issuer_at(Instant::now()).await
    }

    /// Does the work of [`Self::issuer`] as of the time `now`. Concurrent callers wait for the same
    /// read.
    async fn issuer_at(&self, now: Instant) -> Result<Arc<Issuer>, OidcError> {
        let mut last = self.last_read.lock().await;
        let age = last.begun.map(|begun| now.saturating_duration_since(begun));
        match (&last.result, age) {
            (Some(Ok(issuer)), Some(age)) if age < CONFIGURATION_FOR => return Ok(issuer.clone()),
            (Some(Err(error)), Some(age)) if age < FAILURE_FOR => return Err(error.clone()),
            (None, Some(age)) => tokio::time::sleep(READ_INTERVAL.saturating_sub(age)).await,
            _ => {}
        }
        *last = LastRead { begun: Some(now), result: None };
        let result = self.read_issuer().await.map(Arc::new);
        last.result = Some(result.clone());
        result
    }

    async fn read_issuer(&self) -> Result<Issuer, OidcError> {
        let place = self.settings.issuer.trim_end_matches('/');
        let http = self.http.get().map_err(why)?;
        let request = http.get(format!("{place}/.well-known/openid-configuration"));
        let answer =
            request.send().await.and_then(reqwest::Response::error_for_status).map_err(why)?;
        let configuration: Configuration = serde_json::from_slice(&read(answer).await?)
            .map_err(|error| OidcError::Issuer(format!("its configuration is invalid: {error}")))?;
        if configuration.issuer != self.settings.issuer {
            let detail = format!("its configuration names the issuer {}", configuration.issuer);
            return Err(OidcError::Issuer(detail));
        }
        let source = JwksSource::Url(url(&configuration.jwks_uri)?.into());
        let keys = Jwks::with_client(source, self.http.clone());
        keys.refresh().await.map_err(|error| OidcError::Issuer(error.to_string()))?;
        Ok(Issuer { client: self.client(&configuration)?, keys })
    }
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Oidc").field("issuer", &self.settings.issuer).finish_non_exhaustive()
    }
}

/// Parses an address of the issuer. Plain HTTP is allowed only for a host on this machine.
fn url(text: &str) -> Result<Url, OidcError> {
    let wrong = || OidcError::Issuer(format!("{text:?} is not an https:// address"));
    let url = Url::parse(text).map_err(|_| wrong())?;
    if may_get_secrets(&url) { Ok(url) } else { Err(wrong()) }
}

/// Converts the error of a request to the issuer. Removes the request's address from the error.
fn why(error: reqwest::Error) -> OidcError {
    OidcError::Issuer(error.without_url().to_string())
}

async fn send(http: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, OidcError> {
    let request = reqwest::Request::try_from(request).map_err(why)?;
    let answer = http.execute(request).await.map_err(why)?;
    // An issuer explains a refusal in JSON, and `oauth2` reads this body. If the body is not JSON,
    // the error contains only the status.
    let is_json = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"application/json"));
    if !answer.status().is_success() && !is_json {
        return Err(OidcError::Issuer(format!("it answered with status {}", answer.status())));
    }
    let mut response = http::Response::new(Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = read(answer).await?;
    Ok(response)
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, OidcError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(why)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(OidcError::Issuer("its answer is too long".to_owned()));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
