//! Finds the server that has a slot, among plain servers or in a Redis Cluster.
//!
//! The cluster mode of the client library is not used, because this mode repeats commands after a
//! lost connection, and cannot wait for a queue. Instead, if a server answers with a redirect, this
//! module asks the cluster for its map of slots.
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use doorbuster_core::SlotKey;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Value};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::address::server_address;
use super::batcher::{RedisSettings, TicketBatcher};
use super::codec::{array, number, text};
use super::failure::{RedisFailure, check_reply, unexpected_reply};
use super::health::{self, Health};
use super::keys::{HASH_SLOTS, hash_slot, server_of};
use super::limits::{CONNECT_MAX, OPEN_MAX, OPEN_PAUSE};
use super::link::{ServerConnections, connect};
use super::script::Scripts;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) link: Arc<ServerConnections>,
    pub(super) batcher: TicketBatcher,
}

/// Which server a refresh asks first for the map: the server that answered the last refresh, or the
/// server after it.
#[derive(Clone, Copy)]
enum FirstServer {
    Last,
    Next,
}

#[derive(Debug)]
pub(super) struct Routes {
    settings: Arc<RedisSettings>,
    scripts: Arc<Scripts>,
    /// The first URL. Its settings, such as the password, also apply to the other servers of a
    /// cluster.
    template: ConnectionInfo,
    pub(super) is_cluster: bool,
    /// The servers that the URLs name. A refresh asks these servers if no server in the map
    /// answers.
    named: Vec<Arc<ServerConnections>>,
    map: RwLock<ServerMap>,
    /// Locked during a refresh. Contains the address of the server that answered the last refresh,
    /// because the next refresh asks this server first.
    refreshing: tokio::sync::Mutex<String>,
    broken: Arc<Notify>,
}

/// The servers in use. In a cluster, `ranges` says which server has which hash slots.
#[derive(Clone, Debug, Default)]
struct ServerMap {
    servers: Vec<Arc<Server>>,
    ranges: Vec<SlotRange>,
    /// A refresh asks these replicas if no server of `servers` answers.
    replicas: Vec<Arc<ServerConnections>>,
}

/// A range of hash slots, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SlotRange {
    first: u16,
    last: u16,
    server: usize,
}

impl Routes {
    /// Checks all servers of these URLs, and loads the scripts.
    pub(super) async fn open(
        urls: &[String],
        settings: Arc<RedisSettings>,
    ) -> Result<(Arc<Self>, Vec<Health>), RedisFailure> {
        // Install the TLS implementation for `rediss://` servers, if the program has none.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let mut urls = urls.to_vec();
        // A slot's server is chosen by its index in this list. So every node must have the list in
        // the same order.
        urls.sort();
        urls.dedup();
        let refused =
            |error: redis::RedisError| RedisFailure::Refused(format!("slots.urls: {error}"));
        let until = Instant::now() + OPEN_MAX;
        let mut opened = Vec::new();
        for url in &urls {
            let info = url.as_str().into_connection_info().map_err(refused)?;
            let client = Client::open(info.clone()).map_err(refused)?;
            let probed = probe(&client, until).await;
            opened.push((info, client, probed));
        }
        let is_cluster = opened
            .iter()
            .any(|(.., probed)| probed.as_ref().is_ok_and(|(health, _)| health.is_cluster));
        // A server that cannot hold slots prevents the start. Outside of a cluster, an unreachable
        // or busy server also prevents the start, because the stock on this server could not be
        // sold.
        let mut fails = opened.iter().filter_map(|(.., probed)| probed.as_ref().err());
        if let Some(fail) =
            fails.find(|fail| !is_cluster || matches!(fail, RedisFailure::Refused(_)))
        {
            return Err(fail.clone());
        }
        let (template, _, _) = opened
            .first()
            .ok_or_else(|| RedisFailure::Refused("slots.urls names no server".to_owned()))?;
        let template = template.clone();
        let mut healths = Vec::new();
        let mut scripts = None;
        let mut clients = Vec::new();
        for (_, client, probed) in opened {
            if let Ok((health, loaded)) = probed {
                healths.push(health);
                scripts = Some(Arc::new(loaded));
            }
            clients.push(client);
        }
        let scripts = scripts
            .ok_or_else(|| RedisFailure::Refused("no server could be reached".to_owned()))?;
        let mut routes = Self {
            settings,
            scripts,
            template,
            is_cluster,
            named: Vec::new(),
            map: RwLock::default(),
            refreshing: tokio::sync::Mutex::default(),
            broken: Arc::new(Notify::new()),
        };
        let servers: Vec<_> = clients.into_iter().map(|client| routes.server_at(client)).collect();
        routes.named = servers.iter().map(|server| server.link.clone()).collect();
        routes.set(ServerMap { servers, ..ServerMap::default() });
        if is_cluster {
            while let Err(fail) = routes.refresh().await {
                pause_before_retry(fail, until).await?;
            }
            healths = routes.probe_all(healths, until).await?;
        }
        Ok((Arc::new(routes), healths))
    }

    /// Probes the cluster's servers that the URLs do not name. An unreachable server does not
    /// prevent the start.
    async fn probe_all(
        &self,
        known: Vec<Health>,
        until: Instant,
    ) -> Result<Vec<Health>, RedisFailure> {
        let mut healths = Vec::new();
        for server in self.servers() {
            if let Some(health) = known.iter().find(|health| health.address == server.link.address)
            {
                healths.push(health.clone());
                continue;
            }
            match probe(server.link.client(), until).await {
                Ok((health, _)) => healths.push(health),
                Err(RedisFailure::Refused(reason)) => return Err(RedisFailure::Refused(reason)),
                Err(_) => {}
            }
        }
        Ok(healths)
    }

    fn link(&self, client: Client) -> Arc<ServerConnections> {
        Arc::new(ServerConnections::new(client, self.scripts.clone(), self.broken.clone()))
    }

    fn server_at(&self, client: Client) -> Arc<Server> {
        let link = self.link(client);
        let batcher = TicketBatcher::start(&link, &self.settings);
        Arc::new(Server { link, batcher })
    }

    fn set(&self, map: ServerMap) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = map;
    }

    fn map(&self) -> ServerMap {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        self.map().servers
    }

    /// Returns the signal that is notified when a connection breaks.
    pub(super) fn broken(&self) -> &Notify {
        &self.broken
    }

    /// Returns the server of the slot, according to the last refresh of the map.
    pub(super) fn server(&self, slot: SlotKey) -> Result<Arc<Server>, RedisFailure> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let index = if self.is_cluster {
            let at = hash_slot(slot);
            let range = map.ranges.iter().find(|r| (r.first..=r.last).contains(&at));
            range
                .ok_or_else(|| RedisFailure::WrongServer(format!("no server has hash slot {at}")))?
                .server
        } else {
            server_of(slot, map.servers.len())
        };
        map.servers
            .get(index)
            .cloned()
            .ok_or_else(|| RedisFailure::WrongServer("no server is known".to_owned()))
    }

    /// Asks a cluster's servers, one after the other, for the map of hash slots. If callers refresh
    /// at the same time, only one of them asks, and the others wait for its result. If no server
    /// answers, asks the replicas and the servers of the URLs. So a cluster whose servers all have
    /// new addresses is found again.
    pub(super) async fn refresh(&self) -> Result<(), RedisFailure> {
        self.refresh_from(FirstServer::Last).await
    }

    /// Like [`Routes::refresh`], but for the case that a server of the map refused a call. A server
    /// that is cut off from the rest of the cluster still returns its old map. So this function
    /// begins with another server than the one that answered the last refresh.
    pub(super) async fn refresh_after_refusal(&self) -> Result<(), RedisFailure> {
        self.refresh_from(FirstServer::Next).await
    }

    async fn refresh_from(&self, first: FirstServer) -> Result<(), RedisFailure> {
        if !self.is_cluster {
            return Ok(());
        }
        let Ok(mut answered) = self.refreshing.try_lock() else {
            drop(self.refreshing.lock().await);
            return Ok(());
        };
        let before = self.map();
        let mut in_turn: Vec<_> = before.servers.iter().map(|server| &server.link).collect();
        if let Some(last) = in_turn.iter().position(|link| link.address == *answered) {
            let next = (last + 1) % in_turn.len();
            in_turn.rotate_left(match first {
                FirstServer::Last => last,
                FirstServer::Next => next,
            });
        }
        let mut last = RedisFailure::WrongServer("no server is known".to_owned());
        let mut take = |reply: Result<Value, RedisFailure>, link: &ServerConnections| {
            self.set(self.read_map(reply?, link, &before)?);
            answered.clone_from(&link.address);
            Ok(())
        };
        for &link in &in_turn {
            match take(ask_for_map(link).await, link) {
                Ok(()) => return Ok(()),
                Err(fail) => last = fail,
            }
        }
        // Callers are waiting, so all remaining servers are asked at the same time.
        let mut rest = JoinSet::new();
        let mut asked: HashSet<&str> = in_turn.iter().map(|link| &*link.address).collect();
        for link in before.replicas.iter().chain(&self.named) {
            if asked.insert(&link.address) {
                let link = link.clone();
                rest.spawn(async move { (ask_for_map(&link).await, link) });
            }
        }
        while let Some(Ok((reply, link))) = rest.join_next().await {
            match take(reply, &link) {
                Ok(()) => return Ok(()),
                Err(fail) => last = fail,
            }
        }
        Err(last)
    }

    /// Parses the answer to `CLUSTER SLOTS`, which has this form for each range:
    ///
    /// `[first, last, [host, port, …], replica…]`
    fn read_map(
        &self,
        reply: Value,
        asked: &ServerConnections,
        before: &ServerMap,
    ) -> Result<ServerMap, RedisFailure> {
        let mut map = ServerMap::default();
        for range in array(reply)? {
            let parts = array(range)?;
            let [first, last, primary, replicas @ ..] = parts.as_slice() else {
                return Err(unexpected_reply(&Value::Array(parts)));
            };
            let hash_slot =
                |value| Ok::<_, RedisFailure>(u16::try_from(number(value)?).unwrap_or(HASH_SLOTS));
            let (first, last) = (hash_slot(first)?, hash_slot(last)?);
            for replica in replicas {
                let addr = self.read_address(replica, asked)?;
                let name = addr.to_string();
                if map.replicas.iter().all(|link| link.address != name) {
                    let kept = before.replicas.iter().find(|link| link.address == name).cloned();
                    map.replicas.push(match kept {
                        Some(link) => link,
                        None => self.link(self.client(addr)?),
                    });
                }
            }
            let addr = self.read_address(primary, asked)?;
            let name = addr.to_string();
            let known = |s: &Arc<Server>| s.link.address == name;
            let server = match map.servers.iter().position(known) {
                Some(index) => index,
                None => {
                    let kept = before.servers.iter().find(|s| known(s)).cloned();
                    map.servers.push(match kept {
                        Some(server) => server,
                        None => self.server_at(self.client(addr)?),
                    });
                    map.servers.len() - 1
                }
            };
            map.ranges.push(SlotRange { first, last, server });
        }
        if map.ranges.is_empty() {
            return Err(RedisFailure::WrongServer(format!(
                "{} knows no hash slots; assign hash slots to the cluster's servers",
                asked.address
            )));
        }
        Ok(map)
    }

    /// Parses `[host, port, …]`.
    fn read_address(
        &self,
        node: &Value,
        asked: &ServerConnections,
    ) -> Result<ConnectionAddr, RedisFailure> {
        let parts = array(node.clone())?;
        let [host, port, ..] = parts.as_slice() else { return Err(unexpected_reply(node)) };
        let port = u16::try_from(number(port)?).map_err(|_| unexpected_reply(node))?;
        let host = text(host).unwrap_or_default();
        Ok(server_address(&self.template, &asked.address, host, port))
    }

    fn client(&self, addr: ConnectionAddr) -> Result<Client, RedisFailure> {
        Client::open(self.template.clone().set_addr(addr))
            .map_err(|e| RedisFailure::Refused(e.to_string()))
    }
}

async fn ask_for_map(link: &ServerConnections) -> Result<Value, RedisFailure> {
    link.ask(Cmd::new().arg("CLUSTER").arg("SLOTS")).await
}

/// Reads the server's health, and loads the scripts. If the server is busy, tries again until the
/// time `until`. Fails at once if the server is unreachable.
async fn probe(client: &Client, until: Instant) -> Result<(Health, Scripts), RedisFailure> {
    let address = client.get_connection_info().addr().to_string();
    let mut connection = loop {
        match connect(client, CONNECT_MAX, Some(OPEN_MAX)).await {
            Err(fail @ RedisFailure::Busy(_)) => pause_before_retry(fail, until).await?,
            made => break made?,
        }
    };
    loop {
        match read_health(&mut connection, &address).await {
            Ok(probed) => return Ok(probed),
            Err(fail) => pause_before_retry(fail, until).await?,
        }
    }
}

async fn read_health(
    connection: &mut MultiplexedConnection,
    address: &str,
) -> Result<(Health, Scripts), RedisFailure> {
    let reply = connection.send_packed_command(Cmd::new().arg("INFO")).await;
    let reply = reply
        .map_err(|e| RedisFailure::of(&e))
        .and_then(check_reply)
        .map_err(|fail| fail.with_address(address))?;
    let health = Health::read(address, text(&reply)?);
    health::check_usable(&health).map_err(RedisFailure::Refused)?;
    let scripts = Scripts::load(connection).await.map_err(|fail| fail.with_address(address))?;
    Ok((health, scripts))
}

/// Pauses before the next attempt. If `fail` is a permanent failure, or if the time `until` has
/// passed, returns `fail` without a pause.
async fn pause_before_retry(fail: RedisFailure, until: Instant) -> Result<(), RedisFailure> {
    if !fail.is_transient() || Instant::now() >= until {
        return Err(fail);
    }
    tokio::time::sleep(OPEN_PAUSE).await;
    Ok(())
}
