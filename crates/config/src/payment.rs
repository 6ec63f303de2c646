//! Payment settings: the provider and its secrets. A setting that belongs to another provider is a
//! fault.
use doorbuster_base::outgoing::may_get_secrets;
use doorbuster_base::signing::SigningKey;
use secrecy::{ExposeSecret, SecretString};

use super::check::SettingsReader;
use super::raw::SettingOrigin;

/// Payment settings.
#[derive(Debug)]
pub struct PaymentSettings {
    /// The payment provider.
    pub provider: ProviderSettings,
    /// Whether buyers may press the buttons of the sandbox's page. With these buttons, a buyer can
    /// pay an order without money. The default is `true` only in a demonstration.
    pub sandbox_page: bool,
    /// The secrets that sign the sandbox's messages, newest first. If the settings have no secret,
    /// the server generates a secret. It keeps this secret in the data directory, or in the store
    /// that all nodes share.
    pub webhook_secrets: Vec<SecretString>,
}

/// The payment provider.
#[derive(Debug)]
pub enum ProviderSettings {
    /// The built-in provider, which moves no money.
    Sandbox,
    /// Stripe.
    Stripe(StripeSettings),
}

/// An account at Stripe.
#[derive(Debug)]
pub struct StripeSettings {
    /// Origin of Stripe's API.
    pub api_url: String,
    /// The secret key for Stripe's API.
    pub secret_key: SecretString,
    /// The secrets that sign Stripe's events, newest first.
    pub webhook_secrets: Vec<SecretString>,
    /// The maximum number of queries per second that ask Stripe about checkouts.
    pub queries_per_sec: u32,
}

/// A setting has at most this many secrets. A setting needs more than one secret only while a
/// secret is replaced.
const SECRETS_MAX: usize = 8;
const STRIPE_API: &str = "https://api.stripe.com";
const STRIPE_SETTINGS: [&str; 4] = [
    "payment.stripe.secret_key",
    "payment.stripe.webhook_secret",
    "payment.stripe.api_url",
    "payment.stripe.queries_per_sec",
];
/// The default number of queries per second about checkouts. Stripe accepts 100 requests per second
/// from an account, and new checkouts and refunds need the rest.
const STRIPE_QUERIES_PER_SEC: u32 = 80;

/// Reads the payment settings. Returns `None` if a needed setting cannot be read.
pub(super) fn payment(read: &mut SettingsReader<'_>, demo: bool) -> Option<PaymentSettings> {
    let webhook_secrets = webhook_secrets(read);
    let provider = match read.text("payment.provider").as_deref() {
        Some("sandbox") => {
            for path in STRIPE_SETTINGS {
                if read.is_set(path) {
                    read.fault(
                        path,
                        "contradicts payment.provider = \"sandbox\"; remove this setting, or \
                         write provider = \"stripe\"",
                    );
                }
            }
            Some(ProviderSettings::Sandbox)
        }
        Some("stripe") => {
            if read.is_set("payment.webhook_secret") {
                let detail = "contradicts payment.provider = \"stripe\"; remove this setting and \
                         set payment.stripe.webhook_secret";
                read.fault("payment.webhook_secret", detail);
            }
            if !read.is_set("page.url") && !read.is_set("page.origin") {
                let detail = "is missing; with payment.provider = \"stripe\", the server \
                              needs this address to send buyers back; write your own address, \
                              for example https://shop.example";
                read.fault("page.url", detail);
            }
            stripe(read).map(ProviderSettings::Stripe)
        }
        _ => read.refuse("payment.provider", "is not a known provider; write sandbox or stripe"),
    };
    let unset = read.origin("payment.sandbox_page") == Some(&SettingOrigin::Default);
    let sandbox_page = read.flag("payment.sandbox_page")? || (demo && unset);
    let sandbox_page = sandbox_page && matches!(provider, Some(ProviderSettings::Sandbox));
    Some(PaymentSettings { provider: provider?, sandbox_page, webhook_secrets })
}

fn webhook_secrets(read: &mut SettingsReader<'_>) -> Vec<SecretString> {
    let path = "payment.webhook_secret";
    if !read.is_set(path) {
        return Vec::new();
    }
    let Some(secrets) = read.secrets(path) else { return Vec::new() };
    let is_good = |secret: &SecretString| SigningKey::parse(secret.expose_secret()).is_some();
    if !(1..=SECRETS_MAX).contains(&secrets.len()) || !secrets.iter().all(is_good) {
        let each = "must be whsec_ and 24 to 64 bytes in base64";
        read.fault(
            path,
            format!(
                "{each}; while you replace a secret, write up to {SECRETS_MAX} secrets, \
                 newest first"
            ),
        );
    }
    secrets
}

fn stripe(read: &mut SettingsReader<'_>) -> Option<StripeSettings> {
    let [key_path, secret_path, url_path, rate_path] = STRIPE_SETTINGS;
    for path in [key_path, secret_path] {
        if !read.is_set(path) {
            read.fault(
                path,
                "is missing; payment.provider = \"stripe\" needs this setting; copy its value from \
                 Stripe's dashboard",
            );
        }
    }
    let secret_key = read.secret(key_path).filter(|_| read.is_set(key_path));
    let is_word = |text: &str| {
        (8..=512).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if secret_key.as_ref().is_some_and(|key| !is_word(key.expose_secret())) {
        read.fault(key_path, "is not a Stripe key; write sk_live_…, sk_test_… or rk_…");
    }
    let webhook_secrets = match read.is_set(secret_path) {
        true => read.secrets(secret_path),
        false => None,
    };
    let is_secret = |secret: &SecretString| {
        let text = secret.expose_secret();
        text.starts_with("whsec_") && is_word(text)
    };
    let are_wrong = |secrets: &Vec<SecretString>| {
        !(1..=SECRETS_MAX).contains(&secrets.len()) || !secrets.iter().all(is_secret)
    };
    if webhook_secrets.as_ref().is_some_and(are_wrong) {
        read.fault(
            secret_path,
            format!("must be 1 to {SECRETS_MAX} of Stripe's secrets (whsec_…), newest first"),
        );
    }
    let api_url =
        if read.is_set(url_path) { read.text(url_path) } else { Some(STRIPE_API.to_owned()) };
    let api_url = api_url.filter(|text| is_safe_url(text));
    if api_url.is_none() {
        read.fault(url_path, "must be an origin with https://, or with http:// on this machine");
    }
    let queries_per_sec = match read.is_set(rate_path) {
        true => read.integer(rate_path, 1..=10_000).and_then(|rate| u32::try_from(rate).ok()),
        false => Some(STRIPE_QUERIES_PER_SEC),
    };
    Some(StripeSettings {
        api_url: api_url?,
        secret_key: secret_key?,
        webhook_secrets: webhook_secrets?,
        queries_per_sec: queries_per_sec?,
    })
}

/// Returns whether the text is a safe origin of Stripe's API. It must use TLS or be on this
/// machine, because the server sends Stripe's key to it.
fn is_safe_url(text: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(text) else { return false };
    let is_origin =
        url.origin().is_tuple() && url.origin().ascii_serialization() == text.trim_end_matches('/');
    is_origin && may_get_secrets(&url)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use crate::{Flags, load};

    #[test]
    fn a_missing_file_of_a_webhook_secret_is_reported_once() {
        let pairs = [
            ("HOME", "/home/someone"),
            ("DOORBUSTER_PAYMENT__WEBHOOK_SECRET_FILE", "/no/such/file"),
        ];
        let vars: Vec<(OsString, OsString)> =
            pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let text = load(&Flags::default(), vars).expect_err("no file").to_string();
        assert!(text.contains("/no/such/file"), "{text}");
        assert_eq!(text.matches("payment.webhook_secret").count(), 1, "{text}");
    }
}
