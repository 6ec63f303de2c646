//! Settings in two stages: gathered raw from four layers, then checked into [`Settings`].
//!
//! Weakest first: built-in defaults (the commented file `config/default.toml`, which `config
//! default` prints), the file of `--config`, the environment, the command line. Everything that is
//! wrong is found at once and told with the name of the setting, where it was set, and what to
//! write instead; nothing starts on settings that are not understood.

mod check;
mod cidr;
mod fault;
mod host;
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

use crate::gate::MasterKeys;

/// The default file, word for word.
pub const DEFAULT_FILE: &str = include_str!("../config/default.toml");

/// What the command line says about settings; `None` leaves a setting to the weaker layers.
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
    /// A slot in the memory of each node; the truth in PostgreSQL.
    Postgres {
        /// Address of the truth.
        store: SecretString,
    },
    /// Slots in Redis, shared by all nodes; the truth in PostgreSQL.
    Cluster {
        /// Address of the truth.
        store: SecretString,
        /// Addresses of the slots' servers.
        slots: Vec<SecretString>,
        /// Replicas that are waited for before tickets there are told.
        wait_replicas: u32,
    },
}

impl Shape {
    /// Address of a truth that several nodes share.
    #[must_use]
    pub fn store(&self) -> Option<&SecretString> {
        match self {
            Self::Embedded => None,
            Self::Postgres { store } | Self::Cluster { store, .. } => Some(store),
        }
    }
}

/// The parts of the work that a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Answers buyers and operators.
    pub api: bool,
    /// Settles tickets.
    pub settle: bool,
    /// Takes part in the work that one node does for all.
    pub control: bool,
}

impl Roles {
    /// Everything.
    pub const ALL: Self = Self { api: true, settle: true, control: true };
}

/// Settings that were checked: each is in range, and none contradicts another.
#[derive(Debug)]
pub struct Settings {
    /// Where stock is decided and kept.
    pub shape: Shape,
    /// The parts of the work that this process does.
    pub roles: Roles,
    /// Address to serve on.
    pub listen: SocketAddr,
    /// Threads that serve HTTP.
    pub workers: NonZeroUsize,
    /// Where the embedded store and its generated secrets are. Nothing is written there in the
    /// other shapes.
    pub data_dir: PathBuf,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// The shop's name on the page.
    pub shop: String,
    /// Another origin that pages are served from, such as a CDN's.
    pub page_origin: Option<String>,
    /// This server's own origin, as buyers' browsers see it.
    pub page_url: Option<String>,
    /// Who may buy and who may operate.
    pub auth: AuthSettings,
    /// Money that comes in.
    pub payment: PaymentSettings,
    /// The secrets that keys of the front door are made from, if they are configured.
    pub pass_keys: Option<MasterKeys>,
    /// How long a purchase pass may be used.
    pub pass_ttl: Duration,
    /// How many buyers are called out of a sale's waiting room within a second; more than so many
    /// open one that opens by itself.
    pub room_per_sec: u64,
    /// Whether outgoing webhooks may go to `http://` and to private addresses, and any host may be
    /// a broker.
    pub webhooks_allow_private: bool,
    /// How often one event is sent to one endpoint in vain before it is a dead letter.
    pub webhooks_tries: u32,
    /// How long one attempt may take.
    pub webhooks_timeout: Duration,
    /// Hosts that may be brokers.
    pub broker_hosts: Vec<BrokerHost>,
    /// Most connections at once.
    pub connections_max: usize,
    /// How long a connection may be idle, or take for a request head.
    pub idle: Duration,
    /// How long the server goes on, not ready any more, once it was asked to stop.
    pub stop_notice: Duration,
    /// How to log.
    pub log: LogSettings,
    /// Whether this is a demonstration: sample sale, guests.
    pub demo: bool,
}

/// Who may buy and who may operate.
#[derive(Debug)]
pub struct AuthSettings {
    /// How buyers' tokens are checked; `None`: by a secret that is generated, and kept beside or in
    /// the store.
    pub buyers: Option<BuyerKeys>,
    /// Issuer that a token must name.
    pub issuer: Option<String>,
    /// Audience that a token must name.
    pub audience: Option<String>,
    /// The operators' key; `None`: generated, and kept beside or in the store.
    pub admin_key: Option<SecretString>,
    /// Key of order ids; `None`: generated, and kept beside or in the store.
    pub id_key: Option<IdKey>,
    /// Where the page sends a visitor without a token.
    pub sign_in_url: Option<String>,
}

/// How buyers' tokens are checked.
#[derive(Debug)]
pub enum BuyerKeys {
    /// HS256 with this secret.
    Secret(SecretString),
    /// The public keys in this file.
    JwksFile(PathBuf),
    /// The public keys at this address.
    JwksUrl(String),
}

/// Money that comes in.
#[derive(Debug)]
pub struct PaymentSettings {
    /// Who takes the money.
    pub provider: ProviderSettings,
    /// Whether buyers may press the sandbox's buttons: in a demonstration, unless told otherwise.
    pub sandbox_page: bool,
    /// Secrets of the sandbox's messages, newest first; none: one is generated, and kept beside or
    /// in the store.
    pub webhook_secrets: Vec<SecretString>,
}

/// Who takes the money.
#[derive(Debug)]
pub enum ProviderSettings {
    /// The built-in provider, which moves none.
    Sandbox,
    /// Stripe.
    Stripe(StripeSettings),
}

/// An account at Stripe.
#[derive(Debug)]
pub struct StripeSettings {
    /// Origin of its API.
    pub api_url: String,
    /// The key that its API asks for.
    pub secret_key: SecretString,
    /// What its events are signed with, newest first.
    pub webhook_secrets: Vec<SecretString>,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// In which form.
    pub format: LogFormat,
    /// Which levels of which parts.
    pub filter: tracing_subscriber::filter::Targets,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Lines for people.
    Text,
    /// Lines for machines.
    Json,
}

/// One layer after the other, then checked.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Settings, SettingsError> {
    gather(flags, environment).1
}

/// The settings as they would be used, one line each with where it comes from, and without secrets.
/// Beside it what is wrong with them, if anything is.
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
    // A map of the environment: the home directory is looked up there too, so that a test needs no
    // real one.
    let environment = environment.into_iter().collect();
    let mut faults = Vec::new();
    let raw = raw::gather(flags, &environment, &mut faults);
    let settings = check::check(&raw, flags.demo, &environment, faults);
    (raw, settings)
}

#[cfg(test)]
mod tests;
