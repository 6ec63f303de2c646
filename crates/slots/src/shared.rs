//! A Redis server that all nodes share. This server has only data that may be lost. It never has
//! data about stock.
//!
//! Each node uses the first server of the sorted list that the node can reach. So all nodes usually
//! use the same server. In a Redis Cluster, each node uses the server that has the keys.
//!
//! A call with an effect is never sent twice. If no answer arrives, the error says that the call
//! may have taken effect. While no server can be reached, calls fail at once.
//!
//! | key | type | holds | lives |
//! |---|---|---|---|
//! | `PREFIX:{shared}:lock:NAME` | string | token of the owner | one lease; a renewal starts a new lease |
//! | `PREFIX:{shared}:fence:NAME` | string | the lock's fencing number | never expires; there is one key for each name, and there are few names |
//! | `PREFIX:{shared}:limit:…` | string | a limit's state | until the limit allows its whole burst again |
//! | `PREFIX:{shared}:status:SALE` | hash | `phase`, `version`, `item:NAME` ("count start access"), the writer's `fence` | 5 s after it was last written |
//! | `PREFIX:{shared}:feed:…` | hash, list, hash, sorted set | the feed that edges follow: its head, the hashes of requests that hold orders, its entries, the sequence of the entries | 60 s after it was last written |
//! | `PREFIX:{shared}:catalogue:mark` | string | the fingerprint of the catalogue, from the last read of the store | 10 ms |
//! | `PREFIX:{shared}:catalogue:sales:…` | string | all sales of one version of the catalogue as JSON, with a proof that a node wrote this JSON; at most 256 KiB | 10 s |
//!
//! The text between the braces is the hash tag. It puts all of these keys on one server, so that
//! one script can use them all.
mod reply;

pub use reply::ScriptReply;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind, Value,
};
use tokio::time::Instant;

use crate::SlotError;
use crate::redis::address::server_address;
use crate::redis::failure::{RedisFailure, check_reply};
use crate::redis::link::connect;

/// If a server accepts no connection in this time, the next server is tried.
const CONNECT_MAX: Duration = Duration::from_millis(250);
/// If no answer arrives in this time, the connection is dropped, and the call may have taken
/// effect.
const RESPONSE_MAX: Duration = Duration::from_millis(250);
/// The pause after a call that reached no server. During the pause, all calls fail at once.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// If the first server was unreachable and another one is in use, the first is tried again after
/// this time.
const RETRY_FIRST_AFTER: Duration = Duration::from_secs(5);
/// The largest number of redirects that one call follows in a cluster. After one more redirect, the
/// call fails without an effect.
const REDIRECTS_MAX: usize = 3;
/// The largest number of scripts whose digests are remembered. If there are more scripts, each call
/// of a further script sends the script's source.
const SCRIPTS_MAX: usize = 32;

/// A handle of the shared server. Clones share its connection.
#[derive(Clone)]
pub struct SharedRedis(Arc<Inner>);

struct Inner {
    prefix: String,
    servers: Vec<ConnectionInfo>,
    /// Whether reads may go to a replica of a Redis Cluster.
    reads_replicas: bool,
    digests: Mutex<HashMap<&'static str, String>>,
    at: tokio::sync::Mutex<CurrentServer>,
}

#[derive(Default)]
struct CurrentServer {
    server: Option<ConnectedServer>,
    /// When to try the first server again, if it was unreachable and another server is in use.
    retry_first_at: Option<Instant>,
    /// Until this time, all calls fail at once, because an earlier call reached no server.
    down_until: Option<Instant>,
}

#[derive(Clone)]
struct ConnectedServer {
    connection: MultiplexedConnection,
    address: Arc<str>,
}

impl std::fmt::Debug for SharedRedis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URLs contain passwords.
        f.debug_struct("SharedRedis").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

impl SharedRedis {
    /// Returns a handle that uses the first server of the sorted list that can be reached. This
    /// function sends nothing yet, so a node can start while a server is unreachable.
    ///
    /// # Errors
    /// Fails if an address is invalid.
    pub fn new(urls: &[String], prefix: &str) -> Result<Self, SlotError> {
        Self::open(urls, prefix, false)
    }

    fn open(urls: &[String], prefix: &str, reads_replicas: bool) -> Result<Self, SlotError> {
        // Installs the TLS implementation for `rediss://` servers, if the program has none yet.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let mut urls = urls.to_vec();
        // Each node tries the servers in this sequence. Sorted, the sequence is the same on every
        // node, so all nodes use the same server.
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
            reads_replicas,
            digests: Mutex::default(),
            at: tokio::sync::Mutex::default(),
        })))
    }

    /// Returns one handle for each of these servers. The handles have the same order on every node.
    ///
    /// # Errors
    /// Fails if an address is invalid.
    pub fn one_per_server(urls: &[String], prefix: &str) -> Result<Vec<Self>, SlotError> {
        Self::open_each(urls, prefix, false)
    }

    /// Returns one handle for each of these servers, for reads whose results may be a little old.
    /// In a Redis Cluster, a replica may answer such a read.
    ///
    /// # Errors
    /// Fails if an address is invalid.
    pub fn readers(urls: &[String], prefix: &str) -> Result<Vec<Self>, SlotError> {
        Self::open_each(urls, prefix, true)
    }

    fn open_each(
        urls: &[String],
        prefix: &str,
        reads_replicas: bool,
    ) -> Result<Vec<Self>, SlotError> {
        let mut urls = urls.to_vec();
        urls.sort();
        urls.dedup();
        urls.into_iter().map(|url| Self::open(&[url], prefix, reads_replicas)).collect()
    }

    /// Returns a key's full name. All names have one hash tag, so that one script can use any of
    /// them.
    #[must_use]
    pub fn key(&self, room: &str, name: &str) -> String {
        format!("{}:{{shared}}:{room}:{name}", self.0.prefix)
    }

    /// Calls a script in one round trip, except for the first call of each script.
    ///
    /// # Errors
    /// Fails if no server can be reached, or if the server does not answer in time. A call without
    /// an answer may still have taken effect.
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
            // Either the server does not know the script, or the table of digests is full and
            // `EVALSHA` was not sent. `EVAL` sends the source, and so also loads the script.
            Err(RedisFailure::NoScript) => Ok(self.ask(&call("EVAL", script)).await?),
            reply => Ok(reply?),
        }
    }

    /// Reads a key.
    ///
    /// # Errors
    /// Fails if no server can be reached, or if the server does not answer in time.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, SlotError> {
        match self.ask(Cmd::new().arg("GET").arg(key)).await? {
            ScriptReply::Bytes(bytes) => Ok(Some(bytes)),
            _ => Ok(None),
        }
    }

    /// Writes a key that expires after `ttl`.
    ///
    /// # Errors
    /// Fails if no server can be reached, or if the server does not answer in time. Without an
    /// answer, the key may still have been written.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), SlotError> {
        let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        self.ask(Cmd::new().arg("SET").arg(key).arg(value).arg("PX").arg(millis)).await?;
        Ok(())
    }

    /// Returns the script's digest. If the digest is not known, loads the script. Returns `None` if
    /// the table of digests is full.
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

    /// Sends a command, and follows a cluster's redirects. A server that redirects a command does
    /// not run it.
    async fn ask(&self, call: &Cmd) -> Result<ScriptReply, RedisFailure> {
        let mut server = self.server().await?;
        for _ in 0..REDIRECTS_MAX {
            let reply = server.connection.send_packed_command(call).await;
            let Some((host, port)) = redirect_target(&reply) else {
                let reply = reply.map_err(|e| RedisFailure::of(&e)).and_then(check_reply);
                if matches!(reply, Err(RedisFailure::NoReply(_) | RedisFailure::WrongServer(_))) {
                    self.0.at.lock().await.server = None;
                }
                return ScriptReply::of(reply?);
            };
            server = self.follow_redirect(&server.address, &host, port).await?;
        }
        self.0.at.lock().await.server = None;
        Err(RedisFailure::WrongServer("too many redirects; the call had no effect".to_owned()))
    }

    async fn connect(&self, server: &ConnectionInfo) -> Result<ConnectedServer, RedisFailure> {
        let client = Client::open(server.clone())
            .map_err(|e| RedisFailure::Refused(format!("{}: {e}", server.addr())))?;
        let mut connection = connect(&client, CONNECT_MAX, Some(RESPONSE_MAX)).await?;
        if self.0.reads_replicas {
            // `READONLY` allows a cluster's replica to answer reads. A server outside of a cluster
            // refuses this command, but answers reads anyway.
            drop(connection.send_packed_command(Cmd::new().arg("READONLY")).await);
        }
        Ok(ConnectedServer { connection, address: server.addr().to_string().into() })
    }

    async fn server(&self) -> Result<ConnectedServer, RedisFailure> {
        // One caller at a time connects, and the other callers wait for the connection. The wait is
        // bounded, because an attempt to connect has a time limit.
        let mut at = self.0.at.lock().await;
        let now = Instant::now();
        if let Some(server) = &at.server
            && at.retry_first_at.is_none_or(|at| now < at)
        {
            return Ok(server.clone());
        }
        if at.down_until.is_some_and(|until| now < until) {
            return Err(RedisFailure::WrongServer("no server can be reached".to_owned()));
        }
        let mut last = RedisFailure::WrongServer("no server is known".to_owned());
        for (nth, server) in self.0.servers.iter().enumerate() {
            match (self.connect(server).await, &at.server) {
                (Ok(connected), _) => {
                    let retry_first_at = (nth > 0).then(|| Instant::now() + RETRY_FIRST_AFTER);
                    *at = CurrentServer {
                        server: Some(connected.clone()),
                        retry_first_at,
                        down_until: None,
                    };
                    return Ok(connected);
                }
                (Err(_), Some(current)) => {
                    let current = current.clone();
                    at.retry_first_at = Some(Instant::now() + RETRY_FIRST_AFTER);
                    return Ok(current);
                }
                (Err(fail), None) => last = fail,
            }
        }
        at.down_until = Some(Instant::now() + RECONNECT_PAUSE);
        Err(last)
    }

    /// Follows a redirect: the server `asked` redirected a call to `host` and `port`. Connects to
    /// that server.
    async fn follow_redirect(
        &self,
        asked: &str,
        host: &str,
        port: u16,
    ) -> Result<ConnectedServer, RedisFailure> {
        let template = self
            .0
            .servers
            .first()
            .ok_or_else(|| RedisFailure::WrongServer("no server is known".to_owned()))?;
        let addr = server_address(template, asked, host, port);
        let server = self.connect(&template.clone().set_addr(addr)).await?;
        // This server has all keys of this module. So later calls use this server, and do not begin
        // with the first server of the list again.
        *self.0.at.lock().await =
            CurrentServer { server: Some(server.clone()), ..CurrentServer::default() };
        Ok(server)
    }
}

fn redirect_target(reply: &Result<Value, RedisError>) -> Option<(String, u16)> {
    let details = match reply {
        Ok(Value::ServerError(error)) if error.kind() == Some(ServerErrorKind::Moved) => {
            error.details()?
        }
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Moved) => {
            return error.redirect_node().and_then(|(address, _)| parse_host_port(address));
        }
        _ => return None,
    };
    parse_host_port(details.split_whitespace().next_back()?)
}

fn parse_host_port(address: &str) -> Option<(String, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}
