//! Arguments of `backup` and `migrate`.

use std::path::PathBuf;

use clap::Args;

use super::settings::SettingsArgs;

/// Copy the store to a file, while the server runs or while it is stopped.
///
/// The copy is consistent, appears only when it is complete, and never replaces a file. To use it,
/// stop the server and put it into an empty data directory as `doorbuster.sqlite3`, with the
/// secrets (`id_key` and the others) of the old one. In shapes postgres and cluster, copy the store
/// with PostgreSQL's tools: pg_dump or pg_basebackup.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster backup /backups/friday.sqlite3 --data-dir /var/lib/doorbuster"
)]
pub struct BackupArgs {
    /// The new file; it must not exist yet.
    pub file: PathBuf,
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
