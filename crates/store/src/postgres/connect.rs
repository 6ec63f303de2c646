//! Connections to the database: the address, session settings, pools, and the first checks.
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{
    Connect, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime, Timeouts,
};
use doorbuster_postgres_tls::Address;
use tokio::runtime::Handle;
use tokio_postgres::{Client, Config};

use crate::contract::OpenError;
use crate::failure::Failure;
use crate::limits::{
    PG_ANSWER_WAIT, PG_CONNECT_WAIT, PG_IDLE_IN_TRANSACTION, PG_LOCK_WAIT, PG_POOL_WAIT,
    PG_STATEMENT_WAIT, PG_WAITING_MAX,
};

use super::answer_wait::await_answer;
use super::connector::{Connector, Session};
use super::standbys;

/// The oldest PostgreSQL version that supports the store's statements, in the form of
/// `server_version_num`.
const SERVER_MIN: i32 = 130_000;

/// With these settings, PostgreSQL keeps the first plan of a prepared statement. A plan that fits
/// empty tables would be slow for full tables, so plans may use only index scans.
const WRITER_PLANS: &str = " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

fn failed(reason: impl std::fmt::Display) -> OpenError {
    OpenError::Failed(reason.to_string())
}

/// Checks that a store's address and its certificates can be read. The function does not connect.
///
/// # Errors
///
/// Returns the reason as a text for people. The text does not contain the address.
pub fn check_address(url: &str) -> Result<(), String> {
    Address::parse(url).map(drop).map_err(|error| error.to_string())
}

/// Parses the address, and adds the settings that all sessions use.
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

pub(super) struct Sessions {
    pool: Pool,
    connector: Connector,
}

impl Sessions {
    pub(super) fn close(&self) {
        self.pool.close();
    }
}

pub(super) fn writers(connector: &Connector, size: usize) -> Result<Sessions, OpenError> {
    sessions(connector, WRITER_PLANS, size)
}

pub(super) fn readers(connector: &Connector, size: usize) -> Result<Sessions, OpenError> {
    sessions(connector, "", size)
}

struct PoolConnector {
    connector: Connector,
    options: &'static str,
}

impl Connect for PoolConnector {
    fn connect(
        &self,
        _config: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<Session, tokio_postgres::Error>> + Send + '_>> {
        Box::pin(async {
            self.connector.open(self.options, None).await.map_err(|failure| match failure {
                Failure::Postgres(error) => error,
                // The pool gets an error of the client library, which cannot contain this failure's
                // text. The connector remembers the text.
                _ => no_connection(),
            })
        })
    }
}

/// Returns an error that replaces a failure of another type, because the pool accepts only errors
/// of the client library. The connector keeps the text of the failure.
fn no_connection() -> tokio_postgres::Error {
    match "connect_timeout=none".parse::<Config>() {
        Err(error) => error,
        Ok(_) => unreachable!("the value is not a number"),
    }
}

fn sessions(
    connector: &Connector,
    options: &'static str,
    size: usize,
) -> Result<Sessions, OpenError> {
    // A connection is reused without a test query. This is safe: after a failed transaction, the
    // code rolls the transaction back, or drops the connection.
    let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let connect = PoolConnector { connector: connector.clone(), options };
    let manager = Manager::from_connect(Config::new(), connect, manager);
    let timeouts = Timeouts {
        wait: Some(PG_POOL_WAIT),
        create: Some(PG_CONNECT_WAIT),
        recycle: Some(PG_CONNECT_WAIT),
    };
    let checker = connector.clone();
    let is_current = Hook::sync_fn(move |_, metrics| match checker.is_outdated(metrics.created) {
        true => Err(HookError::message("the database has a new history")),
        false => Ok(()),
    });
    let pool = Pool::builder(manager)
        .max_size(size)
        .timeouts(timeouts)
        .pre_recycle(is_current)
        .runtime(Runtime::Tokio1)
        .build();
    Ok(Sessions { pool: pool.map_err(failed)?, connector: connector.clone() })
}

pub(super) async fn get(sessions: &Sessions) -> Result<Object, Failure> {
    let Sessions { pool, connector } = sessions;
    if pool.status().waiting >= PG_WAITING_MAX {
        return Err(too_many_waiting());
    }
    pool.get().await.map_err(|error| match error {
        PoolError::Backend(_) => Failure::NoConnection(connector.last_failure()),
        error => Failure::NoConnection(error.to_string()),
    })
}

pub(super) fn too_many_waiting() -> Failure {
    Failure::NoConnection("too many requests are waiting for the database".to_owned())
}

/// A session in a transaction. If this value is dropped, the session ends, so that no session
/// returns to the pool with an open transaction.
pub(super) struct TransactionSession(Option<Object>);

impl TransactionSession {
    /// Returns the session to its pool. The transaction must have ended.
    pub(super) fn return_to_pool(mut self) {
        drop(self.0.take());
    }
}

/// A session for one read. If the caller drops the read, the session returns to its pool only after
/// the database has answered the read. If the session returned earlier, the next read on it would
/// first have to wait for this answer.
pub(super) struct ReadSession(Option<Object>);

impl ReadSession {
    /// Returns the session to its pool. The read must have ended.
    pub(super) fn return_to_pool(mut self) {
        drop(self.0.take());
    }

    pub(super) fn discard(mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Deref for ReadSession {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.0.as_ref().expect("only the methods that end the session remove it")
    }
}

impl Drop for ReadSession {
    fn drop(&mut self) {
        let (Some(object), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        runtime.spawn(async move {
            // PostgreSQL answers this empty statement only after it has answered the dropped read.
            let last = await_answer(async { Ok(object.batch_execute("").await?) }).await;
            if last.is_err() {
                drop(Object::take(object));
            }
        });
    }
}

pub(super) async fn get_for_read(sessions: &Sessions) -> Result<ReadSession, Failure> {
    Ok(ReadSession(Some(get(sessions).await?)))
}

impl Deref for TransactionSession {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.0.as_ref().expect("only `return_to_pool` and `drop` remove the session")
    }
}

impl Drop for TransactionSession {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

pub(super) async fn get_for_transaction(
    sessions: &Sessions,
) -> Result<TransactionSession, Failure> {
    Ok(TransactionSession(Some(get(sessions).await?)))
}

/// Opens a session outside the pools. A background task drives the session until the session ends.
pub(super) async fn client(connector: &Connector) -> Result<Client, OpenError> {
    let away = |failure| match failure {
        Failure::Refused(text) => failed(text),
        failure => failed(format!(
            "store.url: cannot connect to the database: {failure}; start the database or \
             correct the address"
        )),
    };
    connector.open("", None).await.map(|(client, _)| client).map_err(away)
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
             that buyers already have; set synchronous_commit to on"
                .to_owned(),
        );
    } else if standbys.is_empty() || synchronous == "local" {
        warnings.push(
            "PostgreSQL has no synchronous standby (synchronous_standby_names): confirmed orders \
             survive a crash of PostgreSQL, but not the loss of its disk or a failover"
                .to_owned(),
        );
    }
    let found = standbys::inspect(client).await.map_err(failed)?;
    if found.lacks_standbys() {
        warnings.push(standbys::missing_text(&found));
    }
    for warning in &warnings {
        tracing::warn!(event = "database.setting", "{warning}");
    }
    Ok(warnings)
}
