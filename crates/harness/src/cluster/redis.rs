//! A private Redis Cluster with one or more primaries. Each primary may have one replica. The
//! servers write data to the disk only when a test saves a snapshot.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::cluster_dir::ClusterDir;
use super::error::ClusterError;
use super::limits::{
    BUS_PORT_OFFSET, MEET_RETRY_AFTER, NODE_TIMEOUT_MS, POLL_INTERVAL, READY_WITHIN,
};
use super::process::{Process, ProcessSpec, find};
use super::{ports, resp};

const HASH_SLOTS: usize = 16_384;
/// The Redis user as which a replica logs in to its primary. If the harness disables this user,
/// replication stops, but all other commands still work.
const REPLICATION_USER: &str = "replication";

/// One Redis server.
#[derive(Debug)]
pub struct RedisServer {
    cluster_dir: ClusterDir,
    dir: PathBuf,
    port: u16,
    start: ProcessSpec,
    process: Option<Process>,
}

/// The Redis Cluster. If the cluster has replicas, server `i` and server `i + shards` are the
/// primary and the replica of one shard. A failover can swap them.
#[derive(Debug)]
pub struct Redis {
    shards: usize,
    servers: Vec<RedisServer>,
}

/// The replication role that a server reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The server is a primary.
    Primary,
    /// The server is a replica that is connected to its primary.
    ReplicaInSync,
    /// The server is a replica that is not connected to its primary.
    ReplicaOutOfSync,
    /// The server does not answer.
    Unreachable,
}

impl RedisServer {
    fn create(
        cluster_dir: &ClusterDir,
        index: usize,
        proxy_port: Option<u16>,
        port: u16,
        ends_with_caller: bool,
    ) -> Result<Self, ClusterError> {
        let name = format!("redis-{}", index + 1);
        let dir = cluster_dir.private_dir(&name)?;
        let announced = proxy_port.unwrap_or(port);
        // The server evicts no keys and saves no data by itself. Otherwise a slot could lose a key,
        // or have old data after a restart, and the nodes would replace the slot.
        let lines = [
            "bind 127.0.0.1".to_owned(),
            format!("port {port}"),
            format!("dir {}", dir.display()),
            "save \"\"".to_owned(),
            "appendonly no".to_owned(),
            "maxmemory-policy noeviction".to_owned(),
            "cluster-enabled yes".to_owned(),
            "cluster-config-file nodes.conf".to_owned(),
            format!("cluster-node-timeout {NODE_TIMEOUT_MS}"),
            "cluster-replica-validity-factor 0".to_owned(),
            "cluster-allow-replica-migration no".to_owned(),
            "cluster-announce-ip 127.0.0.1".to_owned(),
            format!("cluster-announce-port {announced}"),
            format!("cluster-announce-bus-port {}", port + BUS_PORT_OFFSET),
            "repl-diskless-sync-delay 0".to_owned(),
            "enable-debug-command yes".to_owned(),
            format!("masteruser {REPLICATION_USER}"),
            // All servers have the same password for replicas, because each server may become the
            // primary or the replica.
            "masterauth follow".to_owned(),
            format!("user {REPLICATION_USER} on >follow +psync +replconf +ping"),
        ];
        let file =
            cluster_dir.write_private(&format!("{name}/redis.conf"), &(lines.join("\n") + "\n"))?;
        let program = find("redis-server")?;
        let arguments = vec![file.display().to_string()];
        let start = ProcessSpec {
            name,
            program,
            arguments,
            environment: Vec::new(),
            user: None,
            ends_with_caller,
        };
        Ok(Self { cluster_dir: cluster_dir.clone(), dir, port, start, process: None })
    }

    /// Starts one server outside of any cluster, in the directory `redis-1`. The server writes to
    /// the disk only when a snapshot is requested.
    pub fn start_alone(
        cluster_dir: &ClusterDir,
        ends_with_caller: bool,
    ) -> Result<Self, ClusterError> {
        let name = "redis-1".to_owned();
        let dir = cluster_dir.private_dir(&name)?;
        let port = ports::free()?;
        let lines = [
            "bind 127.0.0.1".to_owned(),
            format!("port {port}"),
            format!("dir {}", dir.display()),
            "save \"\"".to_owned(),
            "appendonly no".to_owned(),
            "maxmemory-policy noeviction".to_owned(),
        ];
        let file =
            cluster_dir.write_private(&format!("{name}/redis.conf"), &(lines.join("\n") + "\n"))?;
        let start = ProcessSpec {
            name,
            program: find("redis-server")?,
            arguments: vec![file.display().to_string()],
            environment: Vec::new(),
            user: None,
            ends_with_caller,
        };
        let mut server = Self { cluster_dir: cluster_dir.clone(), dir, port, start, process: None };
        server.start()?;
        Ok(server)
    }

    /// Starts the server with the data in its directory and waits until it answers.
    pub fn start(&mut self) -> Result<(), ClusterError> {
        let addr = self.addr();
        let mut process = Process::start(&self.cluster_dir, &self.start)?;
        process.wait_until_ready(READY_WITHIN, || {
            resp::run_command(addr, &["PING"]).is_ok_and(|reply| reply == "PONG")
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Sends a signal to the process.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ClusterError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    /// Kills the process without a clean stop.
    pub fn kill(&mut self) -> Result<(), ClusterError> {
        self.stop_with(Signal::KILL)
    }

    fn stop_with(&mut self, signal: Signal) -> Result<(), ClusterError> {
        self.process.take().map_or(Ok(()), |mut process| process.stop(signal))
    }

    /// Returns the process id, or `None` if the server is stopped.
    pub fn pid(&self) -> Option<i32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Returns whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Returns the address of the server itself, not of a proxy.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Runs one command.
    pub fn run_command(&self, words: &[&str]) -> Result<String, ClusterError> {
        resp::run_command(self.addr(), words)
    }

    /// Returns the snapshot file that the server saves to and loads from.
    pub fn snapshot(&self) -> PathBuf {
        self.dir.join("dump.rdb")
    }

    /// Returns the role that the server reports.
    pub fn role(&self) -> Role {
        match self.run_command(&["ROLE"]) {
            Ok(reply) if reply.starts_with("master") => Role::Primary,
            Ok(reply) if reply.lines().any(|line| line == "connected") => Role::ReplicaInSync,
            Ok(_) => Role::ReplicaOutOfSync,
            Err(_) => Role::Unreachable,
        }
    }

    /// If `allowed` is false, disconnects the server's replicas, and refuses replicas that connect
    /// later.
    pub fn set_replication_allowed(&self, allowed: bool) -> Result<(), ClusterError> {
        self.run_command(&[
            "ACL",
            "SETUSER",
            REPLICATION_USER,
            if allowed { "on" } else { "off" },
        ])?;
        if !allowed {
            self.run_command(&["CLIENT", "KILL", "TYPE", "replica"])?;
        }
        Ok(())
    }
}

impl Redis {
    /// Starts a cluster of `shards` primaries. If `replicas` is true, each primary has one replica.
    /// `proxy_port` returns the port of the proxy in front of a server, if there is one. The server
    /// then announces the proxy's port in place of its own.
    pub fn create(
        cluster_dir: &ClusterDir,
        shards: usize,
        replicas: bool,
        ends_with_caller: bool,
        mut proxy_port: impl FnMut(u16) -> Result<Option<u16>, ClusterError>,
    ) -> Result<Self, ClusterError> {
        let count = if replicas { 2 * shards } else { shards };
        let mut servers = Vec::with_capacity(count);
        for index in 0..count {
            let port = ports::free_pair()?;
            let mut server =
                RedisServer::create(cluster_dir, index, proxy_port(port)?, port, ends_with_caller)?;
            server.start()?;
            servers.push(server);
        }
        let redis = Self { shards, servers };
        redis.join()?;
        Ok(redis)
    }

    /// Makes the servers one cluster, in which server `i + shards` replicates server `i`. The
    /// harness does not use `redis-cli --cluster create`, because this command chooses the replicas
    /// itself.
    fn join(&self) -> Result<(), ClusterError> {
        let (primaries, replicas) = self.servers.split_at(self.shards);
        for (index, server) in primaries.iter().enumerate() {
            let (from, to) =
                (index * HASH_SLOTS / self.shards, (index + 1) * HASH_SLOTS / self.shards - 1);
            server.run_command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
            server.run_command(&[
                "CLUSTER",
                "ADDSLOTSRANGE",
                &from.to_string(),
                &to.to_string(),
            ])?;
        }
        self.introduce_servers()?;
        for (primary, replica) in primaries.iter().zip(replicas) {
            let id = primary.run_command(&["CLUSTER", "MYID"])?;
            // This command fails while the replica does not yet know the primary.
            wait_until("a replica knows its primary", || {
                replica.run_command(&["CLUSTER", "REPLICATE", &id]).is_ok()
            })?;
        }
        self.wait_until_healthy()
    }

    /// Introduces the servers to each other. Repeats this if necessary, because servers forget a
    /// new server that is silent for a second.
    fn introduce_servers(&self) -> Result<(), ClusterError> {
        let known = format!("cluster_known_nodes:{}\r", self.servers.len());
        let knows = |server: &RedisServer| {
            server.run_command(&["CLUSTER", "INFO"]).is_ok_and(|info| info.contains(&known))
        };
        let mut met = None::<Instant>;
        wait_until("the servers know each other", || {
            if met.is_none_or(|met| met.elapsed() > MEET_RETRY_AFTER) {
                met = Some(Instant::now());
                for server in &self.servers[1..] {
                    let bus = (server.port + BUS_PORT_OFFSET).to_string();
                    drop(self.servers[0].run_command(&[
                        "CLUSTER",
                        "MEET",
                        "127.0.0.1",
                        &server.port.to_string(),
                        &bus,
                    ]));
                }
            }
            self.servers.iter().all(knows)
        })
    }

    /// Waits until every server reports a healthy cluster. If the cluster has replicas, also waits
    /// until every shard has a primary and a replica in sync.
    pub fn wait_until_healthy(&self) -> Result<(), ClusterError> {
        self.wait_until("the cluster is healthy", |server| {
            let fine =
                |info: String| info.contains("cluster_state:ok") && info.contains("slots_fail:0");
            server.run_command(&["CLUSTER", "INFO"]).is_ok_and(fine)
        })?;
        let with_replica = self.servers.len() / self.shards > 1;
        for shard in (0..self.shards).filter(|_| with_replica) {
            wait_until("a shard has a primary and a replica in sync", || {
                let roles = [shard, shard + self.shards].map(|server| self.servers[server].role());
                matches!(
                    roles,
                    [Role::Primary, Role::ReplicaInSync] | [Role::ReplicaInSync, Role::Primary]
                )
            })?;
        }
        Ok(())
    }

    fn wait_until(
        &self,
        what: &str,
        holds: impl Fn(&RedisServer) -> bool,
    ) -> Result<(), ClusterError> {
        self.servers.iter().try_for_each(|server| wait_until(what, || holds(server)))
    }

    /// Returns the number of shards.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Returns all servers.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// Returns one server, so that the caller can start, signal or kill the server.
    pub fn server(&mut self, index: usize) -> &mut RedisServer {
        &mut self.servers[index]
    }

    /// Returns two server indices: the shard's current primary, and its replica. In a cluster
    /// without replicas, both indices are the primary's.
    pub fn primary_and_replica(&self, shard: usize) -> (usize, usize) {
        let (one, other) = (shard, (shard + self.shards) % self.servers.len());
        let swapped = self.servers[one].role() != Role::Primary
            && self.servers[other].role() == Role::Primary;
        if swapped { (other, one) } else { (one, other) }
    }

    /// Stops all servers.
    pub fn stop(&mut self) -> Result<(), ClusterError> {
        // A kill is enough, because the servers save no data even at a clean stop.
        self.servers.iter_mut().try_for_each(RedisServer::kill)
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Result<(), ClusterError> {
    let end = Instant::now() + READY_WITHIN;
    while !holds() {
        if Instant::now() > end {
            return Err(ClusterError::failed(
                "the Redis Cluster",
                format!("timed out waiting until {what}"),
            ));
        }
        std::thread::sleep(POLL_INTERVAL.max(Duration::from_millis(50)));
    }
    Ok(())
}
