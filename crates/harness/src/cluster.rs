//! A complete private installation on this machine: PostgreSQL, a Redis Cluster (in shape
//! `cluster`), nodes, edges, and one address in front of them.

mod addresses;
mod clock;
mod cluster_dir;
mod error;
mod full_disk;
pub mod http;
mod installed;
mod library;
pub mod limits;
mod node;
mod node_factory;
mod plan;
mod ports;
mod postgres;
mod process;
mod proxy;
mod redis;
mod resp;
mod secret;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

pub use cluster_dir::ClusterDir;
pub use error::ClusterError;
pub use installed::{InstalledCluster, InstalledServer, find, is_installation, remove, shut_down};
pub use node::Node;
pub use plan::{ClusterPlan, Shape};
pub use postgres::Postgres;
pub use proxy::{NetworkCondition, Proxy};
pub use redis::{Redis, RedisServer, Role};
pub use rustix::process::Signal;

use addresses::{slots_urls, start_proxy, store_address};
use node_factory::NodeFactory;
use process::{Process, ProcessSpec};

/// Returns a free port of this machine, for a server that is about to start.
pub fn free_port() -> Result<u16, ClusterError> {
    ports::free()
}

/// A running installation.
#[derive(Debug)]
pub struct Cluster {
    /// The directory of the installation.
    pub cluster_dir: ClusterDir,
    /// The deployment shape of the nodes.
    pub shape: Shape,
    /// The PostgreSQL server of the store.
    pub postgres: Postgres,
    /// The standby of PostgreSQL, if the plan asks for one.
    pub standby: Option<Postgres>,
    /// The Redis servers that hold the slots, in shape `cluster`.
    pub redis: Option<Redis>,
    /// The nodes, which use the store.
    pub nodes: Vec<Node>,
    /// The edges, which pass requests on to the nodes.
    pub edges: Vec<Node>,
    /// For each node, the proxies between the node and the PostgreSQL servers, if the plan has
    /// proxies.
    pub postgres_proxies: Vec<Vec<Proxy>>,
    /// The proxies between the nodes and the Redis servers, if the plan has proxies.
    pub redis_proxies: Vec<Proxy>,
    front: FrontProxy,
    admin_key: String,
    buyer_secret: PathBuf,
}

/// The proxy at the common address. It passes requests on to the nodes, or to the edges if there
/// are any. It is a thread of this process, or a separate process that continues to run after this
/// process ends.
#[derive(Debug)]
enum FrontProxy {
    InProcess(Proxy),
    Separate(SocketAddr, Process),
}

impl Cluster {
    /// Starts all servers and waits until every node is ready.
    pub fn start(plan: &ClusterPlan) -> Result<Self, ClusterError> {
        if !(1..=limits::NODES_MAX).contains(&plan.nodes) || plan.shards == 0 {
            return Err(ClusterError::failed(
                "starting nodes",
                format!("the plan needs 1 to {} nodes and at least one shard", limits::NODES_MAX),
            ));
        }
        if plan.edges > 0 && plan.shape != Shape::Cluster {
            return Err(ClusterError::failed("starting edges", "edges need shape cluster"));
        }
        let cluster_dir = ClusterDir::create(&plan.dir)?;
        let (admin_key, buyer_secret) = (node_factory::secret(), node_factory::secret());
        let ends_with_caller = plan.ends_with_caller;
        let disk = plan.full_disk.then(|| full_disk::compile_library(&cluster_dir)).transpose()?;
        let postgres = Postgres::create_on(&cluster_dir, ends_with_caller, disk.as_deref())?;
        let standby = plan.standby.then(|| postgres.create_standby(disk.as_deref())).transpose()?;
        let mut redis_proxies = Vec::new();
        let redis = match plan.shape {
            Shape::Postgres => None,
            Shape::Cluster => Some(Redis::create(
                &cluster_dir,
                plan.shards,
                plan.replicas,
                ends_with_caller,
                |port| plan.proxies.then(|| start_proxy(port, &mut redis_proxies)).transpose(),
            )?),
        };
        let urls = redis.as_ref().map(|redis| slots_urls(redis, &redis_proxies));
        let clock = if plan.clocks { Some(clock::compile_library(&cluster_dir)?) } else { None };
        let mut postgres_proxies = Vec::new();
        let secrets = [("ADMIN_KEY", &admin_key), ("BUYER_SECRET", &buyer_secret)];
        let factory = NodeFactory::new(plan, &cluster_dir, clock.as_deref(), urls, secrets);
        let mut nodes = Vec::with_capacity(plan.nodes);
        for number in 1..=plan.nodes {
            let (url, proxies) = store_address(plan, &postgres, standby.as_ref())?;
            postgres_proxies.push(proxies);
            nodes.push(factory.node(number, url)?);
        }
        let serving = serving_addresses(plan, &nodes);
        let mut edges: Vec<Node> = (1..=plan.edges)
            .map(|number| factory.edge(number, &serving))
            .collect::<Result<_, _>>()?;
        for servers in [&mut nodes, &mut edges] {
            servers.iter_mut().try_for_each(Node::start)?;
            servers.iter_mut().try_for_each(Node::wait_until_ready)?;
        }
        let front = match edges.as_slice() {
            [] => serving,
            edges => edges.iter().map(Node::addr).collect(),
        };
        let front = FrontProxy::start(plan, &cluster_dir, front)?;
        cluster_dir.write_private("admin_key", &admin_key)?;
        let buyer_secret = cluster_dir.write_private("buyer_secret", &buyer_secret)?;
        let shape = plan.shape;
        let mut cluster = Self {
            cluster_dir,
            shape,
            postgres,
            standby,
            redis,
            nodes,
            edges,
            postgres_proxies,
            redis_proxies,
            front,
            admin_key,
            buyer_secret,
        };
        cluster.renew_standby()?;
        installed::write_info(&cluster)?;
        Ok(cluster)
    }

    /// Makes `standby` a new standby of `postgres`, and makes commits wait for the standby's
    /// confirmation. Does nothing if the plan has no standby.
    pub fn renew_standby(&mut self) -> Result<(), ClusterError> {
        let Some(standby) = &mut self.standby else { return Ok(()) };
        standby.rebuild_as_standby_of(&self.postgres)?;
        self.postgres.wait_for_standby()?;
        self.wait_until_nodes_see_standby()
    }

    /// Waits until each node reports the synchronous standby. If a node had not detected the
    /// standby before a failover, it would pause the sales after the failover.
    fn wait_until_nodes_see_standby(&self) -> Result<(), ClusterError> {
        let (seen, begun) = ("\ndoorbuster_store_synchronous_standbys 1\n", Instant::now());
        for node in &self.nodes {
            while !http::send_request(node.addr(), "GET", "/metrics", "", "")?.body.contains(seen) {
                if begun.elapsed() > limits::READY_WITHIN {
                    let what = format!("{} does not see the standby", node.name());
                    return Err(ClusterError::failed("waiting for the standby", what));
                }
                std::thread::sleep(limits::POLL_INTERVAL);
            }
        }
        Ok(())
    }

    /// Makes commits no longer wait for the standby's confirmation, and then disconnects the
    /// standby from its primary.
    pub fn cut_off_standby(&self) -> Result<(), ClusterError> {
        let Some(standby) = &self.standby else { return Ok(()) };
        let set = |server: &Postgres, sql| {
            server.sql(sql).and_then(|_| server.sql("SELECT pg_reload_conf()")).map(drop)
        };
        set(&self.postgres, "ALTER SYSTEM RESET synchronous_standby_names")?;
        set(standby, "ALTER SYSTEM SET primary_conninfo = ''")
    }

    /// Promotes the standby. After that, the field `postgres` has the new primary, and the field
    /// `standby` has the old primary.
    pub fn fail_over(&mut self) -> Result<(), ClusterError> {
        let Some(standby) = &mut self.standby else { return Ok(()) };
        standby.promote()?;
        std::mem::swap(&mut self.postgres, standby);
        Ok(())
    }

    /// Returns the common address of all nodes.
    pub fn addr(&self) -> SocketAddr {
        match &self.front {
            FrontProxy::InProcess(proxy) => proxy.addr(),
            FrontProxy::Separate(addr, _) => *addr,
        }
    }

    /// Returns the URL of the common address.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Returns the URL of the store.
    pub fn store_url(&self) -> String {
        self.postgres.url(self.postgres.port())
    }

    /// Returns the URLs of the Redis servers that hold the slots, or `None` in shape `postgres`.
    pub fn slots_urls(&self) -> Option<String> {
        self.redis.as_ref().map(|redis| slots_urls(redis, &self.redis_proxies))
    }

    /// Returns the operators' key.
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// Returns the file with the secret that signs buyers' tokens.
    pub fn buyer_secret(&self) -> &Path {
        &self.buyer_secret
    }

    /// Sends one request with the operators' key to the common address.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Result<http::Reply, ClusterError> {
        http::send_request(
            self.addr(),
            method,
            path,
            &format!("Authorization: Bearer {}\r\n", self.admin_key),
            body,
        )
    }

    /// Stops the nodes and the edges cleanly. PostgreSQL continues to run, so that the caller can
    /// read the store.
    pub fn stop_nodes(&mut self) -> Result<(), ClusterError> {
        self.edges.iter_mut().chain(&mut self.nodes).try_for_each(Node::stop)
    }

    /// Stops all servers cleanly.
    pub fn stop(mut self) -> Result<(), ClusterError> {
        if let FrontProxy::Separate(_, process) = &mut self.front {
            process.stop(Signal::TERM)?;
        }
        self.stop_nodes()?;
        self.redis.as_mut().map_or(Ok(()), Redis::stop)?;
        self.postgres.stop()?;
        self.standby.as_mut().map_or(Ok(()), Postgres::stop)
    }
}

impl FrontProxy {
    fn start(
        plan: &ClusterPlan,
        cluster_dir: &ClusterDir,
        targets: Vec<SocketAddr>,
    ) -> Result<Self, ClusterError> {
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

fn serving_addresses(plan: &ClusterPlan, nodes: &[Node]) -> Vec<SocketAddr> {
    let serves = |number: usize| {
        plan.roles.get(number).is_none_or(|roles| roles.split(',').any(|role| role == "api"))
    };
    let serving = nodes.iter().enumerate().filter(|(number, _)| serves(*number));
    serving.map(|(_, node)| node.addr()).collect()
}
