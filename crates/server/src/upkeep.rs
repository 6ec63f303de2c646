//! What is done to a store without a server: a copy of it, and bringing it to this program's
//! schema.

use std::path::Path;
use std::sync::Arc;

use doorbuster_core::IdKey;
use doorbuster_store::{BackupError, OpenError, SqliteOptions, Store, migrate_postgres};
use secrecy::ExposeSecret;

use crate::clock::Clock;
use crate::config::Settings;

/// Copies the store of the embedded shape to `path`, which must not exist, whether a server uses
/// the store or not. Blocks.
///
/// # Errors When something is there already, or the file system or the store says no; then nothing
/// is left behind.
pub fn backup(settings: &Settings, path: &Path) -> Result<(), BackupError> {
    doorbuster_store::backup(&settings.data_dir, path)
}

/// Brings the store to the schema of this program; makes it if there is none.
///
/// # Errors When a server uses the embedded store, when a newer program wrote it, when it is
/// damaged or cannot be opened.
pub async fn migrate(settings: &Settings) -> Result<(), OpenError> {
    if let Some(url) = settings.shape.store() {
        return migrate_postgres(url.expose_secret()).await;
    }
    let clock = Clock::default();
    let store = Store::open_sqlite(SqliteOptions {
        dir: settings.data_dir.clone(),
        // Opening neither makes nor reads an id, and this store is closed before anything else
        // could.
        id_key: IdKey::new([0; 32]),
        clock: Arc::new(move || clock.now()),
        sink: Arc::new(|_| {}),
        on_fatal: Arc::new(|_| {}),
    })?;
    store.close().await;
    Ok(())
}
