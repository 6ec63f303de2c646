//! Finds the database that an audit reads. The store's address may name several hosts, and some of
//! them may be standbys or old primaries.

use doorbuster_postgres_tls::{Address, Tls};
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};

/// The text that stands for the store's address in an error if the address cannot be parsed. Any
/// part of such an address may be a password.
pub(super) const UNKNOWN_ADDRESS: &str = "in PostgreSQL";
const DEFAULT_PORT: u16 = 5432;
/// Selects three values: whether the server is a standby; whether the store has the table
/// `store_history`; and the timeline, or 0 for a standby.
const SERVER: &str = "SELECT pg_is_in_recovery(), to_regclass('store_history') IS NOT NULL,
        CASE WHEN pg_is_in_recovery() THEN 0
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END";

pub(super) struct PrimaryConnection {
    pub(super) client: Client,
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
    /// The fencing number of the store's history, and then the timeline. Of several primaries, the
    /// one with the largest pair has the newest history.
    age: (i64, i64),
}

impl PrimaryConnection {
    pub(super) async fn close(self) {
        drop(self.client);
        // The task's result is not needed: if the connection failed, the client's queries have
        // already reported the error.
        drop(self.driver.await);
    }
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("the server is a standby; give the address of the primary")]
    Standby,
    /// The host could not be reached or inspected, so it may be a primary with a newer history.
    #[error("{0}")]
    Unknown(String),
}

/// Connects to each host of the address, and returns the primary with the newest history. Also
/// returns the names of the hosts that could not be inspected. Fails if no host is a primary.
pub(super) async fn open_newest(
    address: &Address,
) -> Result<(PrimaryConnection, Vec<String>), String> {
    let hosts = split(&address.config);
    let has_several = hosts.len() > 1;
    let (mut opened, mut failures, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for config in hosts {
        match open(&config, address.tls.clone()).await {
            Ok(primary) => opened.push(primary),
            Err(error) => {
                let host = host_name(&config, 0);
                failures.push(if has_several {
                    format!("{host}: {error}")
                } else {
                    error.to_string()
                });
                if matches!(error, OpenError::Unknown(_)) {
                    unknown.push(host);
                }
            }
        }
    }
    opened.sort_by_key(|primary| primary.age);
    let newest = opened.pop().ok_or_else(|| failures.join("; "));
    for older in opened {
        older.close().await;
    }
    newest.map(|newest| (newest, unknown))
}

async fn open(config: &Config, tls: Tls) -> Result<PrimaryConnection, OpenError> {
    let unknown = |error: tokio_postgres::Error| OpenError::Unknown(error_text(&error));
    let (client, connection) = config.connect(tls).await.map_err(unknown)?;
    let driver = tokio::spawn(connection);
    let mut primary = PrimaryConnection { client, driver, age: (0, 0) };
    let error = match read_age(&primary.client).await {
        Ok(Some(age)) => {
            primary.age = age;
            return Ok(primary);
        }
        Ok(None) => OpenError::Standby,
        Err(error) => unknown(error),
    };
    primary.close().await;
    Err(error)
}

/// Returns `None` for a standby.
async fn read_age(db: &Client) -> Result<Option<(i64, i64)>, tokio_postgres::Error> {
    let server = db.query_one(SERVER, &[]).await?;
    if server.try_get(0)? {
        return Ok(None);
    }
    let fence = if server.try_get(1)? {
        let sql = "SELECT coalesce(max(fence), 0) FROM store_history";
        db.query_one(sql, &[]).await?.try_get(0)?
    } else {
        0
    };
    Ok(Some((fence, server.try_get(2)?)))
}

pub(super) fn error_text(error: &tokio_postgres::Error) -> String {
    let Some(said) = error.as_db_error() else {
        // The driver's own text ("error connecting to server") does not name the cause, so the
        // source of the error is added.
        let cause = std::error::Error::source(error);
        return cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    };
    said.to_string()
}

/// The text never contains a password.
pub(super) fn address_text(config: &Config) -> String {
    let count = config.get_hosts().len().max(config.get_hostaddrs().len());
    let hosts: Vec<String> = (0..count).map(|at| host_name(config, at)).collect();
    format!("{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

fn host_name(config: &Config, at: usize) -> String {
    let ports = config.get_ports();
    let port = ports.get(at).or(ports.first()).unwrap_or(&DEFAULT_PORT);
    match (config.get_hosts().get(at), config.get_hostaddrs().get(at)) {
        // If a password contains a plain `@`, the driver treats the rest of the password as a part
        // of the host. So a host with `@` is not shown.
        (Some(Host::Tcp(host)), _) if host.contains('@') => "an invalid host".into(),
        (Some(Host::Tcp(host)), _) => format!("{host}:{port}"),
        (Some(Host::Unix(path)), _) => format!("{}:{port}", path.display()),
        (None, Some(addr)) => format!("{addr}:{port}"),
        (None, None) => String::new(),
    }
}

/// Makes one configuration for each host of the address. If the lists of hosts, addresses and ports
/// have different lengths, returns the address unchanged; the driver then reports an error.
fn split(config: &Config) -> Vec<Config> {
    let (hosts, addrs, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addrs.len());
    let fits = [hosts.len(), addrs.len()].iter().all(|length| [0, count].contains(length))
        && (ports.len() <= 1 || ports.len() == count);
    if count <= 1 || !fits {
        return vec![config.clone()];
    }
    let config_of = |at: usize| {
        let mut one = without_hosts(config);
        match hosts.get(at) {
            Some(Host::Tcp(host)) => _ = one.host(host),
            Some(Host::Unix(path)) => _ = one.host_path(path),
            None => {}
        }
        addrs.get(at).map(|addr| one.hostaddr(*addr));
        ports.get(at).or(ports.first()).map(|port| one.port(*port));
        one
    };
    (0..count).map(config_of).collect()
}

/// Returns a copy of the settings without the hosts. It copies each setting, because hosts cannot
/// be removed from a configuration. Does not copy `target_session_attrs`: with this setting, the
/// driver could refuse a standby before the auditor detects that the host is a standby.
fn without_hosts(config: &Config) -> Config {
    let mut copy = Config::new();
    config.get_user().map(|user| copy.user(user));
    config.get_password().map(|password| copy.password(password));
    config.get_dbname().map(|name| copy.dbname(name));
    config.get_options().map(|options| copy.options(options));
    config.get_application_name().map(|name| copy.application_name(name));
    copy.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    config.get_connect_timeout().map(|wait| copy.connect_timeout(*wait));
    config.get_tcp_user_timeout().map(|wait| copy.tcp_user_timeout(*wait));
    copy.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    config.get_keepalives_interval().map(|interval| copy.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| copy.keepalives_retries(retries));
    copy.channel_binding(config.get_channel_binding());
    copy
}
