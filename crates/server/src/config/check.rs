//! The second stage: parses each raw value and checks ranges and contradictions.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorbuster_api::limits::TITLE_CHARS_MAX;
use doorbuster_core::IdKey;
use doorbuster_core::limits::DELIVERY_TRIES_MAX;
use secrecy::{ExposeSecret, SecretString};

use super::fault::{SettingFault, SettingsError};
use super::raw::{Environment, RawSettings, SettingOrigin};
use super::{
    AuthSettings, BrokerHost, BuyerKeys, Cidr, LogFormat, LogSettings, Settings, Shape, oidc,
    payment, shape,
};

use crate::auth::check_jwks_file;
use crate::gate::{MASTER_KEYS_MAX, MasterKeys, waiting_room};

mod settings_reader;

pub(super) use settings_reader::SettingsReader;

/// The maximum number of nodes that `store.peers` may name.
const PEERS_MAX: usize = 64;
/// Shortest secret and operators' key, in bytes.
const SECRET_BYTES_MIN: usize = 32;

/// Checks all settings. `faults` has the faults that were found while the sources were read.
pub(super) fn check(
    raw: &RawSettings,
    demo: bool,
    environment: &Environment,
    faults: Vec<SettingFault>,
) -> Result<Settings, SettingsError> {
    let mut read = SettingsReader::new(raw, faults);
    let shape = shape::shape(&mut read);
    let peers = peers(&mut read);
    let roles = shape::roles(&mut read, shape.as_ref());
    let listen = listen(&mut read);
    let workers = read.integer("workers", 1..=1024).map_or_else(available_cores, to_size);
    let data_dir = data_dir(&mut read, environment, shape.as_ref());
    let backup = super::backup::backup(&mut read, shape.as_ref(), data_dir.as_deref());
    let trusted_proxies = trusted_proxies(&mut read);
    let shop = shop(&mut read);
    let page_origin = origin(&mut read, "page.origin");
    let page_url = origin(&mut read, "page.url");
    let page = super::page::page(&mut read);
    let auth = auth(&mut read, demo);
    let oidc = oidc::oidc(&mut read);
    let payment = payment::payment(&mut read, demo);
    let pass_keys = pass_keys(&mut read);
    let pass_ttl = read.integer("pass.ttl_secs", 5..=3600).map(Duration::from_secs);
    let room_per_sec = read.integer("waiting_room.per_sec", waiting_room::ADMITTED_PER_SEC);
    let webhooks_allow_private = read.flag("webhooks.allow_private");
    let unset = read.origin("webhooks.allow_private") == Some(&SettingOrigin::Default);
    let webhooks_tries = read.integer("webhooks.tries", 1..=u64::from(DELIVERY_TRIES_MAX));
    let webhooks_timeout = read.integer("webhooks.timeout_secs", 1..=60).map(Duration::from_secs);
    let broker_hosts = broker_hosts(&mut read);
    let connections_max =
        read.integer("limits.connections", 16..=1_000_000).map(|number| to_size(number).get());
    let idle = read.integer("limits.idle_secs", 1..=3600).map(Duration::from_secs);
    let event_streams = read.integer("limits.event_streams", 1..=1_000);
    let stop_notice = read.integer("limits.stop_notice_secs", 0..=300).map(Duration::from_secs);
    let log = log(&mut read);
    let settings = (|| {
        Some(Settings {
            shape: shape?,
            peers,
            roles: roles?,
            listen: listen?,
            workers,
            data_dir: data_dir?,
            backup,
            trusted_proxies,
            shop: shop?,
            page_origin,
            page_url,
            page,
            auth,
            oidc,
            payment: payment?,
            pass_keys,
            pass_ttl: pass_ttl?,
            room_per_sec: room_per_sec?,
            webhooks_allow_private: webhooks_allow_private? || (demo && unset),
            webhooks_tries: webhooks_tries.and_then(|tries| u32::try_from(tries).ok())?,
            webhooks_timeout: webhooks_timeout?,
            broker_hosts,
            connections_max: connections_max?,
            idle: idle?,
            event_streams_max: event_streams.map(|number| to_size(number).get())?,
            stop_notice: stop_notice?,
            log: log?,
            shown: Vec::new(),
            demo,
        })
    })();
    read.finish(settings)
}

fn available_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Converts a checked number to a size. The number is never 0.
fn to_size(number: u64) -> NonZeroUsize {
    usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

fn data_dir(
    read: &mut SettingsReader<'_>,
    environment: &Environment,
    shape: Option<&Shape>,
) -> Option<PathBuf> {
    if read.is_set("data_dir") {
        let text = read.text("data_dir")?;
        if text.is_empty() {
            read.fault("data_dir", "is empty; write the path of a directory");
            return None;
        }
        if std::fs::metadata(&text).is_ok_and(|there| !there.is_dir()) {
            read.fault(
                "data_dir",
                format!(
                    "{text} is not a directory; write the path of a directory that exists or can \
                     be created"
                ),
            );
            return None;
        }
        return Some(text.into());
    }
    let set = |name: &str| {
        environment.get(name.as_ref() as &std::ffi::OsStr).filter(|value| !value.is_empty())
    };
    let path = match (set("XDG_DATA_HOME"), set("HOME")) {
        // The XDG specification says that programs ignore a relative path.
        (Some(xdg), _) if std::path::Path::new(xdg).is_absolute() => Some(PathBuf::from(xdg)),
        (_, Some(home)) => Some(PathBuf::from(home).join(".local/share")),
        _ => None,
    };
    if path.is_none() && !matches!(shape, Some(Shape::Embedded)) {
        // In other shapes the directory has only one file. Redis and other nodes also have the
        // content of that file.
        return Some(PathBuf::new());
    }
    if path.is_none() {
        read.fault(
            "data_dir",
            "has no default, because XDG_DATA_HOME and HOME are not set; write a directory",
        );
    }
    path.map(|path| path.join("doorbuster"))
}

fn trusted_proxies(read: &mut SettingsReader<'_>) -> Vec<Cidr> {
    let mut networks = Vec::new();
    for text in read.list("trusted_proxies").unwrap_or_default() {
        match Cidr::parse(&text) {
            Some(network) => networks.push(network),
            None => read.fault(
                "trusted_proxies",
                format!("{text:?} is not a network; write networks like 10.0.0.0/8"),
            ),
        }
    }
    networks
}

fn broker_hosts(read: &mut SettingsReader<'_>) -> Vec<BrokerHost> {
    let mut hosts = Vec::new();
    for text in read.list("brokers.hosts").unwrap_or_default() {
        match BrokerHost::parse(&text) {
            Some(host) => hosts.push(host),
            None => read.fault(
                "brokers.hosts",
                format!("{text:?} is not a host; write hosts like rabbit.internal:5672"),
            ),
        }
    }
    hosts
}

fn shop(read: &mut SettingsReader<'_>) -> Option<String> {
    let shop = read.text("page.shop")?;
    let one_line = !shop.trim().is_empty() && !shop.chars().any(char::is_control);
    if !one_line || shop.chars().count() > TITLE_CHARS_MAX {
        read.fault("page.shop", format!("must be one line of 1 to {TITLE_CHARS_MAX} characters"));
    }
    Some(shop)
}

/// Reads the address on which the server serves. A host name is looked up. IPv4 addresses come
/// first, because clients try them first.
fn listen(read: &mut SettingsReader<'_>) -> Option<SocketAddr> {
    let text = read.text("listen")?;
    let found: Vec<SocketAddr> = text.to_socket_addrs().into_iter().flatten().collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
    if address.is_none() {
        let wrong = format!(
            "{text:?} is not an address with a port; write it like 127.0.0.1:8080, [::1]:8080 or \
             localhost:8080"
        );
        read.fault("listen", wrong);
    }
    address
}

/// Reads the addresses of other nodes.
fn peers(read: &mut SettingsReader<'_>) -> Vec<String> {
    let peers = read.list("store.peers").unwrap_or_default();
    if peers.len() > PEERS_MAX {
        read.fault("store.peers", format!("names more than {PEERS_MAX} nodes"));
    }
    for peer in &peers {
        if !is_origin(peer) {
            let wrong = format!("{peer:?} is not the address of a node; write http://HOST:PORT");
            read.fault("store.peers", wrong);
        }
    }
    peers
}

pub(super) fn is_origin(text: &str) -> bool {
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    let origin = reqwest::Url::parse(text).ok().map(|url| url.origin());
    let origin = origin.filter(|origin| origin.is_tuple());
    is_web && origin.is_some_and(|origin| origin.ascii_serialization() == text)
}

/// Reads an origin in the form that browsers use.
fn origin(read: &mut SettingsReader<'_>, path: &'static str) -> Option<String> {
    let text = read.text(path)?;
    if !is_origin(&text) {
        read.fault(
            path,
            "is not an origin; write it as browsers do, like https://shop.example, without a path",
        );
    }
    Some(text)
}

fn auth(read: &mut SettingsReader<'_>, demo: bool) -> AuthSettings {
    let secret = read.secret("auth.buyer_secret").inspect(|secret| {
        if secret.expose_secret().len() < SECRET_BYTES_MIN {
            read.fault(
                "auth.buyer_secret",
                format!("is shorter than {SECRET_BYTES_MIN} bytes; make a longer one"),
            );
        }
    });
    let jwks = read.is_set("auth.buyer_jwks").then(|| jwks(read)).flatten();
    if read.is_set("auth.buyer_jwks") && read.is_set("auth.buyer_secret") {
        read.fault("auth.buyer_jwks", "contradicts auth.buyer_secret; keep one of the two");
    }
    if read.is_set("auth.buyer_jwks") && demo {
        read.fault(
            "auth.buyer_jwks",
            "contradicts --demo, which signs guests in with a secret; keep one of the two",
        );
    }
    AuthSettings {
        buyers: jwks.or(secret.map(BuyerKeys::Secret)),
        issuer: non_empty_text(read, "auth.issuer"),
        audience: non_empty_text(read, "auth.audience"),
        admin_key: admin_key(read),
        id_key: id_key(read),
        sign_in_url: sign_in_url(read),
    }
}

/// Reads a text that is not empty, if the setting has one.
fn non_empty_text(read: &mut SettingsReader<'_>, path: &'static str) -> Option<String> {
    let text = read.text(path)?;
    if text.trim().is_empty() {
        read.fault(path, "is empty; write a value or remove it");
    }
    Some(text)
}

fn admin_key(read: &mut SettingsReader<'_>) -> Option<SecretString> {
    let key = read.secret("auth.admin_key")?;
    let text = key.expose_secret();
    if text.len() < SECRET_BYTES_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        read.fault(
            "auth.admin_key",
            format!("must be at least {SECRET_BYTES_MIN} visible ASCII characters, without spaces"),
        );
    }
    Some(key)
}

fn pass_keys(read: &mut SettingsReader<'_>) -> Option<MasterKeys> {
    let entries = read.is_set("pass.keys").then(|| read.list("pass.keys")).flatten()?;
    let keys =
        entries.iter().map(|entry| crate::secrets::parse_key(entry)).collect::<Option<Vec<_>>>();
    let masters = keys.and_then(MasterKeys::new);
    if masters.is_none() {
        read.fault(
            "pass.keys",
            format!("must be 1 to {MASTER_KEYS_MAX} keys of 64 hexadecimal digits"),
        );
    }
    masters
}

fn id_key(read: &mut SettingsReader<'_>) -> Option<IdKey> {
    let key = read.secret("auth.id_key")?;
    let parsed = crate::secrets::parse_id_key(key.expose_secret());
    if parsed.is_none() {
        read.fault("auth.id_key", "must be 64 hexadecimal digits");
    }
    parsed
}

fn jwks(read: &mut SettingsReader<'_>) -> Option<BuyerKeys> {
    let text = non_empty_text(read, "auth.buyer_jwks")?;
    if text.starts_with("https://") || text.starts_with("http://") {
        let Ok(url) = reqwest::Url::parse(&text) else {
            read.fault("auth.buyer_jwks", "is not a URL; write https://… or the path of a file");
            return None;
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let here = host == "localhost"
            || host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback());
        if url.scheme() == "http" && !here {
            read.fault(
                "auth.buyer_jwks",
                "would fetch keys without TLS; write https://… or the path of a file",
            );
        }
        return Some(BuyerKeys::JwksUrl(text));
    }
    if let Err(why) = check_jwks_file(Path::new(&text)) {
        read.fault(
            "auth.buyer_jwks",
            format!("cannot read keys from {text}: {why}; write https://… or the path of a file"),
        );
    }
    Some(BuyerKeys::JwksFile(text.into()))
}

fn sign_in_url(read: &mut SettingsReader<'_>) -> Option<String> {
    let text = read.text("auth.sign_in_url")?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    let absolute = ["https://", "http://"]
        .iter()
        .any(|scheme| text.starts_with(scheme) && text.len() > scheme.len());
    // A browser would take `//host` to another site, and would run `javascript:` as a script.
    let path = text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\");
    if !visible || !(absolute || path) {
        read.fault("auth.sign_in_url", "must begin with https://, http:// or /, in visible ASCII");
    }
    Some(text)
}

fn log(read: &mut SettingsReader<'_>) -> Option<LogSettings> {
    let format = match read.text("log.format").as_deref() {
        Some("auto") => Some(LogFormat::Auto),
        Some("text") => Some(LogFormat::Text),
        Some("json") => Some(LogFormat::Json),
        Some(_) => {
            read.fault("log.format", "is not a log format; write auto, text or json");
            None
        }
        None => None,
    };
    let filter = read.parsed(
        "log.filter",
        "is not a filter; write a level, or levels by part: info,doorbuster_server=debug",
    );
    Some(LogSettings { format: format?, filter: filter? })
}
