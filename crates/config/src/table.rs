//! The complete table of settings. It has every path that a file, the environment or the command
//! line may set.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The setting's path in the file, such as `auth.buyer_secret`.
    pub path: &'static str,
    /// Whether the value is a secret. A secret is never shown and may be read from a file.
    pub secret: bool,
    /// Whether a running server uses a new value after SIGHUP.
    pub live: bool,
}

impl Setting {
    /// Returns the setting's name in the environment.
    #[must_use]
    pub fn env_name(&self) -> String {
        format!("{ENV_PREFIX}{}", self.path.replace('.', "__").to_ascii_uppercase())
    }
}

/// The prefix of every setting's name in the environment.
pub const ENV_PREFIX: &str = "DOORBUSTER_";

/// Names in the environment that only the command-line client uses.
pub const COMMAND_LINE_NAMES: [&str; 3] =
    ["DOORBUSTER_URL", "DOORBUSTER_ADMIN_KEY", "DOORBUSTER_PASSPHRASE"];

/// The suffix of a setting that names a secret's file, such as `auth.admin_key_file`.
pub const FILE_SUFFIX: &str = "_file";

/// Every setting, in the order of the default file.
pub const SETTINGS: [Setting; 68] = [
    plain("shape"),
    plain("listen"),
    plain("workers"),
    plain("roles"),
    plain("data_dir"),
    live("trusted_proxies"),
    plain("backup.to"),
    plain("backup.keep_hours"),
    secret("backup.passphrase"),
    live("page.shop"),
    plain("page.origin"),
    plain("page.url"),
    live("page.time_zone"),
    live("page.shop_url"),
    live("page.next_steps"),
    live("page.next_steps_zh"),
    live("page.next_steps_at"),
    live("page.theme.accent"),
    live("page.theme.on_accent"),
    live("page.theme.accent_text"),
    live("page.theme.accent_wash"),
    live("page.theme.logo"),
    live("page.theme.font"),
    live("page.theme.font_bold"),
    live("page.theme.footer"),
    live("page.theme.footer_zh"),
    secret("page.push.key"),
    plain("page.push.contact"),
    secret("auth.buyer_secret"),
    plain("auth.buyer_jwks"),
    plain("auth.issuer"),
    plain("auth.audience"),
    secret("auth.admin_key"),
    secret("auth.id_key"),
    live("auth.sign_in_url"),
    plain("console.oidc.issuer"),
    plain("console.oidc.client_id"),
    secret("console.oidc.client_secret"),
    plain("console.oidc.scopes"),
    plain("console.oidc.role_claim"),
    plain("console.oidc.viewers"),
    plain("console.oidc.operators"),
    plain("console.oidc.admins"),
    secret("store.url"),
    plain("store.peers"),
    secret("slots.urls"),
    plain("slots.wait_replicas"),
    plain("edge.upstreams"),
    plain("payment.provider"),
    plain("payment.sandbox_page"),
    secret("payment.webhook_secret"),
    secret("payment.stripe.secret_key"),
    secret("payment.stripe.webhook_secret"),
    plain("payment.stripe.api_url"),
    plain("payment.stripe.queries_per_sec"),
    secret("pass.keys"),
    plain("pass.ttl_secs"),
    plain("waiting_room.per_sec"),
    plain("webhooks.allow_private"),
    plain("webhooks.tries"),
    plain("webhooks.timeout_secs"),
    plain("brokers.hosts"),
    live("limits.connections"),
    live("limits.idle_secs"),
    live("limits.event_streams"),
    live("limits.stop_notice_secs"),
    plain("log.format"),
    live("log.filter"),
];

const fn plain(path: &'static str) -> Setting {
    Setting { path, secret: false, live: false }
}

const fn secret(path: &'static str) -> Setting {
    Setting { path, secret: true, live: false }
}

/// A setting that a running server reads again after SIGHUP.
const fn live(path: &'static str) -> Setting {
    Setting { path, secret: false, live: true }
}
