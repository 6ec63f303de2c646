//! A Redis server that all nodes share, for what may be forgotten: limits, locks, what others may
//! read. Never for stock.
//!
//! Where the slots are on several plain servers, the first one that can be reached is used, so that
//! nodes agree as long as it can be; in a Redis Cluster the server that has the keys, which say
//! where they are. Nothing that has an effect is sent twice: a call whose answer does not come has
//! perhaps been done, and the caller hears so. While no server can be reached calls fail at once.
//!
//! | key | type | holds | lives |
//! |---|---|---|---|
//! | `PREFIX:{shared}:lock:NAME` | string | token of the owner | as long as it was asked for, unless renewed |
//! | `PREFIX:{shared}:fence:NAME` | string | how often the lock was taken | for ever: one for each name, and names are few |
//! | `PREFIX:{shared}:limit:…` | string | a limit's state | until it says what no state says |
//! | `PREFIX:{shared}:status:SALE` | hash | `phase`, `version`, `item:NAME` ("count start access"), the writer's `fence` | 5 s after it was last written |
//! | `PREFIX:{shared}:catalogue:mark` | string | the catalogue's mark, as the store was last read | 10 ms |
//! | `PREFIX:{shared}:catalogue:sales:…` | string | all sales of one version of the catalogue as JSON behind a proof; at most 256 KiB | 10 s |
//!
//! What stands in braces is the hash tag: one script may touch all of them.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisError, ServerErrorKind, Value,
};
use tokio::time::Instant;

use crate::SlotError;
use crate::redis::failure::{RedisFailure, check_reply, unexpected_reply};

/// How long a server may take to accept a connection; then the next one is tried.
const CONNECT_MAX: Duration = Duration::from_millis(250);
/// How long a server may take to answer; then the effect may have happened or not, and the
/// connection is given up.
const RESPONSE_MAX: Duration = Duration::from_millis(250);
/// After no server could be reached, calls fail at once for so long.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// So long after another server than the first had to be taken, the first is tried again.
const RETRY_FIRST_AFTER: Duration = Duration::from_secs(5);
/// Servers of a cluster that are followed to the one that has the keys; then the call fails, and
/// nothing was done.
const REDIRECTS_MAX: usize = 3;
/// Scripts whose digests are remembered; more are sent whole each time.
const SCRIPTS_MAX: usize = 32;

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptReply {
    /// Nothing: no such key, or a script that returned none.
    Null,
    /// A number.
    Number(i64),
    /// Bytes; also what a server says of a command that went well, `OK`.
    Bytes(Vec<u8>),
    /// Several.
    Array(Vec<ScriptReply>),
}

impl ScriptReply {
    /// The number, or the digits.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Null | Self::Array(_) => None,
        }
    }

    /// The parts; empty if it has none.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(parts) => parts,
            _ => &[],
        }
    }

    fn of(value: Value) -> Result<Self, RedisFailure> {
        Ok(match value {
            Value::Nil => Self::Null,
            Value::Int(number) => Self::Number(number),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Array(values) => {
                Self::Array(values.into_iter().map(Self::of).collect::<Result<_, _>>()?)
            }
            other => return Err(unexpected_reply(&other)),
        })
    }
}

/// The way to it. A copy shares the connection.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    prefix: String,
    servers: Vec<ConnectionInfo>,
    digests: Mutex<HashMap<&'static str, String>>,
    at: tokio::sync::Mutex<CurrentServer>,
}

/// Where the calls go now.
#[derive(Default)]
struct CurrentServer {
    connection: Option<MultiplexedConnection>,
    /// Another one than the first: when the first is tried again.
    retry_first_at: Option<Instant>,
    /// Until then nothing can be reached.
    down_until: Option<Instant>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // URLs hold passwords.
        f.debug_struct("Shared").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

impl Shared {
    /// The way to the first of these servers that can be reached. Nothing is sent yet: a server
    /// that is away does not keep anybody from starting.
    ///
    /// # Errors When an address makes no sense.
    pub fn new(urls: &[String], prefix: &str) -> Result<Self, SlotError> {
        // What speaks TLS to `rediss://` servers, unless the program chose already.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let mut urls = urls.to_vec();
        // Every node must come to the same order.
        urls.sort();
        urls.dedup();
        let refused = |e: RedisError| SlotError {
            reason: format!("slots.urls: {e}"),
            may_have_happened: false,
        };
        let servers = urls.iter().map(|url| url.as_str().into_connection_info().map_err(refused));
        Ok(Self(Arc::new(Inner {
            prefix: prefix.to_owned(),
            servers: servers.collect::<Result<_, _>>()?,
            digests: Mutex::default(),
            at: tokio::sync::Mutex::default(),
        })))
    }

    /// The same for each of these servers alone, in the same order on every node.
    ///
    /// # Errors
    /// When an address makes no sense.
    pub fn one_per_server(urls: &[String], prefix: &str) -> Result<Vec<Self>, SlotError> {
        let mut urls = urls.to_vec();
        urls.sort();
        urls.dedup();
        urls.into_iter().map(|url| Self::new(&[url], prefix)).collect()
    }

    /// A key's full name. All of them have one hash tag, so that one script may touch any of them.
    #[must_use]
    pub fn key(&self, room: &str, name: &str) -> String {
        format!("{}:{{shared}}:{room}:{name}", self.0.prefix)
    }

    /// One call of a script, in one round trip but for the first call of each script.
    ///
    /// # Errors When no server can be reached, or its answer does not come in time: then it may
    /// have been done.
    pub async fn eval<A: AsRef<[u8]>>(
        &self,
        script: &'static str,
        keys: &[String],
        arguments: &[A],
    ) -> Result<ScriptReply, SlotError> {
        let call = |how: &str, what: &str| {
            let mut call = Cmd::with_capacity(3 + keys.len() + arguments.len(), 256);
            call.arg(how).arg(what).arg(keys.len()).arg(keys);
            arguments.iter().for_each(|argument| drop(call.arg(argument.as_ref()).args_iter()));
            call
        };
        let reply = match self.digest(script).await? {
            Some(digest) => self.ask(&call("EVALSHA", &digest)).await,
            None => Err(RedisFailure::NoScript),
        };
        match reply {
            // The server forgot the script, so that nothing was done; sent whole it is remembered
            // again.
            Err(RedisFailure::NoScript) => Ok(self.ask(&call("EVAL", script)).await?),
            reply => Ok(reply?),
        }
    }

    /// What a key holds.
    ///
    /// # Errors
    /// When no server can be reached, or its answer does not come in time.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SlotError> {
        match self.ask(Cmd::new().arg("GET").arg(key)).await? {
            ScriptReply::Bytes(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// Writes a key that forgets itself.
    ///
    /// # Errors When no server can be reached, or its answer does not come in time: then it may
    /// have been written.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), SlotError> {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        self.ask(Cmd::new().arg("SET").arg(key).arg(value).arg("PX").arg(millis)).await?;
        Ok(())
    }

    /// A script's digest, which is the same on every server. `None`: too many scripts are known.
    async fn digest(&self, script: &'static str) -> Result<Option<String>, RedisFailure> {
        {
            let known = self.0.digests.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(digest) = known.get(script) {
                return Ok(Some(digest.clone()));
            }
            if known.len() >= SCRIPTS_MAX {
                return Ok(None);
            }
        }
        let reply = self.ask(Cmd::new().arg("SCRIPT").arg("LOAD").arg(script)).await?;
        let ScriptReply::Bytes(bytes) = reply else { return Ok(None) };
        let Ok(digest) = String::from_utf8(bytes) else { return Ok(None) };
        self.0
            .digests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(script, digest.clone());
        Ok(Some(digest))
    }

    /// One command, followed through a cluster as long as servers say that they did nothing.
    async fn ask(&self, call: &Cmd) -> Result<ScriptReply, RedisFailure> {
        let mut connection = self.connection().await?;
        for _ in 0..REDIRECTS_MAX {
            let reply = connection.send_packed_command(call).await;
            let Some((host, port)) = redirect_target(&reply) else {
                let reply = reply.map_err(|e| RedisFailure::of(&e)).and_then(check_reply);
                if matches!(reply, Err(RedisFailure::NoReply(_) | RedisFailure::WrongServer(_))) {
                    self.0.at.lock().await.connection = None;
                }
                return ScriptReply::of(reply?);
            };
            connection = self.follow_redirect(host, port).await?;
        }
        self.0.at.lock().await.connection = None;
        Err(RedisFailure::WrongServer(
            "no server has the keys after the most redirects allowed".to_owned(),
        ))
    }

    async fn connection(&self) -> Result<MultiplexedConnection, RedisFailure> {
        // Whoever connects holds the others up, for so long as connecting may take.
        let mut at = self.0.at.lock().await;
        let now = Instant::now();
        if let Some(connection) = &at.connection
            && at.retry_first_at.is_none_or(|at| now < at)
        {
            return Ok(connection.clone());
        }
        if at.down_until.is_some_and(|until| now < until) {
            return Err(RedisFailure::WrongServer("no server can be reached".to_owned()));
        }
        let mut last = RedisFailure::WrongServer("no server is known".to_owned());
        for (nth, server) in self.0.servers.iter().enumerate() {
            match (connect(server).await, &at.connection) {
                (Ok(connection), _) => {
                    let retry_first_at = (nth > 0).then(|| Instant::now() + RETRY_FIRST_AFTER);
                    *at = CurrentServer {
                        connection: Some(connection.clone()),
                        retry_first_at,
                        down_until: None,
                    };
                    return Ok(connection);
                }
                (Err(_), Some(connection)) => {
                    let connection = connection.clone();
                    at.retry_first_at = Some(Instant::now() + RETRY_FIRST_AFTER);
                    return Ok(connection);
                }
                (Err(fail), None) => last = fail,
            }
        }
        at.down_until = Some(Instant::now() + RECONNECT_PAUSE);
        Err(last)
    }

    /// Another server of the cluster, which has the keys.
    async fn follow_redirect(
        &self,
        host: String,
        port: u16,
    ) -> Result<MultiplexedConnection, RedisFailure> {
        let manner = self
            .0
            .servers
            .first()
            .ok_or_else(|| RedisFailure::WrongServer("no server is known".to_owned()))?;
        let host = match manner.addr() {
            // A server that does not know its own name means the one that was asked.
            ConnectionAddr::Tcp(asked, _) | ConnectionAddr::TcpTls { host: asked, .. }
                if host.is_empty() || host == "?" =>
            {
                asked.clone()
            }
            _ => host,
        };
        let addr = match manner.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        let connection = connect(&manner.clone().set_addr(addr)).await?;
        // The one that has the keys is as good as the first.
        *self.0.at.lock().await =
            CurrentServer { connection: Some(connection.clone()), ..CurrentServer::default() };
        Ok(connection)
    }
}

/// Connects to a server; when that fails nothing was sent.
async fn connect(server: &ConnectionInfo) -> Result<MultiplexedConnection, RedisFailure> {
    let address = server.addr().to_string();
    let client = Client::open(server.clone())
        .map_err(|e| RedisFailure::Refused(format!("{address}: {e}")))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(RESPONSE_MAX));
    match tokio::time::timeout(
        CONNECT_MAX,
        client.get_multiplexed_async_connection_with_config(&config),
    )
    .await
    {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(RedisFailure::WrongServer(format!("{address}: {error}"))),
        Err(_) => Err(RedisFailure::WrongServer(format!("{address} does not accept a connection"))),
    }
}

/// Where a server of a cluster says that the keys are.
fn redirect_target(reply: &Result<Value, RedisError>) -> Option<(String, u16)> {
    let place = match reply {
        Ok(Value::ServerError(error)) if error.kind() == Some(ServerErrorKind::Moved) => {
            error.details()?
        }
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Moved) => {
            return error.redirect_node().and_then(|(place, _)| parse_host_port(place));
        }
        _ => return None,
    };
    parse_host_port(place.split_whitespace().next_back()?)
}

fn parse_host_port(place: &str) -> Option<(String, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}
