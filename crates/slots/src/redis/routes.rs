//! Which server has a slot: one server, several plain ones, or a Redis Cluster that says so itself.
//!
//! The client library's own cluster mode is not used: it sends commands again after a lost connection, and cannot wait on a queue. Here nothing is
//! sent twice, and a server that says "not here" is believed for the next attempt.
use std::sync::{Arc, PoisonError, RwLock};

use doorbuster_core::SlotKey;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Value};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::fail::{Fail, answer, strange};
use super::health::{self, Health};
use super::keys::{HASH_SLOTS, hash_slot, server_of};
use super::lane::{Lane, Setting};
use super::limits::{OPEN_MAX, OPEN_PAUSE};
use super::link::{Link, connect};
use super::script::Scripts;
use super::words::{array, number, text};

/// A server and the way of requests to it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) link: Arc<Link>,
    pub(super) lane: Lane,
}

/// Where slots live.
#[derive(Debug)]
pub(super) struct Routes {
    setting: Arc<Setting>,
    scripts: Arc<Scripts>,
    /// The first URL: how a cluster's other servers are spoken to.
    manner: ConnectionInfo,
    pub(super) is_cluster: bool,
    map: RwLock<Map>,
    /// Held while the servers are asked: the address of the one that answered last, which is asked first.
    refreshing: tokio::sync::Mutex<String>,
    disturbed: Arc<Notify>,
}

/// The servers, and for each hash slot of a cluster which of them has it.
#[derive(Clone, Debug, Default)]
struct Map {
    servers: Vec<Arc<Server>>,
    ranges: Vec<Range>,
}

/// Hash slots from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    server: usize,
}

impl Routes {
    /// Connects to all servers of these URLs, looks at each, and loads the scripts.
    pub(super) async fn open(
        urls: &[String],
        setting: Arc<Setting>,
    ) -> Result<(Arc<Self>, Vec<Health>), Fail> {
        // What speaks TLS to `rediss://` servers, unless the program chose already.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let mut urls = urls.to_vec();
        // Every node must come to the same order.
        urls.sort();
        urls.dedup();
        let refused = |error: redis::RedisError| Fail::Refused(format!("slots.urls: {error}"));
        let until = Instant::now() + OPEN_MAX;
        let mut opened = Vec::new();
        for url in &urls {
            let info = url.as_str().into_connection_info().map_err(refused)?;
            let client = Client::open(info.clone()).map_err(refused)?;
            let looked = look(&client, until).await;
            opened.push((info, client, looked));
        }
        let is_cluster = opened
            .iter()
            .any(|(.., looked)| looked.as_ref().is_ok_and(|(health, _)| health.is_cluster));
        // Of a cluster a server may be away, or busy all the time. One unreachable server of several plain ones is a part of the stock that cannot be sold: not the time
        // to start. One that may not hold slots is refused in any case.
        let mut fails = opened.iter().filter_map(|(.., looked)| looked.as_ref().err());
        if let Some(fail) = fails.find(|fail| !is_cluster || matches!(fail, Fail::Refused(_))) {
            return Err(fail.clone());
        }
        let (manner, _, _) =
            opened.first().ok_or_else(|| Fail::Refused("slots.urls names no server".to_owned()))?;
        let manner = manner.clone();
        let mut healths = Vec::new();
        let mut scripts = None;
        let mut clients = Vec::new();
        for (_, client, looked) in opened {
            if let Ok((health, loaded)) = looked {
                healths.push(health);
                scripts = Some(Arc::new(loaded));
            }
            clients.push(client);
        }
        let scripts =
            scripts.ok_or_else(|| Fail::Refused("no server could be reached".to_owned()))?;
        let routes = Self {
            setting,
            scripts,
            manner,
            is_cluster,
            map: RwLock::default(),
            refreshing: tokio::sync::Mutex::default(),
            disturbed: Arc::new(Notify::new()),
        };
        let servers = clients.into_iter().map(|client| routes.server_at(client)).collect();
        routes.set(Map { servers, ranges: Vec::new() });
        if is_cluster {
            while let Err(fail) = routes.refresh().await {
                rest(fail, until).await?;
            }
            healths = routes.look_at_all(healths, until).await?;
        }
        Ok((Arc::new(routes), healths))
    }

    /// What the servers that have slots say of themselves: a cluster's are not all named by the URLs. One that is away is not the reason to refuse.
    async fn look_at_all(&self, known: Vec<Health>, until: Instant) -> Result<Vec<Health>, Fail> {
        let mut healths = Vec::new();
        for server in self.servers() {
            if let Some(health) = known.iter().find(|health| health.address == server.link.address)
            {
                healths.push(health.clone());
                continue;
            }
            match look(server.link.client(), until).await {
                Ok((health, _)) => healths.push(health),
                Err(Fail::Refused(reason)) => return Err(Fail::Refused(reason)),
                Err(_) => {}
            }
        }
        Ok(healths)
    }

    fn server_at(&self, client: Client) -> Arc<Server> {
        let link = Arc::new(Link::new(client, self.scripts.clone(), self.disturbed.clone()));
        let lane = Lane::start(&link, &self.setting);
        Arc::new(Server { link, lane })
    }

    fn set(&self, map: Map) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = map;
    }

    fn map(&self) -> Map {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The servers that have slots.
    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        self.map().servers
    }

    /// Told when a connection breaks.
    pub(super) fn disturbed(&self) -> &Notify {
        &self.disturbed
    }

    /// The server that has the slot, as far as is known.
    pub(super) fn server(&self, slot: SlotKey) -> Result<Arc<Server>, Fail> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let index = if self.is_cluster {
            let at = hash_slot(slot);
            let range = map.ranges.iter().find(|r| (r.first..=r.last).contains(&at));
            range.ok_or_else(|| Fail::Elsewhere(format!("no server has hash slot {at}")))?.server
        } else {
            server_of(slot, map.servers.len())
        };
        map.servers.get(index).cloned().ok_or_else(|| Fail::Elsewhere("no server".to_owned()))
    }

    /// Asks a cluster's servers, in turn, where the hash slots are. Who asks while another does waits for that answer.
    pub(super) async fn refresh(&self) -> Result<(), Fail> {
        if !self.is_cluster {
            return Ok(());
        }
        let Ok(mut answered) = self.refreshing.try_lock() else {
            drop(self.refreshing.lock().await);
            return Ok(());
        };
        let before = self.map();
        let mut in_turn: Vec<&Arc<Server>> = before.servers.iter().collect();
        in_turn.sort_by_key(|server| server.link.address != *answered);
        let mut last = Fail::Elsewhere("no server".to_owned());
        for server in in_turn {
            let asked = server.link.ask(Cmd::new().arg("CLUSTER").arg("SLOTS")).await;
            match asked.and_then(|said| self.read_map(said, &server.link, &before)) {
                Ok(map) => {
                    answered.clone_from(&server.link.address);
                    self.set(map);
                    return Ok(());
                }
                Err(fail) => last = fail,
            }
        }
        Err(last)
    }

    /// From the answer to CLUSTER SLOTS: `[first, last, [host, port, …], replica…]` for each range.
    fn read_map(&self, said: Value, asked: &Link, before: &Map) -> Result<Map, Fail> {
        let mut map = Map::default();
        for range in array(said)? {
            let parts = array(range)?;
            let [first, last, primary, ..] = parts.as_slice() else {
                return Err(strange(&Value::Array(parts)));
            };
            let hash_slot =
                |value| Ok::<_, Fail>(u16::try_from(number(value)?).unwrap_or(HASH_SLOTS));
            let (first, last) = (hash_slot(first)?, hash_slot(last)?);
            let place = array(primary.clone())?;
            let [host, port, ..] = place.as_slice() else { return Err(strange(primary)) };
            let port = u16::try_from(number(port)?).map_err(|_| strange(primary))?;
            let host = match text(host) {
                Ok("" | "?") | Err(_) => host_of(&self.manner),
                Ok(host) => host.to_owned(),
            };
            let addr = address(&self.manner, host, port);
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
            map.ranges.push(Range { first, last, server });
        }
        if map.ranges.is_empty() {
            return Err(Fail::Elsewhere(format!("{} knows no hash slots", asked.address)));
        }
        Ok(map)
    }

    fn client(&self, addr: ConnectionAddr) -> Result<Client, Fail> {
        Client::open(self.manner.clone().set_addr(addr)).map_err(|e| Fail::Refused(e.to_string()))
    }
}

/// What a server says of itself, and the scripts' digests once they are loaded there. One that cannot be reached is not waited for, one that does
/// nothing yet is.
async fn look(client: &Client, until: Instant) -> Result<(Health, Scripts), Fail> {
    let address = client.get_connection_info().addr().to_string();
    let mut connection = loop {
        match connect(client, Some(OPEN_MAX)).await {
            Err(fail @ Fail::Busy(_)) => rest(fail, until).await?,
            made => break made?,
        }
    };
    loop {
        match look_over(&mut connection, &address).await {
            Ok(looked) => return Ok(looked),
            Err(fail) => rest(fail, until).await?,
        }
    }
}

async fn look_over(
    connection: &mut MultiplexedConnection,
    address: &str,
) -> Result<(Health, Scripts), Fail> {
    let said = connection.send_packed_command(Cmd::new().arg("INFO")).await;
    let said = said.map_err(|e| Fail::of(&e)).and_then(answer).map_err(|fail| fail.at(address))?;
    let health = Health::read(address, text(&said)?);
    health::refuse(&health).map_err(Fail::Refused)?;
    let scripts = Scripts::load(connection).await.map_err(|fail| fail.at(address))?;
    Ok((health, scripts))
}

/// Rests for a moment after a failure that may pass; gives back any other, and every one after `until`.
async fn rest(fail: Fail, until: Instant) -> Result<(), Fail> {
    if !fail.may_pass() || Instant::now() >= until {
        return Err(fail);
    }
    tokio::time::sleep(OPEN_PAUSE).await;
    Ok(())
}

fn host_of(manner: &ConnectionInfo) -> String {
    match manner.addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        other => other.to_string(),
    }
}

/// Another server's address, to be spoken to in the manner of this one.
fn address(manner: &ConnectionInfo, host: String, port: u16) -> ConnectionAddr {
    match manner.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    }
}
