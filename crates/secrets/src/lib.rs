//! Creates and keeps the secrets that are not in the settings.
//!
//! * In the embedded shape, each secret is a file in the data directory. Only the file's owner can
//!   read it.
//! * If nodes share a store, the store keeps the secrets. The node that generates the operators'
//!   key also writes this key to a file.
//!
//! | file | content |
//! |---|---|
//! | `buyer_secret` | the text that signs buyers' tokens (HS256) |
//! | `admin_key` | the operators' key |
//! | `webhook_secret` | `whsec_` and base64, signs the sandbox's webhooks |
//! | `id_key` | 32 bytes in hexadecimal: authenticates order ids and hashes request keys |
//! | `pass_key` | 32 bytes in hexadecimal, from which all keys of the front door are derived |
//!
//! If `id_key` is lost, all order ids become invalid: buyers get 404 for settled orders, and can
//! neither read nor repeat queued requests.

mod directory;
mod error;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use doorbuster_core::IdKey;
use doorbuster_store::{BackupFile, KnownHistories, shared_secret, stored_secret};
use secrecy::{ExposeSecret, SecretString};

pub use directory::{check_directory, create_directory, warn_of_writable_directory};
use doorbuster_base::secret_format::{self, hex, parse_id_key, parse_key};
pub use error::SecretsError;

use doorbuster_base::master_keys::MasterKeys;
use doorbuster_config::{BuyerKeys, Settings};

/// Only the file's owner can read the file.
const FILE_MODE: u32 = 0o600;

const PASS_KEY_FINGERPRINT: &str = "doorbuster pass_key fingerprint";

const FILES: [&str; 5] = ["admin_key", "buyer_secret", "id_key", "pass_key", "webhook_secret"];

/// The generated master key of the front door. It is in the file `pass_key` or in the shared store.
#[derive(Clone, Debug)]
pub struct PassKeyFile {
    /// 16 hexadecimal digits that identify the secret. The store keeps these digits, in order to
    /// recognize a wrong secret.
    pub fingerprint: String,
    /// Whether this start of the server created the secret.
    pub is_new: bool,
}

/// Every secret of this deployment.
#[derive(Debug)]
pub struct Secrets {
    /// The secret that signs buyers' tokens. `None` if public keys verify the tokens.
    pub buyer: Option<SecretString>,
    /// The operators' key.
    pub admin_key: SecretString,
    /// Whether this start of the server created the operators' key. If so, the server must show the
    /// key to the operator.
    pub admin_key_is_new: bool,
    /// The secrets that sign the sandbox's webhooks, newest first.
    pub webhook: Vec<SecretString>,
    /// The key that authenticates order ids and hashes request keys.
    pub id_key: IdKey,
    /// The master keys, from which the front door's keys are derived.
    pub pass_keys: MasterKeys,
    /// The generated master key of the front door. `None` if the settings contain the master keys.
    pub pass_key_file: Option<PassKeyFile>,
}

/// Removes a `pass_key` that this start created. Call this if the start failed before the store
/// recorded the key. Otherwise the next start would believe that the key belongs to another store.
pub fn remove_new_pass_key(settings: &Settings, secrets: &Secrets) {
    let is_new = secrets.pass_key_file.as_ref().is_some_and(|file| file.is_new);
    if is_new && settings.shape.store().is_none() {
        // The result is ignored, because the start has already failed and reports its own error.
        let _ = fs::remove_file(settings.data_dir.join("pass_key"));
    }
}

/// Returns every secret. A secret that is not in the settings comes from the data directory or from
/// the shared store. Creates missing secrets.
///
/// # Errors
///
/// If the data directory or the shared store cannot be read or written.
pub async fn load_or_create_all(
    settings: &Settings,
    history: &KnownHistories,
) -> Result<Secrets, SecretsError> {
    let buyer = match &settings.auth.buyers {
        Some(BuyerKeys::JwksFile(_) | BuyerKeys::JwksUrl(_)) => None,
        Some(BuyerKeys::Secret(secret)) => Some(secret.clone()),
        None => Some(load_or_create(settings, history, "buyer_secret").await?.0),
    };
    let (admin_key, admin_key_is_new) = match &settings.auth.admin_key {
        Some(key) => (key.clone(), false),
        None => load_or_create(settings, history, "admin_key").await?,
    };
    let webhook = match settings.payment.webhook_secrets.as_slice() {
        [] => vec![load_or_create(settings, history, "webhook_secret").await?.0],
        configured => configured.to_vec(),
    };
    let id_key = match &settings.auth.id_key {
        Some(key) => key.clone(),
        None => {
            expect_id_key(settings)?;
            let (text, _) = load_or_create(settings, history, "id_key").await?;
            parse_id_key(text.expose_secret()).ok_or_else(|| corrupt(settings, "id_key"))?
        }
    };
    let (pass_keys, pass_key_file) = match &settings.pass_keys {
        Some(keys) => (keys.clone(), None),
        None => {
            let (text, is_new) = load_or_create(settings, history, "pass_key").await?;
            let keys = parse_key(text.expose_secret())
                .and_then(|key| MasterKeys::new(vec![key]))
                .ok_or_else(|| corrupt(settings, "pass_key"))?;
            let fingerprint = keys.keys(PASS_KEY_FINGERPRINT).map(hex).collect::<String>();
            let fingerprint = fingerprint[..16].to_owned();
            (keys, Some(PassKeyFile { fingerprint, is_new }))
        }
    };
    Ok(Secrets { buyer, admin_key, admin_key_is_new, webhook, id_key, pass_keys, pass_key_file })
}

/// Returns the secret that verifies buyers' tokens. Never creates a missing secret, because no
/// server would use the new secret.
///
/// # Errors
///
/// If there is no such secret, or if the secret cannot be read.
pub async fn buyer_secret(settings: &Settings) -> Result<SecretString, SecretsError> {
    if let Some(BuyerKeys::Secret(secret)) = &settings.auth.buyers {
        return Ok(secret.clone());
    }
    kept(settings, "buyer_secret", "auth.buyer_secret").await
}

/// Returns the newest secret that verifies the sandbox's webhooks. Never creates a missing secret,
/// because no server would use the new secret.
///
/// # Errors
///
/// If there is no such secret, or if the secret cannot be read.
pub async fn webhook_secret(settings: &Settings) -> Result<SecretString, SecretsError> {
    if let Some(newest) = settings.payment.webhook_secrets.first() {
        return Ok(newest.clone());
    }
    kept(settings, "webhook_secret", "payment.webhook_secret").await
}

async fn kept(
    settings: &Settings,
    name: &'static str,
    setting: &'static str,
) -> Result<SecretString, SecretsError> {
    let found = match settings.shape.store() {
        Some(url) => stored_secret(url.expose_secret(), name).await?.map(SecretString::from),
        None => {
            let path = settings.data_dir.join(name);
            read(&path).map_err(|error| SecretsError::InDirectory { path, error })?
        }
    };
    let remedy = match settings.shape.store() {
        Some(_) => "start the server once",
        None => {
            "name the server's data directory with --data-dir or DOORBUSTER_DATA_DIR, start the \
             server once"
        }
    };
    let missing = || SecretsError::Missing { name, place: location(settings), remedy, setting };
    check(settings, name, found.ok_or_else(missing)?)
}

/// Fails if the data directory has a store, but not its `id_key`. With a new `id_key`, the order
/// ids of this store would be invalid.
fn expect_id_key(settings: &Settings) -> Result<(), SecretsError> {
    let dir = &settings.data_dir;
    let is_embedded = settings.shape.store().is_none();
    match is_embedded && doorbuster_store::is_store(dir) && !dir.join("id_key").exists() {
        true => Err(SecretsError::IdKeyMissing(dir.clone())),
        false => Ok(()),
    }
}

/// Returns the generated secrets of a data directory, as files of a backup.
///
/// # Errors
///
/// If a secret cannot be read.
pub fn backup_files(dir: &Path) -> Result<Vec<BackupFile>, SecretsError> {
    let mut files = Vec::new();
    for name in FILES {
        let path = dir.join(name);
        match fs::read(&path) {
            Ok(content) => files.push(BackupFile { name: name.to_owned(), content }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(SecretsError::InDirectory { path, error }),
        }
    }
    Ok(files)
}

/// Returns where the secrets are, in words for an operator.
fn location(settings: &Settings) -> String {
    match settings.shape.store() {
        Some(_) => "the database of store.url".to_owned(),
        None => settings.data_dir.display().to_string(),
    }
}

/// Returns the secret, and whether this call created it.
async fn load_or_create(
    settings: &Settings,
    history: &KnownHistories,
    name: &'static str,
) -> Result<(SecretString, bool), SecretsError> {
    let (secret, is_new) = match settings.shape.store() {
        None => load_or_create_file(&settings.data_dir, name)?,
        Some(url) => {
            let own = secret_format::generate(name);
            let shared = shared_secret(url.expose_secret(), history, name, &own).await?;
            let is_new = shared == own;
            (shared.into(), is_new)
        }
    };
    Ok((check(settings, name, secret)?, is_new))
}

/// Checks the secret's format. Without this check, an empty or truncated file would be used as a
/// key that anyone can guess.
fn check(
    settings: &Settings,
    name: &'static str,
    secret: SecretString,
) -> Result<SecretString, SecretsError> {
    match secret_format::is_valid(name, secret.expose_secret()) {
        true => Ok(secret),
        false => Err(corrupt(settings, name)),
    }
}

fn corrupt(settings: &Settings, name: &'static str) -> SecretsError {
    SecretsError::Corrupt { name, place: location(settings) }
}

fn load_or_create_file(dir: &Path, name: &str) -> Result<(SecretString, bool), SecretsError> {
    let path = dir.join(name);
    let (secret, is_new) = read_or_create(dir, &path, || secret_format::generate(name))
        .map_err(|error| SecretsError::InDirectory { path, error })?;
    if is_new && doorbuster_store::is_store(dir) {
        tracing::warn!(
            secret = name,
            event = "secret.created_again",
            "the secret's file was missing, although the data directory has a store, so the server \
             created a new secret; {}; if you restored the data directory, stop the server and \
             restore the file",
            lost_with(name)
        );
    }
    Ok((secret, is_new))
}

fn lost_with(name: &str) -> &'static str {
    match name {
        "admin_key" => "the operators' earlier key does not work",
        "buyer_secret" => "earlier tokens of buyers do not work",
        "pass_key" => "earlier passes, sign-ins and payment links do not work",
        "webhook_secret" => "webhooks that the sandbox sent earlier are refused",
        _ => "everything that the lost secret signed is invalid",
    }
}

/// Writes the generated operators' key to the file `admin_key`. Does nothing in the embedded shape,
/// because there the key is already in the file.
///
/// # Errors
///
/// The file system's error.
pub fn keep_admin_key(settings: &Settings, key: &SecretString) -> io::Result<()> {
    let (dir, path) = (&settings.data_dir, settings.data_dir.join("admin_key"));
    if settings.shape.store().is_none() {
        return Ok(());
    }
    if dir.as_os_str().is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no data directory"));
    }
    create_directory(dir)?;
    // First write a complete file, then rename it. So no process can read an incomplete key, even
    // if two nodes use the same directory.
    let temp_path = temporary_path(&path);
    let kept = write(&temp_path, key.expose_secret()).and_then(|()| fs::rename(&temp_path, &path));
    kept.inspect_err(|_| {
        // An error of this removal is ignored: the caller already gets the first error.
        let _ = fs::remove_file(&temp_path);
    })
}

fn read_or_create(
    dir: &Path,
    path: &Path,
    make: impl Fn() -> String,
) -> io::Result<(SecretString, bool)> {
    if let Some(secret) = read(path)? {
        return Ok((secret, false));
    }
    create_directory(dir)?;
    let secret = make();
    match write_whole(path, &temporary_path(path), &secret) {
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
                tracing::warn!(
                    path = %path.display(),
                    event = "secret.readable",
                    "other users can read the secret in this file; set the mode of the file to 600"
                );
            }
            Ok(Some(SecretString::from(text.trim_end())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a complete temporary file, and then links it to `path`. So no process can read an
/// incomplete secret, and only one of two tasks can create `path`. If both the link and the removal
/// of the temporary file fail, returns the error of the link.
fn write_whole(path: &Path, temp_path: &Path, secret: &str) -> io::Result<()> {
    let linked = write(temp_path, secret).and_then(|()| fs::hard_link(temp_path, path));
    let removed = fs::remove_file(temp_path);
    linked.and(removed)
}

fn temporary_path(path: &Path) -> PathBuf {
    path.with_extension(format!("{:016x}", rand::random::<u64>()))
}

fn write(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    file.write_all(secret.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
