//! Encryption of backups, in the format of age (age-encryption.org/v1).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use age::{DecryptError, Decryptor, Encryptor, Identity, Recipient, scrypt};
use secrecy::{ExposeSecret, SecretString};

/// The beginning of every encrypted file.
const HEADER: &[u8] = b"age-encryption.org/v1";
/// The work factor of new files. One try of a passphrase costs 2^18 steps, which take about a
/// second.
const WORK_FACTOR: u8 = 18;
/// The highest work factor of a file that this program decrypts. A higher factor would take too
/// long.
const WORK_FACTOR_MAX: u8 = 22;

/// Why a file was not decrypted.
#[derive(Debug, thiserror::Error)]
pub enum DecryptionError {
    /// The file was encrypted with another passphrase.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The file was changed or is incomplete.
    #[error("the encrypted backup is damaged or incomplete: {0}")]
    Damaged(String),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Returns whether a file is encrypted.
///
/// # Errors
///
/// The file system's error, if the file cannot be read.
pub fn is_encrypted(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(HEADER.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == HEADER)
}

/// Checks a passphrase from a file or an environment variable. Removes the line breaks at the end
/// of the text, because many programs add a line break.
///
/// # Errors
///
/// If the text is empty or has more than one line. The error is the reason.
pub fn passphrase(text: &str) -> Result<SecretString, &'static str> {
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("the passphrase is empty"),
        text if text.contains(['\r', '\n']) => Err("the passphrase has several lines"),
        line => Ok(line.into()),
    }
}

/// Returns the [`Recipient`] that encrypts files with this passphrase. Trying one passphrase costs
/// 2^`work` steps.
pub fn passphrase_recipient(passphrase: &SecretString, work: u8) -> scrypt::Recipient {
    let mut recipient = scrypt::Recipient::new(passphrase.expose_secret().to_owned().into());
    recipient.set_work_factor(work);
    recipient
}

/// Returns the [`Identity`] that decrypts files with this passphrase.
pub fn passphrase_identity(passphrase: &SecretString) -> scrypt::Identity {
    let mut identity = scrypt::Identity::new(passphrase.expose_secret().to_owned().into());
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    identity
}

/// Encrypts `from` into the new file `to`. Only the user of this process can read the new file.
pub fn encrypt_with_passphrase(
    from: &Path,
    to: &Path,
    passphrase: &SecretString,
) -> io::Result<()> {
    encrypt(from, to, &passphrase_recipient(passphrase, WORK_FACTOR))
}

/// Encrypts `from` into the new file `to`. Only the user of this process can read the new file.
/// After an error, no new file is left behind.
pub fn encrypt(from: &Path, to: &Path, recipient: &dyn Recipient) -> io::Result<()> {
    let encryptor = Encryptor::with_recipients(std::iter::once(recipient));
    let encryptor = encryptor.map_err(io::Error::other)?;
    let file = new_file(to)?;
    write_encrypted(encryptor, from, file).inspect_err(|_| {
        // If this removal fails, the caller still gets the encryption's error.
        let _ = fs::remove_file(to);
    })
}

fn write_encrypted(encryptor: Encryptor, from: &Path, to: File) -> io::Result<()> {
    let mut output = encryptor.wrap_output(to)?;
    io::copy(&mut File::open(from)?, &mut output)?;
    output.finish()?.sync_all()
}

/// Decrypts `from` into the new file `to`. Only the user of this process can read the new file.
pub fn decrypt(from: &Path, to: &Path, identity: &dyn Identity) -> Result<(), DecryptionError> {
    let decryptor = Decryptor::new(File::open(from)?).map_err(|error| match error {
        DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            DecryptionError::Damaged("its beginning is missing".to_owned())
        }
        error => error.into(),
    })?;
    let mut content = decryptor.decrypt(std::iter::once(identity))?;
    let mut file = new_file(to)?;
    let copied = copy(&mut content, &mut file).and_then(|()| Ok(file.sync_all()?));
    copied.inspect_err(|_| {
        // If this removal fails, the caller still gets the decryption's error.
        let _ = fs::remove_file(to);
    })
}

/// Copies the decrypted `content` to `file`. A read error means that the encrypted file was changed
/// or cut off.
fn copy(content: &mut impl Read, file: &mut File) -> Result<(), DecryptionError> {
    let mut part = vec![0; 64 * 1024];
    loop {
        match content
            .read(&mut part)
            .map_err(|error| DecryptionError::Damaged(error.to_string()))?
        {
            0 => return Ok(()),
            read => file.write_all(&part[..read])?,
        }
    }
}

impl From<DecryptError> for DecryptionError {
    fn from(error: DecryptError) -> Self {
        match error {
            // A wrong passphrase gives a wrong key, which cannot decrypt the header.
            DecryptError::DecryptionFailed
            | DecryptError::KeyDecryptionFailed
            | DecryptError::NoMatchingKeys => Self::WrongPassphrase,
            DecryptError::Io(error) => Self::File(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use doorbuster_testkit::TempDir;

    use super::*;

    #[test]
    fn a_changed_or_shorter_file_is_not_decrypted() {
        let dir = TempDir::new();
        let path = |name: &str| dir.path().join(name);
        let passphrase = SecretString::from("correct horse");
        fs::write(path("plain"), vec![7; 200_000]).expect("writable");
        encrypt_with_passphrase(&path("plain"), &path("encrypted"), &passphrase)
            .expect("it is encrypted");
        assert!(is_encrypted(&path("encrypted")).expect("readable"));
        assert!(!is_encrypted(&path("plain")).expect("readable"));
        let decrypt = |from: &Path, to: &Path, passphrase: &SecretString| {
            super::decrypt(from, to, &passphrase_identity(passphrase))
        };
        decrypt(&path("encrypted"), &path("again"), &passphrase).expect("it is decrypted");
        assert_eq!(fs::read(path("again")).expect("readable"), vec![7; 200_000]);
        let encrypted = fs::read(path("encrypted")).expect("readable");
        let mut changed = encrypted.clone();
        changed[150_000] ^= 1;
        let shorter = |length: usize| (format!("{length} bytes"), &encrypted[..length]);
        let changed = ("changed".to_owned(), &changed[..]);
        for (name, bytes) in [changed, shorter(150_000), shorter(100), shorter(0)] {
            let name = name.as_str();
            fs::write(path(name), bytes).expect("writable");
            let failed = decrypt(&path(name), &path("other"), &passphrase);
            assert!(matches!(failed, Err(DecryptionError::Damaged(_))), "{name}: {failed:?}");
            assert!(!path("other").exists(), "{name}");
        }
        let wrong = decrypt(&path("encrypted"), &path("other"), &SecretString::from("other"));
        assert!(matches!(wrong, Err(DecryptionError::WrongPassphrase)), "{wrong:?}");
    }
}
