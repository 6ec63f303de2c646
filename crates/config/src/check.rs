//! The second stage of the settings: parses each raw value, and checks ranges and contradictions.

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use doorbuster_api::limits::TITLE_CHARS_MAX;
use doorbuster_base::master_keys::{MASTER_KEYS_MAX, MasterKeys};
use doorbuster_base::secret_format::parse_key;

use super::fault::{SettingFault, SettingsError};
use super::raw::{Environment, RawSettings};
use super::{Cidr, Settings, Shape, auth, backup, deliveries, log, oidc, page, payment, shape};

pub(super) mod settings_reader;

use settings_reader::{is_origin, node_address};

pub(super) use settings_reader::SettingsReader;

/// The allowed values of `waiting_room.per_sec`. The leader admits a whole number of buyers four
/// times a second, so the lowest value is four.
pub const ADMITTED_PER_SEC: RangeInclusive<u64> = 4..=100_000;
/// The maximum number of nodes in `store.peers`.
pub const PEERS_MAX: usize = 64;

/// Checks every raw value, and returns the settings or all faults. `faults` has the faults that
/// were found while the sources were read.
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
    let backup = backup::backup(&mut read, shape.as_ref(), data_dir.as_deref());
    let trusted_proxies = trusted_proxies(&mut read);
    let shop = shop(&mut read);
    let page_origin = origin(&mut read, "page.origin");
    let page_url = origin(&mut read, "page.url");
    let page = page::page(&mut read);
    let auth = auth::auth(&mut read, demo);
    let oidc = oidc::oidc(&mut read);
    let payment = payment::payment(&mut read, demo);
    let pass_keys = pass_keys(&mut read);
    let pass_ttl = read.integer("pass.ttl_secs", 5..=3600).map(Duration::from_secs);
    let room_per_sec = read.integer("waiting_room.per_sec", ADMITTED_PER_SEC);
    let deliveries = deliveries::deliveries(&mut read, demo);
    let connections_max =
        read.integer("limits.connections", 16..=1_000_000).map(|number| to_size(number).get());
    let idle = read.integer("limits.idle_secs", 1..=3600).map(Duration::from_secs);
    let event_streams = read.integer("limits.event_streams", 1..=1_000);
    let stop_notice = read.integer("limits.stop_notice_secs", 0..=300).map(Duration::from_secs);
    let log = log::log(&mut read);
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
            deliveries: deliveries?,
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

/// Converts a setting's number. The range check of the setting has already refused 0.
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
            return read.refuse("data_dir", "is empty; write the path of a directory");
        }
        if std::fs::metadata(&text).is_ok_and(|there| !there.is_dir()) {
            return read.refuse(
                "data_dir",
                format!(
                    "{text} is not a directory; write the path of a directory that exists or can \
                     be created"
                ),
            );
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
        // All shapes except `embedded` can run without a data directory, because the database has a
        // copy of the operators' key, and Redis or other nodes have the history of the database.
        return Some(PathBuf::new());
    }
    let wrong = "has no default, because XDG_DATA_HOME and HOME are not set; write a directory";
    path.map(|path| path.join("doorbuster")).or_else(|| read.refuse("data_dir", wrong))
}

fn trusted_proxies(read: &mut SettingsReader<'_>) -> Vec<Cidr> {
    let mut networks = Vec::new();
    for text in read.list("trusted_proxies").unwrap_or_default() {
        match Cidr::parse(&text).filter(|network| network.canonical().is_some()) {
            Some(network) => networks.push(network),
            None => read.fault(
                "trusted_proxies",
                format!("{text:?} is not a network; write networks like 10.0.0.0/8"),
            ),
        }
    }
    networks
}

fn shop(read: &mut SettingsReader<'_>) -> Option<String> {
    let shop = read.text("page.shop")?;
    let one_line = !shop.trim().is_empty() && !shop.chars().any(char::is_control);
    if !one_line || shop.chars().count() > TITLE_CHARS_MAX {
        read.fault("page.shop", format!("must be one line of 1 to {TITLE_CHARS_MAX} characters"));
    }
    Some(shop)
}

/// Reads the address on which the server listens. If a host name has several addresses, prefers an
/// IPv4 address, because clients try IPv4 addresses first.
fn listen(read: &mut SettingsReader<'_>) -> Option<SocketAddr> {
    let text = read.text("listen")?;
    let found: Vec<SocketAddr> = text.to_socket_addrs().into_iter().flatten().collect();
    let address = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
    address.or_else(|| {
        let wrong = format!(
            "{text:?} is not an address with a port; write it like 127.0.0.1:8080, [::1]:8080 or \
             localhost:8080"
        );
        read.refuse("listen", wrong)
    })
}

fn peers(read: &mut SettingsReader<'_>) -> Vec<String> {
    let peers = read.list("store.peers").unwrap_or_default();
    if peers.len() > PEERS_MAX {
        read.fault("store.peers", format!("names more than {PEERS_MAX} nodes; name fewer"));
    }
    for peer in &peers {
        if node_address(peer).is_none() {
            let wrong = format!("{peer:?} is not the address of a node; write http://HOST:PORT");
            read.fault("store.peers", wrong);
        }
    }
    peers
}

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

fn pass_keys(read: &mut SettingsReader<'_>) -> Option<MasterKeys> {
    let entries = read.is_set("pass.keys").then(|| read.list("pass.keys")).flatten()?;
    let keys = entries.iter().map(|entry| parse_key(entry)).collect::<Option<Vec<_>>>();
    let wrong = format!("must be 1 to {MASTER_KEYS_MAX} keys of 64 hexadecimal digits");
    keys.and_then(MasterKeys::new).or_else(|| read.refuse("pass.keys", wrong))
}
