//! Arguments of `export`.

use std::path::PathBuf;

use clap::Args;

use super::complete;
use super::server::AddressArg;
use super::settings::SettingsArgs;

/// Write the sale pages as a folder for a CDN or any web server.
///
/// The names of assets contain hashes of their contents, so caches may keep assets for ever. Each
/// file has a compressed copy beside it. Files of an earlier export stay in the folder, because
/// pages that are already open in browsers refer to them. If the folder and the server have
/// different origins, give --api, and set the server's page.origin to the folder's origin.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  doorbuster export /srv/www\n  doorbuster export /srv/www --api https://api.shop.example --sale spring"
)]
pub struct ExportArgs {
    /// The folder; it is created if it is missing.
    pub dir: PathBuf,
    /// The address at which the exported pages call the server, such as https://api.shop.example.
    /// Without this option, the pages call the server that serves them.
    #[arg(long, value_name = "ORIGIN")]
    pub api: Option<AddressArg>,
    /// Write the page of this sale. The option can be given several times [default: all sales that
    /// buyers can see].
    #[arg(long = "sale", value_name = "SALE", add = complete::sales())]
    pub sales: Vec<String>,
    /// Address of the running server. The command gets the sales from this server.
    #[arg(
        long,
        env = "DOORBUSTER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub url: AddressArg,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}
