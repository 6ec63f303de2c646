//! `export`.

use std::path::PathBuf;

use clap::Args;

use super::settings::SettingsArgs;

/// Write the sale pages as a folder for a CDN or any web server.
///
/// Assets have hashed names and may be kept for ever; each file has its compressed copy beside it.
/// Files of an earlier export stay, since pages that browsers hold still name them. Where the
/// folder is served from another address than the server's, give --api here, and the folder's
/// origin as page.origin to the server.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  doorbuster export /srv/www\n  doorbuster export /srv/www --api https://api.shop.example --sale spring"
)]
pub struct ExportArgs {
    /// The folder; it is made if it is not there.
    pub dir: PathBuf,
    /// Where pages find the server, such as https://api.shop.example [default: at the folder's own
    /// address].
    #[arg(long, value_name = "ORIGIN")]
    pub api: Option<reqwest::Url>,
    /// Write the page of this sale; may be given several times [default: all that the server
    /// shows].
    #[arg(long = "sale", value_name = "SALE")]
    pub sales: Vec<String>,
    /// The running server to ask for its sales.
    #[arg(
        long,
        env = "DOORBUSTER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub url: reqwest::Url,
    #[command(flatten)]
    pub settings: SettingsArgs,
}
