//! Arguments of `backup`, `restore` and `migrate`.

use std::path::PathBuf;

use clap::Args;

use super::settings::SettingsArgs;

/// Copy the store and its generated secrets to a file, also while the server runs.
///
/// The copy is consistent. The new file appears only when the copy is complete, and never replaces
/// an existing file. Only the owner of the new file can read it. The copy does not contain the
/// secrets that you configured. `doorbuster restore` writes the copy back. With --encrypt, the file
/// is encrypted with a passphrase, in the format of the program `age`. This command works only in
/// the shape embedded. In the other shapes, copy the store with PostgreSQL's tools, pg_dump or
/// pg_basebackup.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  doorbuster backup /backups/friday.backup --data-dir /var/lib/doorbuster\n  doorbuster backup /backups/friday.age --data-dir /var/lib/doorbuster --encrypt"
)]
pub struct BackupArgs {
    /// The new file; it must not exist yet.
    pub file: PathBuf,
    /// Encrypt the file with a passphrase.
    #[arg(long)]
    pub encrypt: bool,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Where the passphrase of a backup comes from. The first source that exists is used: a file, the
/// environment variable DOORBUSTER_PASSPHRASE, the terminal.
#[derive(Debug, Args)]
pub struct PassphraseArgs {
    /// Read the passphrase from the only line of this file [default: the environment variable
    /// DOORBUSTER_PASSPHRASE, or the terminal].
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Restore a backup into a data directory that contains no store.
///
/// Afterwards, every sale that was open, scheduled or paused is paused, because the backup lacks
/// the orders, payments and events that came after the backup. Compare the store with the payment
/// provider's and the shop's records before you resume the sales. The command works only in the
/// shape embedded.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  doorbuster restore /backups/friday.backup --data-dir /var/lib/doorbuster\n  doorbuster restore /backups/shop --data-dir /var/lib/doorbuster --until 2026-11-27T20:00:00Z"
)]
pub struct RestoreArgs {
    /// The backup: a file, or the directory or bucket (s3://BUCKET/PREFIX) of a continuous backup.
    #[arg(value_name = "BACKUP")]
    pub file: PathBuf,
    /// Restore the last state at or before this time. This option needs a continuous backup
    /// [default: the newest state].
    #[arg(long, value_name = "TIME")]
    pub until: Option<jiff::Timestamp>,
    #[command(flatten)]
    pub passphrase: PassphraseArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Migrate the store to this program's schema, without starting the server.
///
/// `serve` does the same when it starts. In the shape embedded, stop the server before the
/// migration. In the other shapes, nodes may run during the migration. If there is no store, the
/// command creates an empty store. In the shape embedded, it also creates the secrets of the store.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster migrate --data-dir /var/lib/doorbuster")]
pub struct MigrateArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}
