//! The key of an encrypted continuous backup.
//!
//! A server creates a random key when it starts, and encrypts all objects of the backup with this
//! key (X25519, in the format of age). The passphrase encrypts only this key, because encryption
//! with a passphrase is slow. The description of each base contains the encrypted key.

use std::io;
use std::path::Path;

use age::secrecy::ExposeSecret;
use age::x25519;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use doorbuster_base::encryption::{self, DecryptionError};
use secrecy::SecretString;

/// The work factor of scrypt: trying one passphrase costs 2^16 steps and 64 MiB of memory. A server
/// pays this cost at each start. So this factor is lower than the factor for a backup in one file.
const WORK_FACTOR: u8 = 16;

/// The key that a server created when it started.
pub struct BackupKey {
    identity: x25519::Identity,
    locked: String,
}

impl BackupKey {
    /// Creates a random key. The call blocks the thread for about a tenth of a second.
    ///
    /// # Errors
    ///
    /// If the operating system provides no random numbers.
    pub fn new(passphrase: &SecretString) -> io::Result<Self> {
        let identity = x25519::Identity::generate();
        let recipient = encryption::passphrase_recipient(passphrase, WORK_FACTOR);
        let text = identity.to_string();
        let locked = age::encrypt(&recipient, text.expose_secret().as_bytes());
        Ok(Self { identity, locked: STANDARD.encode(locked.map_err(io::Error::other)?) })
    }

    pub(super) fn locked(&self) -> &str {
        &self.locked
    }

    pub(super) fn unlock(locked: &str, passphrase: &SecretString) -> Result<Self, DecryptionError> {
        let damaged = |error: &dyn ToString| DecryptionError::Damaged(error.to_string());
        let encrypted = STANDARD.decode(locked).map_err(|error| damaged(&error))?;
        let text = age::decrypt(&encryption::passphrase_identity(passphrase), &encrypted);
        let text = text.map_err(|error| match DecryptionError::from(error) {
            // The input is in memory, so this error does not come from a file. The error means that
            // the end of the input is missing.
            DecryptionError::File(error) => damaged(&error),
            error => error,
        })?;
        let text = String::from_utf8(text).map_err(|error| damaged(&error))?;
        let identity = text.parse().map_err(|error: &str| damaged(&error))?;
        Ok(Self { identity, locked: locked.to_owned() })
    }

    pub(super) fn encrypt(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        age::encrypt(&self.identity.to_public(), bytes).map_err(io::Error::other)
    }

    pub(super) fn decrypt(&self, bytes: &[u8]) -> Result<Vec<u8>, DecryptionError> {
        age::decrypt(&self.identity, bytes).map_err(named_as_damage)
    }

    pub(super) fn encrypt_file(&self, from: &Path, to: &Path) -> io::Result<()> {
        encryption::encrypt(from, to, &self.identity.to_public())
    }

    pub(super) fn decrypt_file(&self, from: &Path, to: &Path) -> Result<(), DecryptionError> {
        encryption::decrypt(from, to, &self.identity).map_err(|error| match error {
            DecryptionError::WrongPassphrase => DecryptionError::Damaged(NOT_THIS_KEY.to_owned()),
            error => error,
        })
    }
}

const NOT_THIS_KEY: &str = "another key encrypted it";

/// Converts an error that occurred when this key decrypted an object. The passphrase was right,
/// because it decrypted this key. So the error means that the object is damaged.
fn named_as_damage(error: age::DecryptError) -> DecryptionError {
    DecryptionError::Damaged(match DecryptionError::from(error) {
        DecryptionError::WrongPassphrase => NOT_THIS_KEY.to_owned(),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_unlocked_by_its_passphrase_only() {
        let passphrase = SecretString::from("correct horse");
        let key = BackupKey::new(&passphrase).expect("a key");
        let encrypted = key.encrypt(b"orders").expect("it is encrypted");
        let again = BackupKey::unlock(key.locked(), &passphrase).expect("it is unlocked");
        assert_eq!(again.decrypt(&encrypted).expect("it is decrypted"), b"orders");
        let wrong = BackupKey::unlock(key.locked(), &SecretString::from("other"));
        assert!(matches!(wrong, Err(DecryptionError::WrongPassphrase)));
        let other = BackupKey::new(&passphrase).expect("a key");
        assert!(matches!(other.decrypt(&encrypted), Err(DecryptionError::Damaged(_))));
        for damaged in ["", "?", &key.locked()[8..]] {
            let unlocked = BackupKey::unlock(damaged, &passphrase);
            assert!(matches!(unlocked, Err(DecryptionError::Damaged(_))), "{damaged}");
        }
    }
}
