//! Settings for the sign-in of operators by OpenID Connect. If any of these settings is set, all
//! settings in `NEEDED` must be set.

use doorbuster_api::admin::keys::Role;
use doorbuster_base::outgoing::may_get_secrets;
use secrecy::{ExposeSecret, SecretString};

use super::check::SettingsReader;
use super::check::settings_reader::non_empty_text;

/// Settings that sign-in needs and that have no default.
const NEEDED: [&str; 3] =
    ["console.oidc.issuer", "console.oidc.client_id", "console.oidc.client_secret"];
const OTHERS: [&str; 5] = [
    "console.oidc.scopes",
    "console.oidc.role_claim",
    "console.oidc.viewers",
    "console.oidc.operators",
    "console.oidc.admins",
];

/// An issuer that signs operators in.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// The issuer, exactly as its tokens name it.
    pub issuer: String,
    /// The name by which the issuer knows this server.
    pub client_id: String,
    /// The secret that the issuer gave to this server.
    pub client_secret: SecretString,
    /// The scopes that the server requests from the issuer at a sign-in.
    pub scopes: Vec<String>,
    /// The claim in the issuer's token that gives the operator's role.
    pub role_claim: String,
    /// The values of the claim, each with the role that the value gives to the operator.
    pub roles: Vec<(String, Role)>,
}

/// Reads these settings. Returns `None` if sign-in is not configured, or if a needed setting cannot
/// be read.
pub(super) fn oidc(read: &mut SettingsReader<'_>) -> Option<OidcSettings> {
    if !NEEDED.iter().chain(&OTHERS).any(|path| read.is_set(path)) {
        return None;
    }
    for path in NEEDED {
        if !read.is_set(path) {
            read.fault(
                path,
                "is missing; sign-in by OpenID Connect needs this setting; write it, or remove the \
                 other settings of console.oidc",
            );
        }
    }
    if !read.is_set("page.url") {
        let detail = "is missing; with sign-in by OpenID Connect, the issuer sends operators back \
                      to this address; write your own address, for example https://shop.example";
        read.fault("page.url", detail);
    }
    let [issuer_path, client_path, secret_path] = NEEDED;
    let issuer = read.text(issuer_path).filter(|_| read.is_set(issuer_path));
    if issuer.as_ref().is_some_and(|issuer| !is_issuer(issuer)) {
        read.fault(issuer_path, "must begin with https://, or with http:// on this machine");
    }
    let is_word = |text: &str| {
        (1..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let client_id = read.text(client_path);
    if client_id.as_ref().is_some_and(|id| !is_word(id)) {
        read.fault(client_path, "must be visible ASCII characters");
    }
    let client_secret = read.secret(secret_path);
    if client_secret.as_ref().is_some_and(|secret| !is_word(secret.expose_secret())) {
        read.fault(secret_path, "must be visible ASCII characters");
    }
    let mut scopes = list(read, "console.oidc.scopes");
    if scopes.is_empty() {
        scopes = ["openid", "profile"].map(str::to_owned).to_vec();
    }
    if !scopes.iter().any(|scope| scope == "openid") || !scopes.iter().all(|scope| is_word(scope)) {
        read.fault("console.oidc.scopes", "must be words of visible ASCII, including openid");
    }
    let roles = roles(read);
    let claim = non_empty_text(read, "console.oidc.role_claim");
    Some(OidcSettings {
        issuer: issuer?,
        client_id: client_id?,
        client_secret: client_secret?,
        scopes,
        role_claim: claim.unwrap_or_else(|| "groups".to_owned()),
        roles,
    })
}

fn list(read: &mut SettingsReader<'_>, path: &'static str) -> Vec<String> {
    if read.is_set(path) { read.list(path).unwrap_or_default() } else { Vec::new() }
}

/// Reads which value of the claim gives which role. An empty value is a fault, because an empty
/// claim must not give a role.
fn roles(read: &mut SettingsReader<'_>) -> Vec<(String, Role)> {
    let mut roles = Vec::new();
    for (path, role) in [
        ("console.oidc.viewers", Role::Viewer),
        ("console.oidc.operators", Role::Operator),
        ("console.oidc.admins", Role::Admin),
    ] {
        let values = list(read, path);
        if values.iter().any(|value| value.trim().is_empty()) {
            read.fault(path, "has an empty value; remove it");
        }
        roles.extend(values.into_iter().map(|value| (value, role)));
    }
    if roles.is_empty() {
        let detail = "no person could sign in, because no group has a role; set \
                      console.oidc.viewers, console.oidc.operators or console.oidc.admins";
        read.fault("console.oidc.admins", detail);
    }
    roles
}

/// Returns whether the text can be an issuer's address. The address must use TLS or name this
/// machine, because the server sends secrets to it.
fn is_issuer(text: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(text) else { return false };
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    is_plain && may_get_secrets(&url)
}
