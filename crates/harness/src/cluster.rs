//! A whole installation on this machine: PostgreSQL, a Redis Cluster, nodes, and one address in
//! front of them, all private, all from Debian's packages. `cluster up`, `demo --shape …`, chaos
//! and tests share it.

mod clock;
mod cluster_dir;
mod error;
pub mod http;
mod installed;
pub mod limits;
mod node;
mod ports;
mod postgres;
mod process;
mod proxy;
mod redis;
mod resp;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub use cluster_dir::ClusterDir;
pub use error::ClusterError;
pub use installed::{InstalledCluster, InstalledServer, find, remove, shut_down};
pub use node::Node;
pub use postgres::Postgres;
pub use proxy::{NetworkCondition, Proxy};
pub use redis::{Redis, RedisServer, Role};
pub use rustix::process::Signal;

use process::{Process, ProcessSpec};

/// A port of this machine at which nobody listens, for a server that is about to start.
pub fn free_port() -> Result<u16, ClusterError> {
    ports::free()
}

/// How the nodes are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Slots in the nodes' memory, the truth in PostgreSQL.
    Postgres,
    /// Slots in Redis, the truth in PostgreSQL.
    Cluster,
}

impl Shape {
    /// The word of the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Cluster => "cluster",
        }
    }
}

/// What to start. Begin with [`ClusterPlan::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The program that nodes run.
    pub program: PathBuf,
    /// Where everything is kept.
    pub dir: PathBuf,
    /// How the nodes are built.
    pub shape: Shape,
    /// How many nodes.
    pub nodes: usize,
    /// Primaries of the Redis Cluster.
    pub shards: usize,
    /// Whether each has a replica.
    pub replicas: bool,
    /// Whether all ends with whoever started it, or stays until [`shut_down`].
    pub ends_with_caller: bool,
    /// Whether what nodes say to Redis and PostgreSQL goes through proxies that can cut it.
    pub proxies: bool,
    /// Whether the wall clocks of nodes can be set, which needs a C compiler.
    pub clocks: bool,
    /// Another build of the program, which nodes change to when they are renewed.
    pub next: Option<PathBuf>,
    /// What each node does, by its number; a node without an entry does everything.
    pub roles: Vec<String>,
    /// Further settings of every node, by their names in the environment.
    pub settings: Vec<(String, String)>,
}

impl ClusterPlan {
    /// Two nodes, three shards, no doors, ending with whoever started it.
    pub fn new(program: &Path, dir: &Path, shape: Shape) -> Self {
        Self {
            program: program.into(),
            dir: dir.into(),
            shape,
            nodes: 2,
            shards: 3,
            replicas: true,
            ends_with_caller: true,
            proxies: false,
            clocks: false,
            next: None,
            roles: Vec::new(),
            settings: Vec::new(),
        }
    }
}

/// A running installation.
#[derive(Debug)]
pub struct Cluster {
    /// The directory.
    pub cluster_dir: ClusterDir,
    /// How its nodes are built.
    pub shape: Shape,
    /// The truth.
    pub postgres: Postgres,
    /// The slots, in shape `cluster`.
    pub redis: Option<Redis>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// With doors: what each node says to PostgreSQL goes through one of its own.
    pub postgres_proxies: Vec<Proxy>,
    /// With doors: what anybody says to a Redis server goes through one of its own.
    pub redis_proxies: Vec<Proxy>,
    front: FrontProxy,
    admin_key: String,
    buyer_secret: PathBuf,
}

/// The one address: served by this process, or by one that stays.
#[derive(Debug)]
enum FrontProxy {
    InProcess(Proxy),
    Separate(SocketAddr, Process),
}

impl Cluster {
    /// Starts everything, and waits until every node is ready.
    pub fn start(plan: &ClusterPlan) -> Result<Self, ClusterError> {
        if !(1..=limits::NODES_MAX).contains(&plan.nodes) || plan.shards == 0 {
            return Err(ClusterError::failed(
                "starting nodes",
                format!("1 to {} are possible", limits::NODES_MAX),
            ));
        }
        let cluster_dir = ClusterDir::create(&plan.dir)?;
        let (admin_key, buyer_secret) = (secret(), secret());
        let postgres = Postgres::create(&cluster_dir, plan.ends_with_caller)?;
        let mut redis_proxies = Vec::new();
        let redis = match plan.shape {
            Shape::Postgres => None,
            Shape::Cluster => Some(Redis::create(
                &cluster_dir,
                plan.shards,
                plan.replicas,
                plan.ends_with_caller,
                |port| {
                    Ok(if plan.proxies {
                        Some(start_proxy(port, &mut redis_proxies)?)
                    } else {
                        None
                    })
                },
            )?),
        };
        let urls = redis.as_ref().map(|redis| slots_urls(redis, &redis_proxies));
        let clock = if plan.clocks { Some(clock::compile_library(&cluster_dir)?) } else { None };
        let mut postgres_proxies = Vec::new();
        let mut nodes = Vec::with_capacity(plan.nodes);
        let shared = [
            ("DOORBUSTER_SHAPE".to_owned(), plan.shape.as_str().to_owned()),
            ("DOORBUSTER_AUTH__ADMIN_KEY".to_owned(), admin_key.clone()),
            ("DOORBUSTER_AUTH__BUYER_SECRET".to_owned(), buyer_secret.clone()),
            ("DOORBUSTER_AUTH__ID_KEY".to_owned(), secret()),
            (
                "DOORBUSTER_PAYMENT__WEBHOOK_SECRET".to_owned(),
                format!("whsec_{}", STANDARD.encode(secret_bytes())),
            ),
        ];
        for number in 1..=plan.nodes {
            let port = if plan.proxies {
                start_proxy(postgres.port(), &mut postgres_proxies)?
            } else {
                postgres.port()
            };
            let mut environment = shared.to_vec();
            environment.push(("DOORBUSTER_STORE__URL".to_owned(), postgres.url(port)));
            environment
                .extend(urls.clone().map(|urls| ("DOORBUSTER_SLOTS__URLS".to_owned(), urls)));
            let roles = plan.roles.get(number - 1);
            environment.extend(roles.map(|roles| ("DOORBUSTER_ROLES".to_owned(), roles.clone())));
            environment.extend(plan.settings.iter().cloned());
            let (program, ends_with_caller) = (plan.program.clone(), plan.ends_with_caller);
            let name = format!("node-{number}");
            let start = ProcessSpec {
                name,
                program,
                arguments: Vec::new(),
                environment,
                user: None,
                ends_with_caller,
            };
            nodes.push(
                Node::create(&cluster_dir, start, clock.as_deref())?.with_next(plan.next.clone()),
            );
        }
        nodes.iter_mut().try_for_each(Node::start)?;
        nodes.iter_mut().try_for_each(Node::wait_until_ready)?;
        let front = FrontProxy::start(plan, &cluster_dir, &nodes)?;
        cluster_dir.write_private("admin_key", &admin_key)?;
        let buyer_secret = cluster_dir.write_private("buyer_secret", &buyer_secret)?;
        let shape = plan.shape;
        let cluster = Self {
            cluster_dir,
            shape,
            postgres,
            redis,
            nodes,
            postgres_proxies,
            redis_proxies,
            front,
            admin_key,
            buyer_secret,
        };
        installed::write_info(&cluster)?;
        Ok(cluster)
    }

    /// The one address of all nodes.
    pub fn addr(&self) -> SocketAddr {
        match &self.front {
            FrontProxy::InProcess(proxy) => proxy.addr(),
            FrontProxy::Separate(addr, _) => *addr,
        }
    }

    /// The same as an address for a browser.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The address of the truth.
    pub fn store_url(&self) -> String {
        self.postgres.url(self.postgres.port())
    }

    /// The addresses of the slots, in shape `cluster`.
    pub fn slots_urls(&self) -> Option<String> {
        self.redis.as_ref().map(|redis| slots_urls(redis, &self.redis_proxies))
    }

    /// The operators' key.
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// The file of the secret that buyers' tokens are signed with.
    pub fn buyer_secret(&self) -> &Path {
        &self.buyer_secret
    }

    /// One request of the operator, at the one address.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Result<http::Reply, ClusterError> {
        http::send_request(
            self.addr(),
            method,
            path,
            &format!("Authorization: Bearer {}\r\n", self.admin_key),
            body,
        )
    }

    /// Stops the nodes in good order, and leaves the truth running, for whoever wants to look at
    /// it.
    pub fn stop_nodes(&mut self) -> Result<(), ClusterError> {
        self.nodes.iter_mut().try_for_each(Node::stop)
    }

    /// Stops everything in good order.
    pub fn stop(mut self) -> Result<(), ClusterError> {
        if let FrontProxy::Separate(_, process) = &mut self.front {
            process.stop(Signal::TERM)?;
        }
        self.stop_nodes()?;
        self.redis.as_mut().map_or(Ok(()), Redis::stop)?;
        self.postgres.stop()
    }
}

impl FrontProxy {
    fn start(
        plan: &ClusterPlan,
        cluster_dir: &ClusterDir,
        nodes: &[Node],
    ) -> Result<Self, ClusterError> {
        let serves = |number: usize| {
            plan.roles.get(number).is_none_or(|roles| roles.split(',').any(|role| role == "api"))
        };
        let targets: Vec<SocketAddr> = nodes
            .iter()
            .enumerate()
            .filter(|(number, _)| serves(*number))
            .map(|(_, node)| node.addr())
            .collect();
        let listen = SocketAddr::from(([127, 0, 0, 1], ports::free()?));
        if plan.ends_with_caller {
            return Ok(Self::InProcess(Proxy::start(listen, targets)?));
        }
        let mut arguments: Vec<String> =
            ["cluster", "front", "--listen", &listen.to_string()].map(str::to_owned).into();
        arguments.extend(targets.iter().flat_map(|target| ["--to".to_owned(), target.to_string()]));
        let (name, program, ends_with_caller) = ("front".to_owned(), plan.program.clone(), false);
        let start = ProcessSpec {
            name,
            program,
            arguments,
            environment: Vec::new(),
            user: None,
            ends_with_caller,
        };
        let mut process = Process::start(cluster_dir, &start)?;
        process.wait_until_ready(limits::READY_WITHIN, || {
            http::send_request(listen, "GET", "/readyz", "", "")
                .is_ok_and(|reply| reply.status == 200)
        })?;
        Ok(Self::Separate(listen, process))
    }
}

/// A proxy before this port of ours; its own port.
fn start_proxy(port: u16, proxies: &mut Vec<Proxy>) -> Result<u16, ClusterError> {
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], ports::free()?)), vec![target])?;
    let port = proxy.addr().port();
    proxies.push(proxy);
    Ok(port)
}

fn slots_urls(redis: &Redis, proxies: &[Proxy]) -> String {
    let servers = redis.servers().iter().take(redis.shards()).map(RedisServer::addr);
    let addrs: Vec<SocketAddr> = if proxies.is_empty() {
        servers.collect()
    } else {
        proxies.iter().take(redis.shards()).map(Proxy::addr).collect()
    };
    addrs.iter().map(|addr| format!("redis://{addr}")).collect::<Vec<_>>().join(",")
}

/// 64 hexadecimal digits that nobody can guess.
fn secret() -> String {
    secret_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn secret_bytes() -> [u8; 32] {
    rand::random()
}
