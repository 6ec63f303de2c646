//! Arguments of `page`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::settings::SettingsArgs;

/// Look at the buyers' pages before they go live.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster page preview --config /etc/doorbuster/doorbuster.toml"
)]
pub struct PageArgs {
    /// The operation.
    #[command(subcommand)]
    pub command: PageCommand,
}

/// An operation on the pages.
#[derive(Debug, Subcommand)]
pub enum PageCommand {
    Preview(PreviewArgs),
}

/// Write one HTML file that shows the brand of `page.theme` in the light and the dark scheme.
///
/// The file needs no server: open the file in a browser. The command first checks the colours. The
/// server makes the same checks when it starts.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster page preview --config doorbuster.toml --out brand.html"
)]
pub struct PreviewArgs {
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = "doorbuster-preview.html")]
    pub out: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}
