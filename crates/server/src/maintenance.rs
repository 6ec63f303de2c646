//! Maintenance of a store without a server. Copies the store, restores a copy, and migrates the
//! store to this program's schema.

use std::path::Path;
use std::sync::Arc;

use doorbuster_core::IdKey;
use doorbuster_store::{
    BackupError, OpenError, RestoreError, Restored, SqliteOptions, Store, migrate_postgres,
};
use secrecy::ExposeSecret;

use crate::clock::Clock;
use crate::config::Settings;
use crate::database::read_history;
use crate::secrets::{self, SecretsError};

/// The reason why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The store or the new file failed.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A secret cannot be read.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

/// Copies the store of the embedded shape and its generated secrets to `path`, which must not
/// exist. A server may use the store during the copy. The call blocks.
///
/// # Errors
///
/// If `path` exists, or the file system or the store fails. Then no partial copy is left behind.
pub fn backup(settings: &Settings, path: &Path) -> Result<(), MaintenanceError> {
    let files = secrets::backup_files(&settings.data_dir)?;
    Ok(doorbuster_store::backup(&settings.data_dir, path, Clock::default().now(), &files)?)
}

/// Restores a backup to the data directory, which must not contain a store. Pauses every sale that
/// could sell. The call blocks.
///
/// # Errors
///
/// If `path` is not a backup, the directory contains a store, or the file system fails.
pub fn restore(settings: &Settings, path: &Path) -> Result<Restored, RestoreError> {
    let dir = &settings.data_dir;
    let failed = |error| RestoreError::Failed(format!("{}: {error}", dir.display()));
    secrets::create_directory(dir).map_err(failed)?;
    doorbuster_store::restore(path, dir, Clock::default().now())
}

/// Migrates the store to this program's schema. Creates the store if it is missing.
///
/// # Errors
///
/// If a server uses the embedded store, or a newer program wrote it. Also if the store is damaged
/// or cannot be opened.
pub async fn migrate(settings: &Settings) -> Result<(), OpenError> {
    if let Some(url) = settings.shape.store() {
        let history = read_history(&settings.data_dir);
        let history = history.map_err(|error| OpenError::Failed(error.to_string()))?;
        return migrate_postgres(url.expose_secret(), &history).await;
    }
    let clock = Clock::default();
    let store = Store::open_sqlite(SqliteOptions {
        dir: settings.data_dir.clone(),
        // Opening the store neither creates nor reads ids. The store is closed before any other
        // code could do so.
        id_key: IdKey::new([0; 32]),
        clock: Arc::new(move || clock.now()),
        sink: Arc::new(|_| {}),
        on_fatal: Arc::new(|_| {}),
    })?;
    store.close().await;
    Ok(())
}
