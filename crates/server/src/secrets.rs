//! Secrets that nobody configured: made once, kept in the data directory, readable by its owner alone. Where several nodes share one truth they share
//! these too: the first node's are kept in the database, and every node's directory has a copy.
//!
//! | file | what it is |
//! |---|---|
//! | `buyer_secret` | text that buyers' tokens are signed with (HS256) |
//! | `admin_key` | the operators' key |
//! | `webhook_secret` | `whsec_` and base64, for incoming payment events |
//! | `id_key` | 32 bytes in hexadecimal: proves order ids and hashes request keys; losing it orphans queued requests |

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use doorbuster_core::IdKey;
use doorbuster_store::{OpenError, shared_secret};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{BuyerKeys, Settings};

/// Random bytes in each secret.
const SECRET_BYTES: usize = 32;
/// Only its owner may read a secret.
const FILE_MODE: u32 = 0o600;
/// Only its owner may look into the data directory.
const DIRECTORY_MODE: u32 = 0o700;

/// A secret that could be neither read nor made.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// In the data directory.
    #[error("cannot keep a secret in {}: {error}", path.display())]
    Kept {
        /// The secret's file.
        path: PathBuf,
        /// What the file system said.
        error: io::Error,
    },
    /// With the other nodes.
    #[error("the secrets that all nodes share: {0}")]
    Shared(#[from] OpenError),
}

/// Every secret of this deployment.
#[derive(Debug)]
pub struct Secrets {
    /// What buyers' tokens are signed with; `None` when they are checked by public keys.
    pub buyer: Option<SecretString>,
    /// The operators' key.
    pub admin_key: SecretString,
    /// Whether that key was made just now, so that it is to be shown.
    pub admin_key_is_new: bool,
    /// Secret of incoming payment events.
    pub webhook: SecretString,
    /// Key of order ids.
    pub id_key: IdKey,
}

/// Reads the secrets that are configured or kept, and makes those that are missing.
///
/// # Errors
/// When the data directory cannot be read or written.
pub fn prepare(settings: &Settings) -> Result<Secrets, SecretsError> {
    let dir = &settings.data_dir;
    let buyer = match &settings.auth.buyers {
        Some(BuyerKeys::JwksFile(_) | BuyerKeys::JwksUrl(_)) => None,
        _ => Some(buyer_secret(settings)?),
    };
    let (admin_key, admin_key_is_new) = match &settings.auth.admin_key {
        Some(key) => (key.clone(), false),
        None => kept(dir, "admin_key", || fresh("admin_key"))?,
    };
    let webhook = match &settings.payment.webhook_secret {
        Some(secret) => secret.clone(),
        None => kept(dir, "webhook_secret", || fresh("webhook_secret"))?.0,
    };
    Ok(Secrets { buyer, admin_key, admin_key_is_new, webhook, id_key: id_key(settings)? })
}

/// What buyers' tokens are signed with, where that is a secret: the configured one, else the kept or a new one.
///
/// # Errors
/// When the data directory cannot be read or written.
pub fn buyer_secret(settings: &Settings) -> Result<SecretString, SecretsError> {
    match &settings.auth.buyers {
        Some(BuyerKeys::Secret(secret)) => Ok(secret.clone()),
        _ => Ok(kept(&settings.data_dir, "buyer_secret", || fresh("buyer_secret"))?.0),
    }
}

fn id_key(settings: &Settings) -> Result<IdKey, SecretsError> {
    if let Some(key) = &settings.auth.id_key {
        return Ok(key.clone());
    }
    let dir = &settings.data_dir;
    let (text, _) = kept(dir, "id_key", || fresh("id_key"))?;
    parse_id_key(text.expose_secret()).ok_or_else(|| spoilt(dir, "id_key"))
}

fn hex(bytes: [u8; SECRET_BYTES]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key that these hexadecimal digits say.
pub(crate) fn parse_id_key(text: &str) -> Option<IdKey> {
    let mut key = [0; SECRET_BYTES];
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for (pair, byte) in text.as_bytes().chunks(2).zip(&mut key) {
        *byte = (digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8;
    }
    (text.len() == 2 * SECRET_BYTES).then(|| IdKey::new(key))
}

fn spoilt(dir: &Path, name: &str) -> SecretsError {
    let error = io::Error::new(io::ErrorKind::InvalidData, "it is not what this program wrote there");
    SecretsError::Kept { path: dir.join(name), error }
}

fn random() -> [u8; SECRET_BYTES] {
    rand::random()
}

/// The secret in the file `name`, made by `make` if there is none yet; and whether it was made just now.
fn kept(dir: &Path, name: &str, make: impl Fn() -> String) -> Result<(SecretString, bool), SecretsError> {
    let path = dir.join(name);
    read_or_make(dir, &path, make).map_err(|error| SecretsError::Kept { path, error })
}

/// Where several nodes share one truth: gives every secret that nobody configured the value that the first node gave it. Says whether the operators'
/// key is this node's own and was made just now.
///
/// # Errors
/// When the database or the data directory cannot be used.
pub async fn agree(settings: &Settings) -> Result<bool, SecretsError> {
    let Some(url) = settings.shape.store() else { return Ok(false) };
    let configured = [
        ("buyer_secret", settings.auth.buyers.is_some()),
        ("admin_key", settings.auth.admin_key.is_some()),
        ("webhook_secret", settings.payment.webhook_secret.is_some()),
        ("id_key", settings.auth.id_key.is_some()),
    ];
    let mut admin_key_is_new = false;
    for (name, _) in configured.into_iter().filter(|(_, configured)| !configured) {
        let (own, is_new) = kept(&settings.data_dir, name, || fresh(name))?;
        let shared = shared_secret(url.expose_secret(), name, own.expose_secret()).await?;
        if shared != own.expose_secret() {
            let path = settings.data_dir.join(name);
            replace(&path, &shared).map_err(|error| SecretsError::Kept { path, error })?;
        } else if name == "admin_key" {
            admin_key_is_new = is_new;
        }
    }
    Ok(admin_key_is_new)
}

/// A new secret, as the one of this name is written.
fn fresh(name: &str) -> String {
    match name {
        "admin_key" => format!("dbk_{}", URL_SAFE_NO_PAD.encode(random())),
        "webhook_secret" => format!("whsec_{}", STANDARD.encode(random())),
        "id_key" => hex(random()),
        _ => URL_SAFE_NO_PAD.encode(random()),
    }
}

/// Puts another secret in the place of the one that is kept, whole or not at all.
fn replace(path: &Path, secret: &str) -> io::Result<()> {
    let beside = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    write(&beside, secret).and_then(|()| fs::rename(&beside, path))
}

fn read_or_make(dir: &Path, path: &Path, make: impl Fn() -> String) -> io::Result<(SecretString, bool)> {
    if let Some(secret) = read(path)? {
        return Ok((secret, false));
    }
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir)?;
    let secret = make();
    // Written in full beside it, then linked: a reader sees the whole secret or none, and of two makers one wins.
    let beside = path.with_extension(format!("{:016x}", rand::random::<u64>()));
    let linked = write(&beside, &secret).and_then(|()| fs::hard_link(&beside, path));
    fs::remove_file(&beside)?;
    match linked {
        Ok(()) => {
            fs::File::open(dir)?.sync_all()?;
            Ok((SecretString::from(secret), true))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.map(|secret| (secret, false)).ok_or(error)
        }
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<Option<SecretString>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
                tracing::warn!(path = %path.display(), "others than its owner may read this secret; set its mode to 600");
            }
            Ok(Some(SecretString::from(text.trim_end())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, load};
    use crate::scratch::Scratch;

    fn settings(dir: &Path) -> Settings {
        load(&Flags { data_dir: Some(dir.join("data")), ..Flags::default() }, []).expect("the defaults")
    }

    #[test]
    fn secrets_are_made_once_and_kept_from_others() {
        let scratch = Scratch::new();
        let settings = settings(scratch.path());
        let first = prepare(&settings).expect("a writable directory");
        let again = prepare(&settings).expect("a writable directory");
        assert!(first.admin_key_is_new && !again.admin_key_is_new);
        assert_eq!(first.admin_key.expose_secret(), again.admin_key.expose_secret());
        assert_eq!(first.id_key.request_hash("a", "b"), again.id_key.request_hash("a", "b"));
        let buyer = first.buyer.expect("no public keys are configured");
        assert!(buyer.expose_secret().len() >= 32 && first.admin_key.expose_secret().len() >= 32);
        let names: Vec<_> = fs::read_dir(&settings.data_dir)
            .expect("it was made")
            .map(|entry| {
                let entry = entry.expect("it can be read");
                assert_eq!(entry.metadata().expect("it can be read").permissions().mode() & 0o777, FILE_MODE);
                entry.file_name()
            })
            .collect();
        assert_eq!(names.len(), 4, "{names:?}");
    }

    #[test]
    fn of_many_makers_at_once_one_wins() {
        let scratch = Scratch::new();
        let settings = settings(scratch.path());
        let keys: Vec<String> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| prepare(&settings).expect("writable").admin_key.expose_secret().to_owned()))
                .collect();
            makers.into_iter().map(|maker| maker.join().expect("no panic")).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    }

    #[test]
    fn a_spoilt_id_key_is_refused_rather_than_replaced() {
        let scratch = Scratch::new();
        let settings = settings(scratch.path());
        drop(prepare(&settings).expect("a writable directory"));
        for bad in ["", "zz", &"0".repeat(63), &"0".repeat(66), "é"] {
            fs::write(settings.data_dir.join("id_key"), bad).expect("writable");
            assert!(prepare(&settings).is_err(), "{bad:?}");
        }
    }
}
