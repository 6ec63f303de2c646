//! Settings in two stages: raw values are gathered from four layers, then checked into
//! [`Settings`].
//!
//! The layers, weakest first, are the built-in defaults, the file of `--config`, the environment
//! and the command line. The defaults are the commented file `config/default.toml`, which `config
//! default` prints. All faults are reported together, each with the name of the setting, where it
//! was set, and how to fix it. The server does not start with an invalid setting.

mod backup;
mod check;
mod cidr;
mod fault;
mod host;
mod page;
mod payment;
mod raw;
mod shape;
mod show;
mod table;

pub use cidr::Cidr;
pub use fault::{SettingFault, SettingsError};
pub use host::BrokerHost;
pub use table::{ENV_PREFIX, SETTINGS, Setting};

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use doorbuster_core::IdKey;
use secrecy::SecretString;

use crate::backup::BackupPlace;
use crate::gate::MasterKeys;

/// The text of the default file.
pub const DEFAULT_FILE: &str = include_str!("../config/default.toml");

/// Settings from the command line; `None` leaves a setting to the weaker layers.
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

/// Where stock is decided and kept.
#[derive(Debug)]
pub enum Shape {
    /// In this process and its data directory.
    Embedded,
    /// A slot in the memory of each node; the store is PostgreSQL.
    Postgres {
        /// URL of the store.
        store: SecretString,
    },
    /// Slots in Redis, shared by all nodes; the store is PostgreSQL.
    Cluster {
        /// URL of the store.
        store: SecretString,
        /// URLs of the Redis servers with the slots.
        slots: Vec<SecretString>,
        /// Replicas that must confirm a ticket before the answer.
        wait_replicas: u32,
    },
    /// No stock is decided or kept here: an edge of a deployment with shape `cluster`.
    Edge {
        /// URLs of the Redis servers with the slots, or of their replicas.
        slots: Vec<SecretString>,
        /// Addresses of nodes with the role `api`.
        upstreams: Vec<SocketAddr>,
    },
}

impl Shape {
    /// The shape's name in the settings.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres { .. } => "postgres",
            Self::Cluster { .. } | Self::Edge { .. } => "cluster",
        }
    }

    /// URL of a store that several nodes share.
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
    /// Takes part in the work that one node does for all.
    pub control: bool,
    /// Serves buyers from memory without a store, and passes on what it cannot decide. It has no
    /// other role.
    pub edge: bool,
}

impl Roles {
    /// All roles of a node with a store.
    pub const ALL: Self = Self { api: true, settle: true, control: true, edge: false };
    /// An edge.
    pub const EDGE: Self = Self { api: false, settle: false, control: false, edge: true };

    /// The names of the roles, as in the settings.
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
    /// The shop's own site, to which a paid order leads back.
    pub shop_url: Option<String>,
    /// What happens after a payment, in the shop's words.
    pub next_steps: Option<String>,
    /// The brand.
    pub theme: Theme,
}

/// A shop's brand on the pages.
#[derive(Clone, Debug, Default)]
pub struct Theme {
    /// The colours, if they differ from the default.
    pub colors: Option<ThemeColors>,
    /// The logo in place of the mark and the shop's name.
    pub logo: Option<ThemeFile>,
    /// The font of all texts.
    pub font: Option<ThemeFile>,
    /// Links at the end of each page: text and address.
    pub footer: Vec<(String, String)>,
}

/// Colours as `#rrggbb`, with enough contrast.
#[derive(Clone, Debug)]
pub struct ThemeColors {
    /// The fill of what can be done now.
    pub accent: String,
    /// Text on it.
    pub on_accent: String,
    /// The accent as text on a light ground.
    pub accent_text: String,
    /// A light ground for such text.
    pub accent_wash: String,
}

/// A file of the shop.
#[derive(Clone, Debug)]
pub struct ThemeFile {
    /// The end of its name, without the dot.
    pub extension: String,
    /// The content.
    pub bytes: Vec<u8>,
}

/// The continuous backup.
#[derive(Clone, Debug)]
pub struct BackupSettings {
    /// Where it is kept.
    pub place: BackupPlace,
    /// How long every earlier state can be restored.
    pub kept_for: Duration,
}

/// Checked settings: each is in range, and none contradicts another.
#[derive(Debug)]
pub struct Settings {
    /// Where stock is decided and kept.
    pub shape: Shape,
    /// Other nodes, which are asked for the newest history of the database that they know.
    pub peers: Vec<String>,
    /// The kinds of work that this process does.
    pub roles: Roles,
    /// Address to serve on.
    pub listen: SocketAddr,
    /// Threads that serve HTTP.
    pub workers: NonZeroUsize,
    /// Directory of the embedded store and its generated secrets. The other shapes keep one small
    /// file there, by which they recognize an old primary. Empty: there is no directory.
    pub data_dir: PathBuf,
    /// The continuous backup of the embedded store.
    pub backup: Option<BackupSettings>,
    /// Proxies whose forwarding headers are trusted.
    pub trusted_proxies: Vec<Cidr>,
    /// The shop's name on the page.
    pub shop: String,
    /// Another origin that serves the pages, such as a CDN's.
    pub page_origin: Option<String>,
    /// This server's own origin, as buyers' browsers see it.
    pub page_url: Option<String>,
    /// The shop's texts on the pages, and its brand.
    pub page: PageSettings,
    /// Authentication of buyers and operators.
    pub auth: AuthSettings,
    /// Payment settings.
    pub payment: PaymentSettings,
    /// The secrets from which the front door's keys are derived, if they are configured.
    pub pass_keys: Option<MasterKeys>,
    /// How long a purchase pass is valid.
    pub pass_ttl: Duration,
    /// How many buyers a waiting room admits per second. A sale with more buyers at its opening
    /// uses its automatic waiting room.
    pub room_per_sec: u64,
    /// Whether webhooks may go to `http://` and to private addresses, and any host may be a broker.
    pub webhooks_allow_private: bool,
    /// Event streams that one buyer may have open on this node.
    pub event_streams_max: usize,
    /// How often the delivery of one event to one endpoint may fail before it is a dead letter.
    pub webhooks_tries: u32,
    /// How long one attempt may take.
    pub webhooks_timeout: Duration,
    /// Hosts that may be brokers.
    pub broker_hosts: Vec<BrokerHost>,
    /// Most connections at once.
    pub connections_max: usize,
    /// How long a connection may be idle, and how long a request head may take.
    pub idle: Duration,
    /// How long the server continues to serve, while it reports not ready, after it was asked to
    /// stop.
    pub stop_notice: Duration,
    /// How to log.
    pub log: LogSettings,
    /// Whether this is a demonstration with a sample sale and guests.
    pub demo: bool,
}

/// Authentication of buyers and operators.
#[derive(Debug)]
pub struct AuthSettings {
    /// How buyers' tokens are verified. `None`: with a generated secret that is kept next to the
    /// store or in it.
    pub buyers: Option<BuyerKeys>,
    /// Issuer that a token must name.
    pub issuer: Option<String>,
    /// Audience that a token must name.
    pub audience: Option<String>,
    /// The operators' key. `None`: it is generated, and kept next to the store or in it.
    pub admin_key: Option<SecretString>,
    /// Key of order ids. `None`: it is generated, and kept next to the store or in it.
    pub id_key: Option<IdKey>,
    /// Where the page sends a visitor without a token.
    pub sign_in_url: Option<String>,
}

/// How buyers' tokens are verified.
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
    /// Whether buyers may use the sandbox's buttons: by default only in a demonstration.
    pub sandbox_page: bool,
    /// Secrets of the sandbox's messages, newest first. If there are none, one is generated and
    /// kept next to the store or in it.
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

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The format.
    pub format: LogFormat,
    /// The levels of the modules.
    pub filter: tracing_subscriber::filter::Targets,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
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

/// The effective settings, one line each with their origin and without secrets, and the faults, if
/// there are any.
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
    // The environment is a map. The home directory is looked up in it too, so tests need no real
    // one.
    let environment = environment.into_iter().collect();
    let mut faults = Vec::new();
    let raw = raw::gather(flags, &environment, &mut faults);
    let settings = check::check(&raw, flags.demo, &environment, faults);
    (raw, settings)
}

#[cfg(test)]
mod tests;
