//! Maintenance of a store without a server: backup, restore and migration.

mod temporary;

use std::path::Path;
use std::sync::Arc;

use doorbuster_backup::{
    BackupPlace, BackupTarget, ContinuousRestoreError, RestoredCopy, check_space, is_on_disk_of,
};
use doorbuster_core::IdKey;
pub use doorbuster_store::Restored;
use doorbuster_store::{
    BackupError, KnownHistories, OpenError, RestoreError, SqliteOptions, Store, migrate_postgres,
    publish_backup,
};
use secrecy::{ExposeSecret, SecretString};

pub use doorbuster_base::encryption::{DecryptionError, is_encrypted, passphrase};

use doorbuster_base::clock::Clock;
use doorbuster_base::encryption;
use doorbuster_config::Settings;
use doorbuster_engine::database::read_history;
use doorbuster_secrets::{self as secrets, SecretsError};

use crate::boot::announce_key;

pub use temporary::TemporaryDirs;
use temporary::{TemporaryDir, lock_data_dir, lock_for_restore};

/// The reason why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The store cannot be read, or the new file cannot be written.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A secret cannot be read.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The copy cannot be encrypted.
    #[error("the backup cannot be encrypted: {0}")]
    Encryption(std::io::Error),
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFileError {
    /// The file cannot be decrypted.
    #[error(transparent)]
    Decryption(#[from] DecryptionError),
    /// Other users can write to the directory, so a server would refuse the directory.
    #[error(transparent)]
    Directory(#[from] SecretsError),
    /// The backup cannot be restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// Why a store was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The data directory or a secret in it cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The store cannot be opened or migrated.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Copies the embedded store and its secrets to the new file `path`, and encrypts the copy if there
/// is a passphrase. A server may use the store at the same time. The call blocks.
///
/// # Errors
///
/// If `path` exists, the disk of the data directory has too little free space, the file system
/// fails, or the store fails. In each of these cases, no partial copy remains.
pub fn backup(
    settings: &Settings,
    path: &Path,
    passphrase: Option<&SecretString>,
    temporary: &TemporaryDirs,
) -> Result<(), MaintenanceError> {
    let (dir, now) = (&settings.data_dir, Clock::default().now());
    let files = secrets::backup_files(dir)?;
    if path.exists() {
        return Err(BackupError::Exists(path.to_owned()).into());
    }
    let _lock = lock_data_dir(dir);
    // The unencrypted copy for an encrypted backup goes to the data directory. This directory
    // already contains the same data without encryption.
    let in_data_dir = dir.join("backup");
    let beside = if passphrase.is_some() { in_data_dir.as_path() } else { path };
    let copies = u64::from(passphrase.is_some()) + u64::from(is_on_disk_of(dir, path));
    if copies > 0 {
        check_space(dir, copies).map_err(BackupError::Failed)?;
    }
    let plain = create_beside(temporary, beside)?;
    doorbuster_store::backup(dir, &plain.file(), now, &files)?;
    let Some(passphrase) = passphrase else {
        return Ok(publish_backup(&plain.file(), path)?);
    };
    let part = create_beside(temporary, path)?;
    encryption::encrypt_with_passphrase(&plain.file(), &part.file(), passphrase)
        .map_err(MaintenanceError::Encryption)?;
    Ok(publish_backup(&part.file(), path)?)
}

fn create_beside(temporary: &TemporaryDirs, path: &Path) -> Result<TemporaryDir, BackupError> {
    temporary.create_beside(path).map_err(|error| {
        let text = format!("cannot create a directory beside {}: {error}", path.display());
        BackupError::Failed(text)
    })
}

/// Restores a backup to a data directory without a store, and pauses every open or scheduled sale.
/// The call blocks.
///
/// # Errors
///
/// If `path` is not a backup, the data directory contains a store, another command uses the data
/// directory, or the file system fails.
pub fn restore(
    settings: &Settings,
    path: &Path,
    passphrase: Option<&SecretString>,
    temporary: &TemporaryDirs,
) -> Result<Restored, RestoreFileError> {
    let dir = &settings.data_dir;
    let failed = |error| RestoreError::Failed(format!("{}: {error}", dir.display()));
    secrets::create_directory(dir).map_err(failed)?;
    secrets::check_directory(dir)?;
    let _lock = lock_for_restore(dir)?;
    // Checked first, so that a restore to the directory of a store does not fill its disk.
    doorbuster_store::check_restorable(dir)?;
    temporary.add_restore_files(dir);
    let now = Clock::default().now();
    let Some(passphrase) = passphrase else {
        return Ok(doorbuster_store::restore(path, dir, now)?);
    };
    let plain = temporary.create_beside(&dir.join("restore")).map_err(failed)?;
    encryption::decrypt(path, &plain.file(), &encryption::passphrase_identity(passphrase))?;
    Ok(doorbuster_store::restore(&plain.file(), dir, now)?)
}

/// Restores a continuous backup as [`restore`] restores a file. The result is the state at `until`
/// or, without `until`, the newest state.
///
/// # Errors
///
/// If the backup is missing or damaged, the passphrase is missing or wrong, the directory contains
/// a store, or another command uses the directory.
pub async fn restore_continuous(
    settings: &Settings,
    place: &BackupPlace,
    until: Option<jiff::Timestamp>,
    passphrase: Option<&SecretString>,
    temporary: &TemporaryDirs,
) -> Result<RestoredCopy, ContinuousRestoreError> {
    let target = BackupTarget::open(place)?;
    let dir = &settings.data_dir;
    let failed = |error| RestoreError::Failed(format!("{}: {error}", dir.display()));
    secrets::create_directory(dir).map_err(failed)?;
    secrets::check_directory(dir)?;
    let _lock = lock_for_restore(dir)?;
    // Checked first, so that a restore to the directory of a store does not fill its disk.
    doorbuster_store::check_restorable(dir)?;
    temporary.add_restore_files(dir);
    doorbuster_backup::restore(&target, dir, until, passphrase).await
}

/// Migrates the store to this program's schema, or creates the store. A new embedded store also
/// gets its secrets, because a server refuses a store whose key is missing.
///
/// # Errors
///
/// If a server uses the embedded store, or if the store is damaged, cannot be opened, or was
/// written by a newer program. The migration also fails if the data directory cannot be used.
pub async fn migrate(settings: &Settings) -> Result<(), MigrateError> {
    if let Some(url) = settings.shape.store() {
        let history = read_history(&settings.data_dir);
        let history = history.map_err(|error| OpenError::Failed(error.to_string()))?;
        return Ok(migrate_postgres(url.expose_secret(), &history).await?);
    }
    let dir = &settings.data_dir;
    let failed = |error| SecretsError::InDirectory { path: dir.clone(), error };
    secrets::create_directory(dir).map_err(failed)?;
    secrets::check_directory(dir)?;
    // A running restore may write the secrets of its backup, so this function must create no
    // secrets meanwhile.
    doorbuster_store::check_unlocked(dir)?;
    let new_secrets = match doorbuster_store::is_store(dir) {
        true => None,
        false => {
            let created = secrets::load_or_create_all(settings, &KnownHistories::default()).await?;
            announce_key(settings, &created);
            Some(created)
        }
    };
    let clock = Clock::default();
    let opened = Store::open_sqlite(SqliteOptions {
        dir: dir.clone(),
        // The key's value does not matter: no id is created before the store closes.
        id_key: IdKey::new([0; 32]),
        clock: Arc::new(move || clock.now()),
        sink: Arc::new(|_| {}),
        on_fatal: Arc::new(|_| {}),
    });
    // After a failure, the new key is removed again. It stays only if another process has locked
    // the directory, because that process may already use the key.
    if let (Err(error), Some(created)) = (&opened, &new_secrets)
        && !matches!(error, OpenError::Locked(_))
    {
        secrets::remove_new_pass_key(settings, created);
    }
    opened?.close().await;
    Ok(())
}
