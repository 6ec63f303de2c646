//! Arguments of `backup`, `restore` and `migrate`.

use std::path::PathBuf;

use clap::Args;

use super::settings::SettingsArgs;

/// Copy the store and its generated secrets to a file, while the server runs or is stopped.
///
/// The copy is consistent, appears only when it is complete, and never replaces a file. Only its
/// owner can read it. The copy has no secrets that you configured. `doorbuster restore` writes the
/// copy back. In shapes postgres and cluster, copy the store with PostgreSQL's tools: pg_dump or
/// pg_basebackup.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster backup /backups/friday.backup --data-dir /var/lib/doorbuster"
)]
pub struct BackupArgs {
    /// The new file; it must not exist yet.
    pub file: PathBuf,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Write a backup to a data directory that contains no store.
///
/// Every sale that was open or scheduled is paused, because orders, payments and events after the
/// backup are missing. Compare with the payment provider and the shop's records before you resume
/// the sales. Only for shape embedded.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster restore /backups/friday.backup --data-dir /var/lib/doorbuster"
)]
pub struct RestoreArgs {
    /// The backup.
    pub file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Migrate the store to this program's schema, without starting the server.
///
/// `serve` does the same when it starts. In shape embedded the server must be stopped; in the other
/// shapes nodes may run. If there is no store, an empty one is created.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster migrate --data-dir /var/lib/doorbuster")]
pub struct MigrateArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
}
