//! Settings in two stages: the first gathers raw values from four layers, and the second checks
//! them and creates [`Settings`].
//!
//! The layers, from weakest to strongest: the built-in defaults, the file of `--config`, the
//! environment, and the command line. The defaults are `default.toml`, which `config default`
//! prints.
//!
//! The server reports all faults together. If there is a fault, the server does not start.

mod auth;
mod backup;
mod backup_place;
mod check;
mod cidr;
mod deliveries;
mod fault;
mod host;
mod log;
mod oidc;
mod page;
mod passwords;
mod payment;
mod raw;
mod reload;
mod shape;
mod show;
mod table;

pub use auth::{AuthSettings, BuyerKeys};
pub use backup::{BackupSettings, PASSPHRASE_CHARS_MIN};
pub use backup_place::{BackupPlace, PlaceError};
pub use check::{ADMITTED_PER_SEC, PEERS_MAX};
pub use cidr::Cidr;
pub use deliveries::DeliverySettings;
pub use fault::{SettingFault, SettingsError};
pub use host::BrokerHost;
pub use log::{LogFormat, LogSettings};
pub use oidc::OidcSettings;
pub use page::DARK_WASH_PERCENT;
pub use page::{NextSteps, PageSettings, PushSettings, Theme, ThemeColors, ThemeFile};
pub use payment::{PaymentSettings, ProviderSettings, StripeSettings};
pub use reload::{SettingValues, SettingsChange};
pub use shape::{NamedNodes, Roles, Shape};
pub use table::{ENV_PREFIX, SETTINGS, Setting};

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use doorbuster_api::admin::console::ShownSetting;
use doorbuster_base::master_keys::MasterKeys;

/// The text of the default file.
pub const DEFAULT_FILE: &str = include_str!("../default.toml");

/// Settings from the command line. `None` means that the command line does not set this setting.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: a TOML file.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--roles`, separated by commas.
    pub roles: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--demo`.
    pub demo: bool,
}

/// Checked settings. Each value is in range, and no two settings contradict each other.
#[derive(Debug)]
pub struct Settings {
    /// Where the server decides about stock and stores it.
    pub shape: Shape,
    /// The addresses of other nodes. This node asks the other nodes for the newest history of the
    /// database. The history shows whether a database server is an old primary.
    pub peers: Vec<String>,
    /// The kinds of work that this process does.
    pub roles: Roles,
    /// The address on which the server serves.
    pub listen: SocketAddr,
    /// Threads that serve HTTP.
    pub workers: NonZeroUsize,
    /// Directory of the embedded store and of the generated secrets. In other shapes, the directory
    /// has the generated operators' key, and the file with which a node detects an old primary of
    /// the database. An empty path means that there is no directory.
    pub data_dir: PathBuf,
    /// The continuous backup of the embedded store; `None` if there is no continuous backup.
    pub backup: Option<BackupSettings>,
    /// Proxies whose forwarding headers are trusted.
    pub trusted_proxies: Vec<Cidr>,
    /// The shop's name on the pages.
    pub shop: String,
    /// Another origin that serves the pages, such as the origin of a CDN.
    pub page_origin: Option<String>,
    /// This server's own origin, as buyers' browsers see it.
    pub page_url: Option<String>,
    /// The shop's texts on the pages, and its brand.
    pub page: PageSettings,
    /// Authentication of buyers and operators.
    pub auth: AuthSettings,
    /// The sign-in of operators by OpenID Connect; `None` if operators sign in only with keys.
    pub oidc: Option<OidcSettings>,
    /// Payment settings.
    pub payment: PaymentSettings,
    /// The secrets from which the front door's keys are derived, if the settings have such secrets.
    pub pass_keys: Option<MasterKeys>,
    /// How long a purchase pass is valid.
    pub pass_ttl: Duration,
    /// How many buyers all waiting rooms of a sale together admit per second. If more buyers than
    /// this number arrive in a second, a waiting room in the mode `auto` opens.
    pub room_per_sec: u64,
    /// How events are delivered.
    pub deliveries: DeliverySettings,
    /// The maximum number of event streams that one buyer may have open on this node.
    pub event_streams_max: usize,
    /// The maximum number of open connections.
    pub connections_max: usize,
    /// How long a connection may be idle, and how long the head of a request may take to arrive.
    pub idle: Duration,
    /// How long the server continues to serve after a stop signal. During this time the server
    /// reports that it is not ready.
    pub stop_notice: Duration,
    /// The settings of the log.
    pub log: LogSettings,
    /// The path, the value and the origin of every setting, as the operators' API returns them. The
    /// values of secrets are hidden.
    pub shown: Vec<ShownSetting>,
    /// Whether this is a demonstration with a sample sale and guests.
    pub demo: bool,
}

/// Merges the layers and checks the result.
///
/// # Errors
/// If a setting is invalid. The error has all faults.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, SettingsError> {
    gather(flags, environment).1
}

/// Returns the checked settings, and a fingerprint of each value. A later load uses these
/// fingerprints to find changes.
///
/// # Errors
/// If a setting is invalid. The error has all faults.
pub fn load_with_values(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Settings, SettingValues), SettingsError> {
    let (raw, settings) = gather(flags, environment);
    Ok((settings?, SettingValues::new(&raw)))
}

/// Returns a text that shows each effective setting with its origin, but no secret. Also returns
/// the faults of the settings, if there are any.
pub fn show(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> (String, Result<(), SettingsError>) {
    let (raw, settings) = gather(flags, environment);
    (show::lines(&raw, settings.as_ref().ok()), settings.map(drop))
}

fn gather(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> (raw::RawSettings, Result<Settings, SettingsError>) {
    // The home directory also comes from this map, so tests need no real home directory.
    let environment = environment.into_iter().collect();
    let mut faults = Vec::new();
    let raw = raw::gather(flags, &environment, &mut faults);
    let mut settings = check::check(&raw, flags.demo, &environment, faults);
    if let Ok(settings) = &mut settings {
        settings.shown = show::rows(&raw, settings);
    }
    (raw, settings)
}

#[cfg(test)]
mod tests;
