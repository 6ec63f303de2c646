//! The private servers of the lab (PostgreSQL and Redis), and the worker processes that use them.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use doorbuster_harness::cluster::{
    ClusterDir, NetworkCondition, Postgres, Proxy, RedisServer, free_port,
};

use crate::backends::Addresses;
use crate::limits::{POOL_MAX, SLOW_BY, WORKERS};
use crate::worker::WorkerSpec;

/// A temporary directory of the lab. It is removed when this value is dropped.
#[derive(Debug)]
pub struct WorkDir(PathBuf);

impl WorkDir {
    /// Creates the directory. Other users can enter the directory, because PostgreSQL may run as
    /// another user.
    pub fn create() -> Result<Self> {
        // The name must be short: the path of PostgreSQL's socket may have at most 107 bytes.
        let name = format!("doorbuster-lab-{:08x}", rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        ClusterDir::create(&path)?;
        Ok(Self(path))
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // If the directory cannot be removed, it stays among the temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// PostgreSQL, Redis, and, in a run with slow connections, a proxy in front of PostgreSQL.
#[derive(Debug)]
pub struct Servers {
    postgres: Postgres,
    redis: RedisServer,
    /// The proxy that slows one database connection in ten. Each run with slow connections has a
    /// new proxy, so its connections are numbered from 0.
    slow_proxy: Option<Proxy>,
    /// The directory of the workers' logs.
    dir: PathBuf,
}

/// Which data Redis has after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisReturn {
    /// Redis has no data.
    Empty,
    /// Redis has the data of its last snapshot.
    Snapshot,
}

impl Servers {
    /// Starts the servers. The servers stop when the calling thread ends.
    pub fn start(dir: &WorkDir) -> Result<Self> {
        let cluster_dir = ClusterDir::create(dir.path())?;
        let postgres = Postgres::create(&cluster_dir, true)?;
        let redis = RedisServer::start_alone(&cluster_dir, true)?;
        Ok(Self { postgres, redis, slow_proxy: None, dir: dir.path().to_owned() })
    }

    /// Starts a proxy between the workers and PostgreSQL that makes one connection in ten slow. The
    /// seed chooses this connection.
    ///
    /// - With several buyers at a time, the newest connection is slow until the chosen connection
    ///   exists. So even a run that opens only one connection has a slow connection.
    /// - With one buyer at a time, only the chosen connection is slow. If a run had only one
    ///   connection and it were slow, very few units would be sold.
    pub fn start_slow_proxy(&mut self, seed: u64, level: usize) -> Result<()> {
        let target = SocketAddr::from(([127, 0, 0, 1], self.postgres.port()));
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], 0)), vec![target])?;
        let slow = slow_connection(seed);
        let from = if level > 1 { 0 } else { slow };
        proxy.set_condition(NetworkCondition::SlowOneInTen { by: SLOW_BY, slow, from });
        self.slow_proxy = Some(proxy);
        Ok(())
    }

    /// Ends the proxy.
    pub fn stop_slow_proxy(&mut self) {
        self.slow_proxy = None;
    }

    /// Returns how many chunks of data the proxy has delayed so far.
    pub fn slow_chunks(&self) -> usize {
        self.slow_proxy.as_ref().map_or(0, |proxy| proxy.delayed_chunks())
    }

    /// Returns the addresses that the lab's own clients use. These lead directly to the servers,
    /// not to the proxy.
    pub fn addresses(&self, pool: usize) -> Addresses {
        self.addresses_at(self.postgres.port(), pool)
    }

    /// Returns the addresses that workers use. If a proxy runs, they lead to PostgreSQL through the
    /// proxy.
    pub fn worker_addresses(&self, pool: usize) -> Addresses {
        let proxy = self.slow_proxy.as_ref().map(|proxy| proxy.addr().port());
        self.addresses_at(proxy.unwrap_or(self.postgres.port()), pool)
    }

    fn addresses_at(&self, port: u16, pool: usize) -> Addresses {
        let redis = format!("redis://{}", self.redis.addr());
        Addresses { postgres: self.postgres.url(port), redis, pool }
    }

    /// Writes a snapshot of Redis.
    pub fn save_redis(&self) -> Result<()> {
        self.redis.run_command(&["SAVE"])?;
        Ok(())
    }

    /// Kills Redis and starts it again. Returns true if a process was connected to Redis, so that
    /// the fault had an effect.
    pub fn restart_redis(&mut self, how: RedisReturn) -> Result<bool> {
        restart_redis(&mut self.redis, how)
    }

    /// Returns the servers with their versions.
    pub fn versions(&self) -> Result<Vec<String>> {
        let postgres = self.postgres.sql("SHOW server_version")?;
        let info = self.redis.run_command(&["INFO", "server"])?;
        let redis = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Ok(vec![
            format!("PostgreSQL {}", postgres.split_whitespace().next().unwrap_or_default()),
            format!("Redis {}", redis.unwrap_or_default().trim()),
        ])
    }
}

impl Servers {
    /// Returns the settings that determine the speed of the servers and the clients, with their
    /// current values.
    pub fn settings(&self) -> Result<Vec<String>> {
        let names = [
            "fsync",
            "synchronous_commit",
            "shared_buffers",
            "max_connections",
            "wal_level",
            "min_wal_size",
            "max_wal_size",
        ];
        let mut values = Vec::new();
        for name in names {
            let value = self.postgres.sql(&format!("SHOW {name}"))?;
            values.push(format!("{name} = {}", value.trim()));
        }
        let redis = |name: &str| -> Result<String> {
            let found = self.redis.run_command(&["CONFIG", "GET", name])?;
            let value = found.split_whitespace().nth(1).unwrap_or("none");
            Ok(format!("{name} {value}"))
        };
        Ok(vec![
            format!("PostgreSQL: {}", values.join(", ")),
            format!("Redis: {}, {}", redis("appendonly")?, redis("appendfsync")?),
            format!(
                "Each of the {WORKERS} workers: at most {POOL_MAX} connections to PostgreSQL with \
                 prepared statements; one connection to Redis that pipelines concurrent commands; \
                 scripts called by their SHA-1 hash"
            ),
            "doorbuster-embedded: one process and a SQLite file with synchronous = FULL".to_owned(),
            format!(
                "doorbuster-postgres and doorbuster-cluster: {WORKERS} processes with the \
                 program's default settings and a separate PostgreSQL with the settings above; \
                 the cluster also has a separate Redis Cluster of one shard without replicas"
            ),
            "Buyers: one thread for all buyers; keep-alive connections with one request at a time"
                .to_owned(),
        ])
    }
}

/// Kills a Redis server without a clean stop, and starts it again. Returns true if a process was
/// connected to the server.
pub fn restart_redis(server: &mut RedisServer, how: RedisReturn) -> Result<bool> {
    let clients = server.run_command(&["INFO", "clients"])?;
    let connected = clients.lines().find_map(|line| line.strip_prefix("connected_clients:"));
    let connected: u32 = connected.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    server.kill()?;
    if how == RedisReturn::Empty {
        match std::fs::remove_file(server.snapshot()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
            _ => {}
        }
    }
    server.start()?;
    // One of the connections belongs to the command `INFO` itself.
    Ok(connected > 1)
}

/// The worker processes of one run.
#[derive(Debug)]
pub struct Workers {
    program: PathBuf,
    /// The file to which the workers write their errors.
    log: PathBuf,
    specs: Vec<WorkerSpec>,
    children: Vec<Option<Child>>,
}

impl Workers {
    /// Starts the workers and waits until they listen. The first worker also does the background
    /// work of the strategy, for example as a consumer or a scheduler.
    pub fn start(program: &Path, strategy: &str, servers: &Servers, level: usize) -> Result<Self> {
        let pool = level.div_ceil(WORKERS).clamp(2, POOL_MAX);
        let mut workers = Self {
            program: program.to_owned(),
            log: servers.dir.join("workers.log"),
            specs: Vec::new(),
            children: Vec::new(),
        };
        // Empty the log, so that it shows only the errors of this run.
        File::create(&workers.log)?;
        for number in 0..WORKERS {
            workers.specs.push(WorkerSpec {
                strategy: strategy.to_owned(),
                addresses: servers.worker_addresses(pool),
                port: free_port()?,
                leads: number == 0,
            });
            workers.children.push(None);
            workers.spawn(number)?;
        }
        (0..WORKERS).try_for_each(|number| workers.wait_until_ready(number))?;
        Ok(workers)
    }

    /// Returns the addresses of the workers.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.specs.iter().map(|spec| SocketAddr::from(([127, 0, 0, 1], spec.port))).collect()
    }

    /// Kills one worker without a clean stop, and starts it again. In the meantime, the buyers
    /// repeat their requests.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        self.kill(number);
        self.spawn(number)
    }

    fn spawn(&mut self, number: usize) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut child = Command::new(&self.program)
            .args(["lab", "worker"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start a worker")?;
        let line = serde_json::to_string(&self.specs[number])?;
        let stdin = child.stdin.as_mut().context("the worker has no piped input")?;
        stdin.write_all(format!("{line}\n").as_bytes())?;
        self.children[number] = Some(child);
        Ok(())
    }

    fn wait_until_ready(&mut self, number: usize) -> Result<()> {
        let child = self.children[number].as_mut().context("the worker does not run")?;
        let mut output =
            BufReader::new(child.stdout.take().context("the worker has no piped output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line == "ready\n", "a worker did not start: {}", self.last_error());
        Ok(())
    }

    /// Checks that all workers run. A worker may have ended by itself, for example because it could
    /// not start again.
    pub fn check_running(&mut self) -> Result<()> {
        for child in self.children.iter_mut().flatten() {
            if let Some(status) = child.try_wait()? {
                bail!("a worker ended with {status}: {}", self.last_error());
            }
        }
        Ok(())
    }

    fn last_error(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().last().unwrap_or("it gave no reason").to_owned()
    }

    fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.children[number].take() {
            // The process may have ended already.
            let _ = (child.kill(), child.wait());
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        (0..self.children.len()).for_each(|number| self.kill(number));
    }
}

/// Calls `ready` at short intervals until `ready` returns true. Returns false if this takes longer
/// than `within`.
pub async fn wait_until(within: Duration, mut ready: impl AsyncFnMut() -> bool) -> bool {
    let until = std::time::Instant::now() + within;
    while !ready().await {
        if std::time::Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// Of every ten database connections, one is slow. Returns its number from 0 to 9, which is 1 or 2,
/// depending on the seed.
///
/// The number is never 0. So as soon as the slow connection exists, connection 0 is normal, and the
/// system has both kinds of connections.
pub fn slow_connection(seed: u64) -> usize {
    1 + (seed % 2) as usize
}
