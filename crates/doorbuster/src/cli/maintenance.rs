//! `backup` and `migrate`.

use std::path::PathBuf;

use clap::Args;

use super::settings::SettingsArgs;

/// Copy the store to a file, while the server runs or while it is stopped.
///
/// The copy is consistent, appears whole or not at all, and never replaces a file. To use it, stop
/// the server and put it into an empty data directory as `doorbuster.sqlite3`, with the secrets
/// (`id_key` and the others) of the old one. In shapes postgres and cluster the store is
/// PostgreSQL's to copy: pg_dump, pg_basebackup.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster backup /backups/friday.sqlite3 --data-dir /var/lib/doorbuster"
)]
pub struct BackupArgs {
    /// Where the copy goes; nothing may be there yet.
    pub file: PathBuf,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Bring the store to this program's schema, without starting the server.
///
/// `serve` does the same when it starts. In shape embedded the server must be stopped; in the
/// others nodes may run, and the database is migrated. Where there is no store, an empty one is
/// made.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster migrate --data-dir /var/lib/doorbuster")]
pub struct MigrateArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
}
