//! The private servers of a run, and the worker processes in front of the servers.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doorbuster_harness::cluster::{
    ClusterDir, NetworkCondition, Postgres, Proxy, RedisServer, free_port,
};

use crate::backends::Addresses;
use crate::limits::{POOL_MAX, SLOW_BY, WORKERS};
use crate::worker::WorkerSpec;

/// A temporary directory of the lab, which is removed at the end.
#[derive(Debug)]
pub struct WorkDir(PathBuf);

impl WorkDir {
    /// Creates the directory. PostgreSQL may run as another user, who needs access to it.
    pub fn create() -> Result<Self> {
        let name = format!("doorbuster-lab-{:016x}", rand::random::<u64>());
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

/// PostgreSQL and Redis, and a proxy that slows one database connection in ten.
#[derive(Debug)]
pub struct Servers {
    postgres: Postgres,
    redis: RedisServer,
    slow_proxy: Proxy,
}

/// The data of Redis after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisReturn {
    /// Redis has no data.
    Empty,
    /// Redis has the data of its last snapshot.
    Snapshot,
}

impl Servers {
    /// Starts the servers. They end with the calling thread.
    pub fn start(dir: &WorkDir) -> Result<Self> {
        let cluster_dir = ClusterDir::create(dir.path())?;
        let postgres = Postgres::create(&cluster_dir, true)?;
        let redis = RedisServer::start_alone(&cluster_dir, true)?;
        let target = SocketAddr::from(([127, 0, 0, 1], postgres.port()));
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let slow_proxy = Proxy::start(listen, vec![target])?;
        slow_proxy.set_condition(NetworkCondition::SlowOneInTen(SLOW_BY));
        Ok(Self { postgres, redis, slow_proxy })
    }

    /// Returns the addresses of the servers for clients. If `slow`, PostgreSQL is reached through
    /// the proxy.
    pub fn addresses(&self, slow: bool, pool: usize) -> Addresses {
        let port = if slow { self.slow_proxy.addr().port() } else { self.postgres.port() };
        Addresses {
            postgres: self.postgres.url(port),
            redis: format!("redis://{}", self.redis.addr()),
            pool,
        }
    }

    /// Writes a snapshot of Redis.
    pub fn save_redis(&self) -> Result<()> {
        self.redis.run_command(&["SAVE"])?;
        Ok(())
    }

    /// Kills Redis and starts it again.
    pub fn restart_redis(&mut self, how: RedisReturn) -> Result<()> {
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
    /// Returns the settings in effect that decide how fast the servers and their clients are.
    pub fn settings(&self) -> Result<Vec<String>> {
        let names =
            ["fsync", "synchronous_commit", "shared_buffers", "max_connections", "wal_level"];
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
                 scripts by digest"
            ),
            "Buyers: keep-alive connections, one request at a time on each, one thread".to_owned(),
        ])
    }
}

/// Kills a Redis server without a shutdown and starts it again.
pub fn restart_redis(server: &mut RedisServer, how: RedisReturn) -> Result<()> {
    server.kill()?;
    if how == RedisReturn::Empty {
        match std::fs::remove_file(server.snapshot()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
            _ => {}
        }
    }
    Ok(server.start()?)
}

/// The worker processes of one run.
#[derive(Debug)]
pub struct Workers {
    program: PathBuf,
    specs: Vec<WorkerSpec>,
    children: Vec<Option<Child>>,
}

impl Workers {
    /// Starts the workers and waits until they listen. The first worker also runs the consumer or
    /// the scheduler.
    pub fn start(
        program: &Path,
        strategy: &str,
        servers: &Servers,
        (slow, level): (bool, usize),
    ) -> Result<Self> {
        let pool = level.div_ceil(WORKERS).clamp(2, POOL_MAX);
        let mut workers =
            Self { program: program.to_owned(), specs: Vec::new(), children: Vec::new() };
        for number in 0..WORKERS {
            workers.specs.push(WorkerSpec {
                strategy: strategy.to_owned(),
                addresses: servers.addresses(slow, pool),
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

    /// Kills one worker without a shutdown and starts it again. Buyers wait until it listens.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        self.kill(number);
        self.spawn(number)
    }

    fn spawn(&mut self, number: usize) -> Result<()> {
        let mut child = Command::new(&self.program)
            .args(["lab", "worker"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
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
        ensure!(line == "ready\n", "a worker did not start");
        Ok(())
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

/// Checks `ready` in short intervals until it returns true. Returns false after the time `within`.
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
