//! Settings in two stages. The first stage gathers raw values from four layers, and the second
//! stage checks them into [`Settings`].
//!
//! The layers are, from weakest to strongest: the built-in defaults, the file of `--config`, the
//! environment, and the command line. The defaults are the commented file `config/default.toml`,
//! which `config default` prints.
//!
//! All faults are reported together. Each report names the setting, its source and the way to fix
//! it. The server does not start with an invalid setting.

mod backup;
mod check;
mod cidr;
mod fault;
mod host;
mod oidc;
mod page;
mod payment;
mod raw;
mod reload;
mod shape;
mod show;
mod table;

pub use cidr::Cidr;
pub use fault::{SettingFault, SettingsError};
pub use host::BrokerHost;
pub use oidc::OidcSettings;
pub use reload::{SettingValues, SettingsChange};
pub use table::{ENV_PREFIX, SETTINGS, Setting};

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use doorbuster_api::admin::console::ShownSetting;
use doorbuster_core::IdKey;
use secrecy::SecretString;

use crate::backup::BackupPlace;
use crate::gate::MasterKeys;

/// The text of the default file.
pub const DEFAULT_FILE: &str = include_str!("../config/default.toml");

/// Settings from the command line. `None` leaves a setting to the weaker layers.
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

/// Where stock is decided and stored.
#[derive(Debug)]
pub enum Shape {
    /// In this process and its data directory.
    Embedded,
    /// Each node has a slot in its memory. The store is PostgreSQL.
    Postgres {
        /// URL of the store.
        store: SecretString,
    },
    /// All nodes share slots in Redis. The store is PostgreSQL.
    Cluster {
        /// URL of the store.
        store: SecretString,
        /// URLs of the Redis servers with the slots.
        slots: Vec<SecretString>,
        /// Replicas that must confirm a ticket before the buyer gets an answer.
        wait_replicas: u32,
    },
    /// This process decides and stores no stock. It is an edge of a deployment with shape
    /// `cluster`.
    Edge {
        /// URLs of the Redis servers with the slots, or of their replicas.
        slots: Vec<SecretString>,
        /// Addresses of nodes with the role `api`.
        upstreams: Vec<SocketAddr>,
    },
}

impl Shape {
    /// Returns the shape's name in the settings.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres { .. } => "postgres",
            Self::Cluster { .. } | Self::Edge { .. } => "cluster",
        }
    }

    /// Returns the URL of a store that several nodes share. `None`: the shape has no such store.
    #[must_use]
    pub fn store(&self) -> Option<&SecretString> {
        match self {
            Self::Embedded | Self::Edge { .. } => None,
            Self::Postgres { store } | Self::Cluster { store, .. } => Some(store),
        }
    }
}

/// The kinds of work that a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Serves buyers and operators.
    pub api: bool,
    /// Settles tickets.
    pub settle: bool,
    /// Does work that one node does for all nodes.
    pub control: bool,
    /// Serves buyers from memory without a store, and passes other requests to nodes. A process
    /// with this role has no other role.
    pub edge: bool,
}

impl Roles {
    /// All roles of a node with a store.
    pub const ALL: Self = Self { api: true, settle: true, control: true, edge: false };
    /// The role of an edge.
    pub const EDGE: Self = Self { api: false, settle: false, control: false, edge: true };

    /// Returns the names of the roles, as in the settings.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let all = [
            ("api", self.api),
            ("settle", self.settle),
            ("control", self.control),
            ("edge", self.edge),
        ];
        all.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }
}

/// The shop's texts on the buyers' pages, and its brand.
#[derive(Clone, Debug, Default)]
pub struct PageSettings {
    /// The shop's time zone, such as `Asia/Shanghai`.
    pub time_zone: Option<String>,
    /// The shop's own site. The page of a paid order links to it.
    pub shop_url: Option<String>,
    /// The text that tells buyers what happens after a payment.
    pub next_steps: Option<String>,
    /// The brand.
    pub theme: Theme,
    /// Messages to browsers, if the shop set a key.
    pub push: Option<PushSettings>,
}

/// Messages to browsers (web push).
#[derive(Clone, Debug)]
pub struct PushSettings {
    /// The private key that names the shop to push services, in base64url.
    pub key: SecretString,
    /// Where the operator of a push service reaches the shop: `mailto:` or `https:`.
    pub contact: String,
}

/// A shop's brand on the pages.
#[derive(Clone, Debug, Default)]
pub struct Theme {
    /// The colours, if they differ from the default.
    pub colors: Option<ThemeColors>,
    /// The logo, which replaces the mark and the shop's name.
    pub logo: Option<ThemeFile>,
    /// The font of all texts.
    pub font: Option<ThemeFile>,
    /// Links at the end of each page. Each has a text and an address.
    pub footer: Vec<(String, String)>,
}

/// Colours as `#rrggbb`, with enough contrast.
#[derive(Clone, Debug)]
pub struct ThemeColors {
    /// The fill of buttons and other things that a buyer can use now.
    pub accent: String,
    /// The colour of text on the accent.
    pub on_accent: String,
    /// The colour of accented text on a light background.
    pub accent_text: String,
    /// A light background for accented text.
    pub accent_wash: String,
}

/// A file of the shop's brand.
#[derive(Clone, Debug)]
pub struct ThemeFile {
    /// The extension of the file's name, without the dot.
    pub extension: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The continuous backup.
#[derive(Clone, Debug)]
pub struct BackupSettings {
    /// The directory or bucket of the backup.
    pub place: BackupPlace,
    /// How long every earlier state can be restored.
    pub kept_for: Duration,
}

/// Checked settings. Each is in range, and no two contradict each other.
#[derive(Debug)]
pub struct Settings {
    /// Where stock is decided and stored.
    pub shape: Shape,
    /// Other nodes. This node asks them for the newest history of the database that they know.
    pub peers: Vec<String>,
    /// The kinds of work that this process does.
    pub roles: Roles,
    /// The address on which the server serves.
    pub listen: SocketAddr,
    /// Threads that serve HTTP.
    pub workers: NonZeroUsize,
    /// Directory of the embedded store and of its generated secrets. In other shapes, nodes keep
    /// one small file there to detect an old primary. An empty path means that there is no
    /// directory.
    pub data_dir: PathBuf,
    /// The continuous backup of the embedded store.
    pub backup: Option<BackupSettings>,
    /// Proxies whose forwarding headers are trusted.
    pub trusted_proxies: Vec<Cidr>,
    /// The shop's name on the pages.
    pub shop: String,
    /// Another origin that serves the pages, such as a CDN's.
    pub page_origin: Option<String>,
    /// This server's own origin, as buyers' browsers see it.
    pub page_url: Option<String>,
    /// The shop's texts on the pages, and its brand.
    pub page: PageSettings,
    /// Authentication of buyers and operators.
    pub auth: AuthSettings,
    /// Sign-in of operators by OpenID Connect.
    pub oidc: Option<OidcSettings>,
    /// Payment settings.
    pub payment: PaymentSettings,
    /// The secrets from which the front door's keys are derived, if the settings have them.
    pub pass_keys: Option<MasterKeys>,
    /// How long a purchase pass is valid.
    pub pass_ttl: Duration,
    /// How many buyers a waiting room admits per second. If more buyers arrive, a sale's automatic
    /// waiting room opens.
    pub room_per_sec: u64,
    /// Whether webhooks may go to `http://` and to private addresses. If so, any host may also be a
    /// broker.
    pub webhooks_allow_private: bool,
    /// The maximum number of event streams that one buyer may have open on this node.
    pub event_streams_max: usize,
    /// How often a delivery of one event to one endpoint may fail. After that the event is a dead
    /// letter.
    pub webhooks_tries: u32,
    /// How long one attempt of a delivery may take.
    pub webhooks_timeout: Duration,
    /// Hosts that may be brokers.
    pub broker_hosts: Vec<BrokerHost>,
    /// The maximum number of connections at once.
    pub connections_max: usize,
    /// How long a connection may be idle, and how long the head of a request may take.
    pub idle: Duration,
    /// How long the server continues to serve after it was asked to stop. It reports that it is not
    /// ready during this time.
    pub stop_notice: Duration,
    /// The settings of the log.
    pub log: LogSettings,
    /// Every setting as operators see it, without secrets.
    pub shown: Vec<ShownSetting>,
    /// Whether this is a demonstration with a sample sale and guests.
    pub demo: bool,
}

/// Authentication of buyers and operators.
#[derive(Debug)]
pub struct AuthSettings {
    /// The way to verify buyers' tokens. `None`: the server generates a secret and keeps the secret
    /// in the store or beside it.
    pub buyers: Option<BuyerKeys>,
    /// The issuer that every token must name.
    pub issuer: Option<String>,
    /// The audience that every token must name.
    pub audience: Option<String>,
    /// The operators' key. `None`: the server generates a key and keeps the key in the store or
    /// beside it.
    pub admin_key: Option<SecretString>,
    /// The key of order ids. `None`: the server generates a key and keeps the key in the store or
    /// beside it.
    pub id_key: Option<IdKey>,
    /// The address to which a page sends a visitor without a token.
    pub sign_in_url: Option<String>,
}

/// The way to verify buyers' tokens.
#[derive(Debug)]
pub enum BuyerKeys {
    /// HS256 with this secret.
    Secret(SecretString),
    /// The public keys in this file.
    JwksFile(PathBuf),
    /// The public keys at this address.
    JwksUrl(String),
}

/// Payment settings.
#[derive(Debug)]
pub struct PaymentSettings {
    /// The payment provider.
    pub provider: ProviderSettings,
    /// Whether buyers may use the sandbox's buttons. The default is yes only in a demonstration.
    pub sandbox_page: bool,
    /// Secrets of the sandbox's messages, newest first. Without a secret in the settings, the
    /// server generates one and keeps it in the store or beside it.
    pub webhook_secrets: Vec<SecretString>,
}

/// The payment provider.
#[derive(Debug)]
pub enum ProviderSettings {
    /// The built-in provider, which moves no money.
    Sandbox,
    /// Stripe.
    Stripe(StripeSettings),
}

/// An account at Stripe.
#[derive(Debug)]
pub struct StripeSettings {
    /// Origin of Stripe's API.
    pub api_url: String,
    /// The secret key for Stripe's API.
    pub secret_key: SecretString,
    /// The secrets that sign Stripe's events, newest first.
    pub webhook_secrets: Vec<SecretString>,
}

/// The settings of the log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The format.
    pub format: LogFormat,
    /// The log level of each module.
    pub filter: tracing_subscriber::filter::Targets,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text if the output is a terminal, and otherwise JSON.
    Auto,
    /// Lines of text for people.
    Text,
    /// JSON, one object per line.
    Json,
}

/// Merges the layers and checks the result.
///
/// # Errors
/// All faults together.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, SettingsError> {
    gather(flags, environment).1
}

/// Returns the checked settings, and their values for a later comparison.
///
/// # Errors
/// All faults together.
pub fn load_with_values(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(Settings, SettingValues), SettingsError> {
    let (raw, settings) = gather(flags, environment);
    Ok((settings?, SettingValues::new(&raw)))
}

/// Returns the effective settings, each on one line with its origin. Secrets are hidden. Also
/// returns the faults, if there are any.
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
    // The environment is passed as a map, and the home directory comes from that map too. So tests
    // need no real home directory.
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
