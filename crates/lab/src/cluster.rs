//! A whole installation on this machine: PostgreSQL, a Redis Cluster, nodes, and one address in front of them, all private,
//! all from Debian's packages. `cluster up`, `demo --shape …`, chaos and tests share it.

mod clock;
mod error;
mod found;
pub mod http;
pub mod limits;
mod node;
mod place;
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

pub use error::ClusterError;
pub use found::{Found, Part, down, find, remove};
pub use node::Node;
pub use place::Place;
pub use postgres::Postgres;
pub use proxy::{Proxy, Weather};
pub use redis::{Redis, Role, Server};
pub use rustix::process::Signal;

use process::{Process, Start};

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

/// What to start. Begin with [`Plan::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct Plan {
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
    /// Whether all ends with whoever started it, or stays until [`down`].
    pub tethered: bool,
    /// Whether what nodes say to Redis and PostgreSQL goes through proxies that can cut it.
    pub doors: bool,
    /// Whether the wall clocks of nodes can be set, which needs a C compiler.
    pub clocks: bool,
    /// Another build of the program, which nodes change to when they are renewed.
    pub next: Option<PathBuf>,
    /// What each node does, by its number; a node without an entry does everything.
    pub roles: Vec<String>,
    /// Further settings of every node, by their names in the environment.
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// Two nodes, three shards, no doors, ending with whoever started it.
    pub fn new(program: &Path, dir: &Path, shape: Shape) -> Self {
        Self {
            program: program.into(),
            dir: dir.into(),
            shape,
            nodes: 2,
            shards: 3,
            replicas: true,
            tethered: true,
            doors: false,
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
    pub place: Place,
    /// How its nodes are built.
    pub shape: Shape,
    /// The truth.
    pub postgres: Postgres,
    /// The slots, in shape `cluster`.
    pub redis: Option<Redis>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// With doors: what each node says to PostgreSQL goes through one of its own.
    pub postgres_doors: Vec<Proxy>,
    /// With doors: what anybody says to a Redis server goes through one of its own.
    pub redis_doors: Vec<Proxy>,
    front: Front,
    admin_key: String,
    buyer_secret: PathBuf,
}

/// The one address: served by this process, or by one that stays.
#[derive(Debug)]
enum Front {
    Here(Proxy),
    Apart(SocketAddr, Process),
}

impl Cluster {
    /// Starts everything, and waits until every node is ready.
    pub fn start(plan: &Plan) -> Result<Self, ClusterError> {
        if !(1..=limits::NODES_MAX).contains(&plan.nodes) || plan.shards == 0 {
            return Err(ClusterError::failed(
                "starting nodes",
                format!("1 to {} are possible", limits::NODES_MAX),
            ));
        }
        let place = Place::make(&plan.dir)?;
        let (admin_key, buyer_secret) = (secret(), secret());
        let postgres = Postgres::make(&place, plan.tethered)?;
        let mut redis_doors = Vec::new();
        let redis = match plan.shape {
            Shape::Postgres => None,
            Shape::Cluster => {
                Some(Redis::make(&place, plan.shards, plan.replicas, plan.tethered, |port| {
                    Ok(if plan.doors { Some(door(port, &mut redis_doors)?) } else { None })
                })?)
            }
        };
        let urls = redis.as_ref().map(|redis| slots_urls(redis, &redis_doors));
        let clock = if plan.clocks { Some(clock::build(&place)?) } else { None };
        let mut postgres_doors = Vec::new();
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
            let port = if plan.doors {
                door(postgres.port(), &mut postgres_doors)?
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
            let (program, tethered) = (plan.program.clone(), plan.tethered);
            let name = format!("node-{number}");
            let start =
                Start { name, program, arguments: Vec::new(), environment, user: None, tethered };
            nodes.push(Node::make(&place, start, clock.as_deref())?.with_next(plan.next.clone()));
        }
        nodes.iter_mut().try_for_each(Node::start)?;
        nodes.iter_mut().try_for_each(Node::until_ready)?;
        let front = Front::start(plan, &place, &nodes)?;
        place.keep("admin_key", &admin_key)?;
        let buyer_secret = place.keep("buyer_secret", &buyer_secret)?;
        let shape = plan.shape;
        let cluster = Self {
            place,
            shape,
            postgres,
            redis,
            nodes,
            postgres_doors,
            redis_doors,
            front,
            admin_key,
            buyer_secret,
        };
        found::note(&cluster)?;
        Ok(cluster)
    }

    /// The one address of all nodes.
    pub fn addr(&self) -> SocketAddr {
        match &self.front {
            Front::Here(proxy) => proxy.addr(),
            Front::Apart(addr, _) => *addr,
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
        self.redis.as_ref().map(|redis| slots_urls(redis, &self.redis_doors))
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
        http::ask(
            self.addr(),
            method,
            path,
            &format!("Authorization: Bearer {}\r\n", self.admin_key),
            body,
        )
    }

    /// Stops the nodes in good order, and leaves the truth running, for whoever wants to look at it.
    pub fn stop_nodes(&mut self) -> Result<(), ClusterError> {
        self.nodes.iter_mut().try_for_each(Node::stop)
    }

    /// Stops everything in good order.
    pub fn stop(mut self) -> Result<(), ClusterError> {
        if let Front::Apart(_, process) = &mut self.front {
            process.stop(Signal::TERM)?;
        }
        self.stop_nodes()?;
        self.redis.as_mut().map_or(Ok(()), Redis::stop)?;
        self.postgres.stop()
    }
}

impl Front {
    fn start(plan: &Plan, place: &Place, nodes: &[Node]) -> Result<Self, ClusterError> {
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
        if plan.tethered {
            return Ok(Self::Here(Proxy::start(listen, targets)?));
        }
        let mut arguments: Vec<String> =
            ["cluster", "front", "--listen", &listen.to_string()].map(str::to_owned).into();
        arguments.extend(targets.iter().flat_map(|target| ["--to".to_owned(), target.to_string()]));
        let (name, program, tethered) = ("front".to_owned(), plan.program.clone(), false);
        let start =
            Start { name, program, arguments, environment: Vec::new(), user: None, tethered };
        let mut process = Process::start(place, &start)?;
        process.until_ready(limits::READY_WITHIN, || {
            http::ask(listen, "GET", "/readyz", "", "").is_ok_and(|reply| reply.status == 200)
        })?;
        Ok(Self::Apart(listen, process))
    }
}

/// A proxy before this port of ours; its own port.
fn door(port: u16, doors: &mut Vec<Proxy>) -> Result<u16, ClusterError> {
    let target = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], ports::free()?)), vec![target])?;
    let port = proxy.addr().port();
    doors.push(proxy);
    Ok(port)
}

fn slots_urls(redis: &Redis, doors: &[Proxy]) -> String {
    let servers = redis.servers().iter().take(redis.shards()).map(Server::addr);
    let addrs: Vec<SocketAddr> = if doors.is_empty() {
        servers.collect()
    } else {
        doors.iter().take(redis.shards()).map(Proxy::addr).collect()
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
