//! Arguments of `audit`.

use std::path::PathBuf;

use clap::Args;

use super::server::ServerArgs;
use super::settings::SettingsArgs;

/// Check the store with an independent model. With --answers, also check the answers that buyers
/// got.
///
/// The audit reads the rows by SQL, in one snapshot, and changes nothing. The server may be running
/// or stopped. The audit shares no code with the server. The command exits with 1 if the audit
/// finds a fault. With --server, this command makes no audit: the running server makes its own
/// audit.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  doorbuster audit\n  doorbuster audit --store /var/lib/doorbuster --answers answers.jsonl\n  doorbuster audit --store postgres://doorbuster@db/doorbuster\n  doorbuster audit --server"
)]
pub struct AuditArgs {
    /// The store: a data directory, a database file, a backup, sqlite:PATH, or postgres://…
    /// [default: the store in the settings].
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// Also check the answers that buyers got from the server. This file contains the answers.
    /// `storm --answers` writes such files.
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Request an audit from the running server. The server's audit also lists restores, failovers
    /// and the orders that a failover lost.
    #[arg(long = "server", conflicts_with_all = ["store", "answers"])]
    pub by_server: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
    #[command(flatten)]
    pub server: ServerArgs,
}
