//! The keys that an edge needs. An edge has no database, so it reads the deployment's keys from the
//! shared Redis. Nodes write the keys there, encrypted. An edge can decrypt them with the
//! operators' key, or with the secret of buyers' tokens. Together with the keys, an edge gets some
//! settings of the nodes.
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use doorbuster_base::master_keys::MasterKeys;
use doorbuster_base::secret_format::{hex, parse_key};
use doorbuster_config::{BuyerKeys, ProviderSettings, Settings};
use doorbuster_core::IdKey;
use doorbuster_secrets::{Secrets, SecretsError};
use doorbuster_slots::SharedRedis;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The encryption key is derived with this context. The next constant is the context for the name
/// of the keys in Redis.
const SEAL_CONTEXT: &str = "doorbuster: keys for edges";
const NAME_CONTEXT: &str = "doorbuster: name of the keys for edges";
/// The time between two writes of the keys. Redis may lose the keys, so nodes repeat the write.
const WRITE_INTERVAL: Duration = Duration::from_secs(10);
/// How long Redis keeps the keys after the last write.
const LIFETIME: Duration = Duration::from_secs(86_400);
/// A starting edge waits for this long until a node has written the keys. After this time, the
/// start fails.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The time between two reads of the keys while an edge waits for them.
const READ_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Serialize, Deserialize)]
struct KeysRecord {
    id_key: String,
    pass_keys: Vec<String>,
    /// The secret of buyers' tokens. `None` if public keys verify these tokens.
    buyer_secret: Option<String>,
    /// Empty if a node of an earlier version wrote the keys, because such a node writes no
    /// settings.
    #[serde(default)]
    settings: NodeSettings,
}

/// Settings that an edge gets from the nodes. The edge uses such a setting only if its own
/// configuration does not set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSettings {
    /// The issuer that every buyer's token must name.
    pub issuer: Option<String>,
    /// The audience that every buyer's token must name.
    pub audience: Option<String>,
    /// The address to which a page sends a visitor without a token.
    pub sign_in_url: Option<String>,
    /// Whether the payment provider is the sandbox. `None` if the nodes did not say this.
    pub is_sandbox: Option<bool>,
}

impl NodeSettings {
    /// Takes the settings of a node.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            issuer: settings.auth.issuer.clone(),
            audience: settings.auth.audience.clone(),
            sign_in_url: settings.auth.sign_in_url.clone(),
            is_sandbox: Some(matches!(settings.payment.provider, ProviderSettings::Sandbox)),
        }
    }
}

/// Writes the keys and the present settings for edges at once and then at regular intervals, until
/// the future is dropped.
pub async fn publish(shared: &SharedRedis, secrets: &Secrets, settings: impl Fn() -> NodeSettings) {
    loop {
        for (name, sealed) in sealed_keys(secrets, settings()) {
            // If the write fails, the next round tries again.
            drop(shared.set(&name, &sealed, LIFETIME).await);
        }
        tokio::time::sleep(WRITE_INTERVAL).await;
    }
}

/// Encrypts the keys and settings with the operators' key. If buyers' tokens have a secret, also
/// encrypts the keys and settings with this secret, as a second text. Returns each text with its
/// name in Redis.
fn sealed_keys(secrets: &Secrets, settings: NodeSettings) -> Vec<(String, Vec<u8>)> {
    let record = KeysRecord {
        id_key: hex(secrets.id_key.to_bytes()),
        pass_keys: secrets.pass_keys.masters().map(hex).collect(),
        buyer_secret: secrets.buyer.as_ref().map(|secret| secret.expose_secret().to_owned()),
        settings,
    };
    let text = serde_json::to_vec(&record).expect("texts serialise");
    let openers = std::iter::once(&secrets.admin_key).chain(&secrets.buyer);
    openers.filter_map(|with| Some((name(with), seal(with, &text)?))).collect()
}

fn derived(context: &str, with: &SecretString) -> [u8; 32] {
    blake3::derive_key(context, with.expose_secret().as_bytes())
}

fn name(with: &SecretString) -> String {
    format!("doorbuster:{{shared}}:edge-keys:{}", &hex(derived(NAME_CONTEXT, with))[..32])
}

fn sealing_key(with: &SecretString) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM_SIV, &derived(SEAL_CONTEXT, with)).ok()?;
    Some(LessSafeKey::new(key))
}

fn seal(with: &SecretString, text: &[u8]) -> Option<Vec<u8>> {
    let nonce: [u8; NONCE_LEN] = rand::random();
    let mut sealed = text.to_vec();
    let nonce_too = Nonce::assume_unique_for_key(nonce);
    sealing_key(with)?.seal_in_place_append_tag(nonce_too, Aad::empty(), &mut sealed).ok()?;
    Some([&nonce[..], &sealed].concat())
}

fn unseal(with: &SecretString, bytes: &[u8]) -> Option<KeysRecord> {
    let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut sealed = sealed.to_vec();
    let text = sealing_key(with)?.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
    serde_json::from_slice(text).ok()
}

/// Returns the secrets of an edge. Secrets that are not in `settings` are read from Redis. Also
/// returns the nodes' settings from Redis. If the edge needed nothing from Redis, these are empty.
///
/// # Errors
///
/// If a secret is neither in the settings nor in Redis.
pub async fn load(
    settings: &Settings,
    urls: &[String],
) -> Result<(Secrets, NodeSettings), SecretsError> {
    let auth = &settings.auth;
    let is_complete =
        auth.id_key.is_some() && auth.buyers.is_some() && settings.pass_keys.is_some();
    let found = if is_complete { None } else { Some(read(settings, urls).await?) };
    let corrupt = || SecretsError::Corrupt { name: "keys for edges", place: "Redis".to_owned() };
    let shared_secret = found.as_ref().and_then(|found| found.buyer_secret.clone());
    let buyer = match &auth.buyers {
        Some(BuyerKeys::JwksFile(_) | BuyerKeys::JwksUrl(_)) => None,
        Some(BuyerKeys::Secret(secret)) => Some(secret.clone()),
        None => Some(shared_secret.map(SecretString::from).ok_or_else(|| {
            SecretsError::EdgeKeys("copy auth.buyer_jwks from the nodes' settings".to_owned())
        })?),
    };
    let id_key = match (&auth.id_key, &found) {
        (Some(key), _) => key.clone(),
        (None, Some(found)) => parse_key(&found.id_key).map(IdKey::new).ok_or_else(corrupt)?,
        (None, None) => return Err(corrupt()),
    };
    let pass_keys = match (&settings.pass_keys, &found) {
        (Some(keys), _) => keys.clone(),
        (None, Some(found)) => {
            let keys = found.pass_keys.iter().map(|key| parse_key(key)).collect::<Option<_>>();
            keys.and_then(MasterKeys::new).ok_or_else(corrupt)?
        }
        (None, None) => return Err(corrupt()),
    };
    // An edge passes operators' requests to a node and never uses this key. So if the settings have
    // no key, a random key is enough.
    let admin_key = auth.admin_key.clone().unwrap_or_else(|| hex(rand::random()).into());
    let secrets = Secrets {
        buyer,
        admin_key,
        admin_key_is_new: false,
        webhook: settings.payment.webhook_secrets.clone(),
        id_key,
        pass_keys,
        pass_key_file: None,
    };
    Ok((secrets, found.map(|found| found.settings).unwrap_or_default()))
}

/// Reads the keys that a node wrote to Redis. If Redis has none yet, waits for at most
/// [`WAIT_MAX`].
async fn read(settings: &Settings, urls: &[String]) -> Result<KeysRecord, SecretsError> {
    let buyer_secret = match &settings.auth.buyers {
        Some(BuyerKeys::Secret(secret)) => Some(secret),
        _ => None,
    };
    let openers: Vec<&SecretString> = settings.auth.admin_key.iter().chain(buyer_secret).collect();
    let missing = |why: &str| {
        SecretsError::EdgeKeys(format!(
            "{why}; copy auth.id_key, auth.buyer_secret (or auth.buyer_jwks) and pass.keys from \
             the nodes' settings, or copy auth.admin_key, which decrypts the nodes' keys in \
             Redis"
        ))
    };
    if openers.is_empty() {
        return Err(missing(
            "the settings lack some of the edge's keys, and no secret can decrypt the nodes' keys",
        ));
    }
    let servers = SharedRedis::readers(urls, "doorbuster")
        .map_err(|error| SecretsError::EdgeKeys(error.to_string()))?;
    let until = Instant::now() + WAIT_MAX;
    loop {
        for server in &servers {
            for with in &openers {
                if let Ok(Some(sealed)) = server.get(&name(with)).await
                    && let Some(record) = unseal(with, &sealed)
                {
                    return Ok(record);
                }
            }
        }
        if Instant::now() > until {
            return Err(missing("found no keys in Redis that this edge can decrypt"));
        }
        tokio::time::sleep(READ_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_open_only_with_the_secret_that_sealed_them() {
        let [one, other] = ["one".repeat(16), "other".repeat(16)].map(SecretString::from);
        let secrets = Secrets {
            buyer: Some(other.clone()),
            admin_key: one.clone(),
            admin_key_is_new: false,
            webhook: Vec::new(),
            id_key: IdKey::new([7; 32]),
            pass_keys: MasterKeys::new(vec![[8; 32], [9; 32]]).expect("two keys"),
            pass_key_file: None,
        };
        let settings = NodeSettings {
            issuer: Some("shop".to_owned()),
            is_sandbox: Some(false),
            ..NodeSettings::default()
        };
        let sealed = sealed_keys(&secrets, settings.clone());
        assert_eq!(sealed.len(), 2);
        for (with, (known, sealed)) in [&one, &other].into_iter().zip(&sealed) {
            assert_eq!(name(with), *known);
            let record = unseal(with, sealed).expect("the same secret must open the keys");
            assert_eq!(record.id_key, "07".repeat(32));
            assert_eq!(record.pass_keys, ["08".repeat(32), "09".repeat(32)]);
            assert_eq!(record.buyer_secret.as_deref(), Some(other.expose_secret()));
            assert_eq!(record.settings, settings);
        }
        assert!(unseal(&other, &sealed[0].1).is_none());
        assert!(unseal(&one, &sealed[0].1[..20]).is_none());
    }

    #[test]
    fn keys_that_an_earlier_version_wrote_have_no_settings() {
        let text = r#"{"id_key": "07", "pass_keys": ["08"], "buyer_secret": null}"#;
        let record: KeysRecord = serde_json::from_str(text).expect("a readable record");
        assert_eq!((record.id_key.as_str(), record.settings), ("07", NodeSettings::default()));
    }
}
