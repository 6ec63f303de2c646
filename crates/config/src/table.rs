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
    /// The type of the setting's value.
    pub(crate) kind: ValueKind,
}

/// The type of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueKind {
    Text,
    Whole,
    Flag,
    List,
}

impl Setting {
    /// Returns the setting's name in the environment.
    #[must_use]
    pub fn env_name(&self) -> String {
        format!("{ENV_PREFIX}{}", self.path.replace('.', "__").to_ascii_uppercase())
    }

    const fn whole(self) -> Self {
        Self { kind: ValueKind::Whole, ..self }
    }

    const fn flag(self) -> Self {
        Self { kind: ValueKind::Flag, ..self }
    }

    const fn list(self) -> Self {
        Self { kind: ValueKind::List, ..self }
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
    plain("workers").whole(),
    plain("roles").list(),
    plain("data_dir"),
    live("trusted_proxies").list(),
    plain("backup.to"),
    plain("backup.keep_hours").whole(),
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
    live("page.theme.footer").list(),
    live("page.theme.footer_zh").list(),
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
    plain("console.oidc.scopes").list(),
    plain("console.oidc.role_claim"),
    plain("console.oidc.viewers").list(),
    plain("console.oidc.operators").list(),
    plain("console.oidc.admins").list(),
    secret("store.url"),
    plain("store.peers").list(),
    secret("slots.urls"),
    plain("slots.wait_replicas").whole(),
    plain("edge.upstreams").list(),
    plain("payment.provider"),
    plain("payment.sandbox_page").flag(),
    secret("payment.webhook_secret"),
    secret("payment.stripe.secret_key"),
    secret("payment.stripe.webhook_secret"),
    plain("payment.stripe.api_url"),
    plain("payment.stripe.queries_per_sec").whole(),
    secret("pass.keys"),
    plain("pass.ttl_secs").whole(),
    plain("waiting_room.per_sec").whole(),
    plain("webhooks.allow_private").flag(),
    plain("webhooks.tries").whole(),
    plain("webhooks.timeout_secs").whole(),
    plain("brokers.hosts").list(),
    live("limits.connections").whole(),
    live("limits.idle_secs").whole(),
    live("limits.event_streams").whole(),
    live("limits.stop_notice_secs").whole(),
    plain("log.format"),
    live("log.filter"),
];

const fn plain(path: &'static str) -> Setting {
    Setting { path, secret: false, live: false, kind: ValueKind::Text }
}

const fn secret(path: &'static str) -> Setting {
    Setting { path, secret: true, live: false, kind: ValueKind::Text }
}

/// A setting that a running server reads again after SIGHUP.
const fn live(path: &'static str) -> Setting {
    Setting { path, secret: false, live: true, kind: ValueKind::Text }
}
