//! The naive design, built from the same parts: a Redis, a PostgreSQL, and a process of this
//! program (see `naive.rs`).
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::postgres::Postgres;
use super::redis::{ITEM, Redis};
use crate::limits::{PLENTY_OF_STOCK, READY_WITHIN};
use crate::naive::QUEUE;
use crate::process::{self, Process, ProcessSpec};
use crate::temp_dir::TempDir;

/// How long its consumer may take to insert what is in the list.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);

/// All of it.
#[derive(Debug)]
pub struct Naive {
    process: Option<Process>,
    redis: Redis,
    postgres: Postgres,
    addr: SocketAddr,
    dir: TempDir,
}

impl Naive {
    /// Starts it.
    ///
    /// # Errors
    /// When a part does not start.
    pub fn start(parent: &Path) -> Result<Self> {
        let (redis, postgres) = (Redis::start(parent)?, Postgres::start(parent)?);
        let (addr, dir) = (process::free_address()?, TempDir::new(parent, "naive")?);
        let mut naive = Self { process: None, redis, postgres, addr, dir };
        naive.serve()?;
        Ok(naive)
    }

    /// Starts the process that serves.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn serve(&mut self) -> Result<()> {
        self.postgres.query(
            "CREATE TABLE IF NOT EXISTS naive_order (id bigserial PRIMARY KEY, buyer text NOT \
             NULL, units int NOT NULL)",
        )?;
        let redis = format!("redis://{}", self.redis.addr());
        let (addr, postgres) = (self.addr.to_string(), self.postgres.address());
        let arguments = ["--naive", &addr, "--naive-redis", &redis, "--naive-postgres", &postgres];
        let mut process = Process::start(ProcessSpec {
            program: &program()?,
            arguments: arguments.map(str::to_owned).into(),
            environment: Vec::new(),
            user: None,
            core: None,
            log: self.dir.path().join("log"),
        })?;
        let addr = self.addr;
        process::wait_until(&mut process, READY_WITHIN, || {
            std::net::TcpStream::connect(addr).is_ok()
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Begins anew, with plenty of stock and no order.
    ///
    /// # Errors
    /// When a part says no.
    pub fn reset(&mut self) -> Result<()> {
        self.redis.stock(PLENTY_OF_STOCK)?;
        self.postgres.query("TRUNCATE naive_order").map(drop)
    }

    /// Kills the process that serves, where it stands.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it runs")?;
        process.stop(Signal::KILL).map(drop)
    }

    /// Empties its Redis, as a restart does.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn empty_redis(&mut self) -> Result<()> {
        self.redis.command(&["FLUSHALL"]).map(drop)
    }

    /// Waits until the list is empty and no more rows come; then how many orders there are.
    ///
    /// # Errors
    /// When the list does not get empty.
    pub fn orders(&mut self) -> Result<u64> {
        let until = Instant::now() + DRAINED_WITHIN;
        let mut before = None;
        loop {
            let left = self.redis.command(&["LLEN", QUEUE])?;
            let rows: u64 =
                self.postgres.query("SELECT count(*) FROM naive_order")?.trim().parse()?;
            if left == "0" && before == Some(rows) {
                return Ok(rows);
            }
            ensure!(Instant::now() < until, "{left} orders are still in the list");
            before = (left == "0").then_some(rows);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Units that its counter gave away.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn reserved_units(&mut self) -> Result<u64> {
        self.redis.reserved_units()
    }

    /// The hash that it counts in, which is the item's name.
    #[must_use]
    pub fn item() -> &'static str {
        ITEM
    }
}

/// This program, also when a test of it asks.
fn program() -> Result<std::path::PathBuf> {
    let mine = std::env::current_exe()?;
    let beside =
        mine.parent().and_then(Path::parent).map(|profile| profile.join("doorbuster-bench"));
    let is_test = mine.parent().is_some_and(|dir| dir.ends_with("deps"));
    if is_test {
        beside.filter(|file| file.is_file()).context("doorbuster-bench is not built")
    } else {
        Ok(mine)
    }
}
