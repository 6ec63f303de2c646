//! Sign-in of operators at an OpenID Connect issuer: the authorization code flow with PKCE.
//!
//! The browser carries the state of an attempt in a cookie, so any node can finish an attempt that
//! another node began. The server reads the issuer's configuration and keys when it needs them.

mod claims;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use secrecy::ExposeSecret;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::AuthenticationError;
use super::jwks::{Jwks, JwksSource};
use crate::config::OidcSettings;
pub(crate) use claims::SignedIn;

/// How long the issuer may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The maximum size of an answer of the issuer, in bytes. The server refuses a longer answer.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long the issuer's configuration is used before it is read again.
const CONFIGURATION_FOR: Duration = Duration::from_secs(600);
/// The number of random bytes of each secret of an attempt.
const SECRET_BYTES: usize = 32;
/// The maximum length of a code from an issuer, in bytes. The server refuses a longer code.
const CODE_BYTES_MAX: usize = 2_048;

/// Why a person could not sign in. The texts are for operators of the server, and have no secrets.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OidcError {
    /// The issuer cannot be reached, or its answer is invalid.
    #[error("the issuer cannot be used: {0}")]
    Issuer(String),
    /// The issuer's answer does not belong to a sign-in that this browser began, or the answer's
    /// token is invalid.
    #[error("the sign-in is invalid: {0}")]
    Invalid(&'static str),
    /// The person has no role here.
    #[error("{0} has no role, because no value of the role claim gives a role")]
    NoRole(String),
}

/// The secrets that the browser keeps between the two steps of a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignInAttempt {
    state: String,
    nonce: String,
    verifier: String,
}

impl SignInAttempt {
    fn new() -> Self {
        let secret = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>());
        Self { state: secret(), nonce: secret(), verifier: secret() }
    }

    /// Returns the attempt as the value of a cookie.
    pub(crate) fn to_cookie(&self) -> String {
        format!("{}.{}.{}", self.state, self.nonce, self.verifier)
    }

    /// Parses the value of a cookie.
    pub(crate) fn from_cookie(value: &str) -> Option<Self> {
        let length = URL_SAFE_NO_PAD.encode([0; SECRET_BYTES]).len();
        let mut parts = value.split('.').filter(|part| part.len() == length).map(str::to_owned);
        let attempt = Self { state: parts.next()?, nonce: parts.next()?, verifier: parts.next()? };
        (attempt.to_cookie() == value).then_some(attempt)
    }

    /// Returns the hash of the verifier. The issuer gets this hash first, and the verifier later.
    fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.as_bytes()).as_ref())
    }
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

/// An issuer whose configuration was read.
struct Issuer {
    configuration: Configuration,
    keys: Jwks,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

/// Signs operators in at one issuer.
pub(crate) struct Oidc {
    settings: OidcSettings,
    /// The address to which the issuer sends browsers back.
    redirect_uri: String,
    http: reqwest::Client,
    issuer: Mutex<Option<(Instant, Arc<Issuer>)>>,
}

impl Oidc {
    pub(crate) fn new(settings: &OidcSettings, page_url: &str) -> Self {
        let http = reqwest::Client::builder()
            .timeout(ANSWER_WAIT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("an HTTP client without certificates of its own can be created");
        Self {
            settings: settings.clone(),
            redirect_uri: format!("{page_url}/console/callback"),
            http,
            issuer: Mutex::default(),
        }
    }

    /// Begins a sign-in. Returns the issuer's address to which the browser goes, and the secrets
    /// that the browser keeps.
    pub(crate) async fn begin(&self) -> Result<(Url, SignInAttempt), OidcError> {
        let issuer = self.issuer().await?;
        let attempt = SignInAttempt::new();
        let mut url = url(&issuer.configuration.authorization_endpoint)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.redirect_uri)
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", &attempt.state)
            .append_pair("nonce", &attempt.nonce)
            .append_pair("code_challenge", &attempt.challenge())
            .append_pair("code_challenge_method", "S256");
        Ok((url, attempt))
    }

    /// Finishes a sign-in. `query` is the query string of the address to which the issuer sent the
    /// browser back.
    pub(crate) async fn finish(
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
        let token = self.exchange(&issuer.configuration, &answer.code, attempt).await?;
        let claims = match issuer.keys.signed_claims(&token) {
            // The issuer may have new keys.
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

    /// Exchanges the code for a token that names the person.
    async fn exchange(
        &self,
        configuration: &Configuration,
        code: &str,
        attempt: &SignInAttempt,
    ) -> Result<String, OidcError> {
        let (id, secret) = (&self.settings.client_id, self.settings.client_secret.expose_secret());
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", attempt.verifier.as_str()),
        ];
        let mut request = self.http.post(url(&configuration.token_endpoint)?);
        let methods = &configuration.token_endpoint_auth_methods_supported;
        let has = |method: &str| {
            methods.as_ref().is_some_and(|known| known.iter().any(|name| name == method))
        };
        if methods.is_none() || has("client_secret_basic") {
            // RFC 6749 requires that the id and the secret are form-encoded before they are joined.
            let pair = format!("{}:{}", encoded(id), encoded(secret));
            request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
        } else {
            form.extend([("client_id", id.as_str()), ("client_secret", secret)]);
        }
        let request =
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(pairs(&form));
        let bytes = read(request).await?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|_| OidcError::Issuer("its answer has no ID token".to_owned()))?;
        Ok(answer.id_token)
    }

    /// Returns the issuer. Reads its configuration again if the known configuration is older than
    /// [`CONFIGURATION_FOR`].
    async fn issuer(&self) -> Result<Arc<Issuer>, OidcError> {
        let mut known = self.issuer.lock().await;
        if let Some((at, issuer)) = known.as_ref()
            && at.elapsed() < CONFIGURATION_FOR
        {
            return Ok(issuer.clone());
        }
        let place = self.settings.issuer.trim_end_matches('/');
        let request = self.http.get(format!("{place}/.well-known/openid-configuration"));
        let configuration: Configuration = serde_json::from_slice(&read(request).await?)
            .map_err(|error| OidcError::Issuer(format!("its configuration is invalid: {error}")))?;
        if configuration.issuer != self.settings.issuer {
            let detail = format!("its configuration names the issuer {}", configuration.issuer);
            return Err(OidcError::Issuer(detail));
        }
        let keys = Jwks::new(JwksSource::Url(url(&configuration.jwks_uri)?.into()));
        keys.refresh().await.map_err(|error| OidcError::Issuer(error.to_string()))?;
        let issuer = Arc::new(Issuer { configuration, keys });
        *known = Some((Instant::now(), issuer.clone()));
        Ok(issuer)
    }
}

impl std::fmt::Debug for Oidc {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Oidc").field("issuer", &self.settings.issuer).finish_non_exhaustive()
    }
}

/// The parameters with which the issuer sent the browser back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Callback {
    state: String,
    code: String,
    iss: String,
}

impl Callback {
    fn parse(query: &str) -> Self {
        let mut found = Self::default();
        let Ok(url) = Url::parse(&format!("http://localhost/?{query}")) else { return found };
        for (name, value) in url.query_pairs() {
            let place = match &*name {
                "state" => &mut found.state,
                "code" => &mut found.code,
                "iss" => &mut found.iss,
                _ => continue,
            };
            // A repeated parameter has no clear meaning, so the whole answer is invalid.
            *place = if place.is_empty() { value.into_owned() } else { return Self::default() };
        }
        found
    }
}

/// Parses an address of the issuer. Plain HTTP is allowed only for a host on this machine.
fn url(text: &str) -> Result<Url, OidcError> {
    let wrong = || OidcError::Issuer(format!("{text:?} is not an https:// address"));
    let url = Url::parse(text).map_err(|_| wrong())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_here =
        host == "localhost" || host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback());
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    if is_safe { Ok(url) } else { Err(wrong()) }
}

/// Returns the body of a form.
fn pairs(form: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://localhost/").expect("a valid address");
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

/// Returns the text, encoded as in a form.
fn encoded(text: &str) -> String {
    pairs(&[("", text)]).trim_start_matches('=').to_owned()
}

/// Sends a request, and reads a successful answer.
async fn read(request: reqwest::RequestBuilder) -> Result<Vec<u8>, OidcError> {
    let why = |error: reqwest::Error| OidcError::Issuer(error.without_url().to_string());
    let mut answer =
        request.send().await.and_then(reqwest::Response::error_for_status).map_err(why)?;
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
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_read_from_its_cookie_and_from_no_other() {
        let attempt = SignInAttempt::new();
        assert_eq!(SignInAttempt::from_cookie(&attempt.to_cookie()), Some(attempt.clone()));
        let cookie = attempt.to_cookie();
        for wrong in ["", "a.b.c", &cookie[1..], &format!("{cookie}."), &format!("{cookie}.x")] {
            assert_eq!(SignInAttempt::from_cookie(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let attempt = SignInAttempt {
            state: String::new(),
            nonce: String::new(),
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
        };
        assert_eq!(attempt.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn a_callback_with_a_repeated_parameter_is_empty() {
        let callback = Callback::parse("code=a%20b&state=s&iss=https%3A%2F%2Fid&x=1");
        assert_eq!((&*callback.code, &*callback.state, &*callback.iss), ("a b", "s", "https://id"));
        assert_eq!(Callback::parse("code=a&code=b&state=s"), Callback::default());
        assert_eq!(Callback::parse(""), Callback::default());
    }

    #[test]
    fn names_and_secrets_are_encoded_as_in_a_form() {
        assert_eq!(encoded("a b:c=d%&ü"), "a+b%3Ac%3Dd%25%26%C3%BC");
        assert_eq!(pairs(&[("a", "1"), ("b", "x y")]), "a=1&b=x+y");
    }

    #[test]
    fn addresses_without_tls_are_refused_except_on_this_machine() {
        assert!(url("https://id.example/token").is_ok() && url("http://127.0.0.1:9/x").is_ok());
        assert!(url("http://id.example/token").is_err() && url("token").is_err());
    }
}
