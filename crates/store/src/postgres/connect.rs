//! Connections to the database: the address, session settings, pools, and the checks before the
//! first use.
use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use doorbuster_postgres_tls::Address;
use tokio_postgres::Client;

use crate::contract::OpenError;
use crate::limits::{
    PG_ANSWER_WAIT, PG_CONNECT_WAIT, PG_IDLE_IN_TRANSACTION, PG_LOCK_WAIT, PG_POOL_WAIT,
    PG_STATEMENT_WAIT, PG_WAITING_MAX,
};

use super::failure::Failure;

/// The oldest server that has what the statements use, by `server_version_num`.
const SERVER_MIN: i32 = 130_000;

/// Plans are made once, while the tables are still empty, and are kept. Only index scans may be
/// chosen then.
const WRITER_PLANS: &str = " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

fn failed(reason: impl std::fmt::Display) -> OpenError {
    OpenError::Failed(reason.to_string())
}

/// Checks that a store's address and its certificates can be read. It does not connect.
///
/// # Errors
/// The reason, for people, without the address.
pub fn check_address(url: &str) -> Result<(), String> {
    Address::parse(url).map(drop).map_err(|error| error.to_string())
}

/// Parses the address and adds the settings of every session.
pub(super) fn address(url: &str) -> Result<Address, OpenError> {
    let mut address = Address::parse(url).map_err(|error| failed(format!("store.url: {error}")))?;
    let config = &mut address.config;
    let given = config.get_options().unwrap_or_default();
    let (statement, lock, idle) = (
        PG_STATEMENT_WAIT.as_millis(),
        PG_LOCK_WAIT.as_millis(),
        PG_IDLE_IN_TRANSACTION.as_millis(),
    );
    let options = format!(
        "-c statement_timeout={statement} -c lock_timeout={lock} -c idle_in_transaction_session_timeout={idle} \
         -c jit=off -c client_min_messages=warning {given}"
    );
    config.options(options).connect_timeout(PG_CONNECT_WAIT);
    config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(PG_ANSWER_WAIT);
    if config.get_application_name().is_none() {
        config.application_name("doorbuster");
    }
    Ok(address)
}

/// A pool of writing sessions.
pub(super) fn writers(address: &Address, size: usize) -> Result<Pool, OpenError> {
    let mut address = address.clone();
    let options = format!("{}{WRITER_PLANS}", address.config.get_options().unwrap_or_default());
    address.config.options(options);
    pool(address, size)
}

/// A pool of reading sessions.
pub(super) fn readers(address: &Address, size: usize) -> Result<Pool, OpenError> {
    pool(address.clone(), size)
}

fn pool(address: Address, size: usize) -> Result<Pool, OpenError> {
    // Code that fails in a transaction drops its connection or rolls it back, so returning a
    // connection needs no query.
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(address.config, address.tls, manager);
    let timeouts = Timeouts {
        wait: Some(PG_POOL_WAIT),
        create: Some(PG_CONNECT_WAIT),
        recycle: Some(PG_CONNECT_WAIT),
    };
    let pool =
        Pool::builder(manager).max_size(size).timeouts(timeouts).runtime(Runtime::Tokio1).build();
    pool.map_err(failed)
}

/// A session of a pool.
pub(super) async fn get(pool: &Pool) -> Result<Object, Failure> {
    if pool.status().waiting >= PG_WAITING_MAX {
        return Err(Failure::NoConnection(
            "too many requests are waiting for the database".to_owned(),
        ));
    }
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => Failure::NoConnection(Failure::from(error).to_string()),
        error => Failure::NoConnection(error.to_string()),
    })
}

/// A session outside the pools; a background task drives it until it ends.
pub(super) async fn client(address: &Address) -> Result<Client, OpenError> {
    let Address { config, tls } = address;
    let away = |error| {
        let failure = Failure::from(error);
        failed(format!(
            "store.url: cannot connect to the database: {failure}; start it or correct the address"
        ))
    };
    let (client, connection) = config.connect(tls.clone()).await.map_err(away)?;
    // The task ends with its client.
    tokio::spawn(connection);
    Ok(client)
}

/// Checks that the server is new enough and durable. Returns warnings for the operator.
pub(super) async fn check_server(
    client: &Client,
    allow_fsync_off: bool,
) -> Result<Vec<String>, OpenError> {
    let sql =
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
               current_setting('fsync'),
                      current_setting('full_page_writes'), current_setting('synchronous_commit'),
                      current_setting('synchronous_standby_names'), pg_is_in_recovery()";
    let row = client.query_one(sql, &[]).await.map_err(|error| failed(Failure::from(error)))?;
    let (number, version): (i32, &str) = (row.get(0), row.get(1));
    let (fsync, full_pages): (&str, &str) = (row.get(2), row.get(3));
    let (synchronous, standbys, standby): (&str, &str, bool) = (row.get(4), row.get(5), row.get(6));
    if number < SERVER_MIN {
        return Err(failed(format!("PostgreSQL {version} is too old: use version 13 or newer")));
    }
    if standby {
        return Err(failed(
            "this PostgreSQL is a standby and accepts no writes: set store.url to the primary",
        ));
    }
    let mut warnings = Vec::new();
    if fsync == "off" || full_pages == "off" {
        let what = "fsync or full_page_writes is off in PostgreSQL: a power failure can lose \
                    orders and damage the database";
        if !allow_fsync_off {
            return Err(failed(format!("{what}; turn them on")));
        }
        warnings.push(what.to_owned());
    }
    if matches!(synchronous, "off") {
        warnings.push(
            "synchronous_commit is off in PostgreSQL: a crash of the database can lose orders \
             that buyers already have"
                .to_owned(),
        );
    } else if standbys.is_empty() || synchronous == "local" {
        warnings.push(
            "PostgreSQL has no synchronous standby (synchronous_standby_names): promises survive \
             its crash, but not the loss of its disk or a failover"
                .to_owned(),
        );
    }
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    Ok(warnings)
}
