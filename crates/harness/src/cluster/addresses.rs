//! The addresses that nodes use for PostgreSQL and Redis: those of the servers, or of the proxies
//! in front of the servers.

use std::net::SocketAddr;

use super::{ClusterError, ClusterPlan, Postgres, Proxy, Redis, RedisServer, ports};

/// Returns the URL of the store for one node. If the plan has proxies, starts one for each
/// PostgreSQL server, uses them in the URL, and returns them too.
pub(super) fn store_address(
    plan: &ClusterPlan,
    postgres: &Postgres,
    standby: Option<&Postgres>,
) -> Result<(String, Vec<Proxy>), ClusterError> {
    let mut proxies = Vec::new();
    let mut port = |server: &Postgres| match plan.proxies {
        true => start_proxy(server.port(), &mut proxies),
        false => Ok(server.port()),
    };
    let first = port(postgres)?;
    let url = match standby {
        Some(standby) => postgres.url_of_either([first, port(standby)?]),
        None => postgres.url(first),
    };
    Ok((url, proxies))
}

/// Returns the proxy's port.
pub(super) fn start_proxy(port: u16, proxies: &mut Vec<Proxy>) -> Result<u16, ClusterError> {
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], ports::free()?)), vec![target])?;
    let port = proxy.addr().port();
    proxies.push(proxy);
    Ok(port)
}

/// Returns one URL for each shard. It leads to a Redis server of the shard, or to the proxy in
/// front of this server.
pub(super) fn slots_urls(redis: &Redis, proxies: &[Proxy]) -> String {
    let servers = redis.servers().iter().take(redis.shards()).map(RedisServer::addr);
    let addrs: Vec<SocketAddr> = if proxies.is_empty() {
        servers.collect()
    } else {
        proxies.iter().take(redis.shards()).map(Proxy::addr).collect()
    };
    addrs.iter().map(|addr| format!("redis://{addr}")).collect::<Vec<_>>().join(",")
}
