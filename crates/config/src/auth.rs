//! How buyers and operators are authenticated.

use std::path::{Path, PathBuf};

use doorbuster_base::key_set;
use doorbuster_base::outgoing::may_get_secrets;
use doorbuster_base::secret_format::{SECRET_BYTES, is_admin_key, parse_id_key};
use doorbuster_core::IdKey;
use secrecy::{ExposeSecret, SecretString};

use super::check::SettingsReader;
use super::check::settings_reader::{link, non_empty_text};

/// Authentication of buyers and operators.
#[derive(Debug)]
pub struct AuthSettings {
    /// The way to verify buyers' tokens. `None` means that the server generates a secret. The
    /// server keeps this secret in the data directory (embedded shape) or in the store (other
    /// shapes).
    pub buyers: Option<BuyerKeys>,
    /// The issuer that every token must name.
    pub issuer: Option<String>,
    /// The audience that every token must name.
    pub audience: Option<String>,
    /// The operators' key. `None` means that the server generates a key. The server keeps this key
    /// in the data directory. Except in the embedded shape, the key is also in the store.
    pub admin_key: Option<SecretString>,
    /// The key that authenticates order ids and hashes request keys. `None` means that the server
    /// generates a key. The server keeps this key in the data directory (embedded shape) or in the
    /// store (other shapes).
    pub id_key: Option<IdKey>,
    /// The address to which a page sends a visitor without a token.
    pub sign_in_url: Option<String>,
}

/// The way to verify buyers' tokens.
#[derive(Debug)]
pub enum BuyerKeys {
    /// HS256 with this secret.
    Secret(SecretString),
    /// The public keys in this file.
    JwksFile(PathBuf),
    /// The public keys at this address.
    JwksUrl(String),
}

pub(super) fn auth(read: &mut SettingsReader<'_>, demo: bool) -> AuthSettings {
    let secret = read.secret("auth.buyer_secret").inspect(|secret| {
        if secret.expose_secret().len() < SECRET_BYTES {
            read.fault(
                "auth.buyer_secret",
                format!("is shorter than {SECRET_BYTES} bytes; write a longer secret"),
            );
        }
    });
    let jwks = read.is_set("auth.buyer_jwks").then(|| jwks(read)).flatten();
    if read.is_set("auth.buyer_jwks") && read.is_set("auth.buyer_secret") {
        read.fault("auth.buyer_jwks", "contradicts auth.buyer_secret; keep one of the two");
    }
    if read.is_set("auth.buyer_jwks") && demo {
        read.fault(
            "auth.buyer_jwks",
            "contradicts --demo, which signs guests in with a secret; \
             remove auth.buyer_jwks or --demo",
        );
    }
    AuthSettings {
        buyers: jwks.or(secret.map(BuyerKeys::Secret)),
        issuer: non_empty_text(read, "auth.issuer"),
        audience: non_empty_text(read, "auth.audience"),
        admin_key: admin_key(read),
        id_key: id_key(read),
        sign_in_url: link(read, "auth.sign_in_url"),
    }
}

fn admin_key(read: &mut SettingsReader<'_>) -> Option<SecretString> {
    let key = read.secret("auth.admin_key")?;
    let text = key.expose_secret();
    if !is_admin_key(text) {
        read.fault(
            "auth.admin_key",
            format!("must be at least {SECRET_BYTES} visible ASCII characters, without spaces"),
        );
    }
    Some(key)
}

fn id_key(read: &mut SettingsReader<'_>) -> Option<IdKey> {
    let key = read.secret("auth.id_key")?;
    parse_id_key(key.expose_secret())
        .or_else(|| read.refuse("auth.id_key", "must be 64 hexadecimal digits"))
}

fn jwks(read: &mut SettingsReader<'_>) -> Option<BuyerKeys> {
    let text = non_empty_text(read, "auth.buyer_jwks")?;
    if text.starts_with("https://") || text.starts_with("http://") {
        let Ok(url) = reqwest::Url::parse(&text) else {
            return read
                .refuse("auth.buyer_jwks", "is not a URL; write https://… or the path of a file");
        };
        if !may_get_secrets(&url) {
            read.fault(
                "auth.buyer_jwks",
                "would fetch keys without TLS; write https://… or the path of a file",
            );
        }
        return Some(BuyerKeys::JwksUrl(text));
    }
    if let Err(why) = key_set::check_file(Path::new(&text)) {
        read.fault(
            "auth.buyer_jwks",
            format!("cannot read keys from {text}: {why}; write https://… or the path of a file"),
        );
    }
    Some(BuyerKeys::JwksFile(text.into()))
}
