//! Starts the programs of the naive design: Redis, PostgreSQL, and this program with `--naive` (see
//! `naive.rs`).
use std::collections::BTreeSet;
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

/// How long the bench waits until the consumer has inserted all orders of the list.
const DRAINED_WITHIN: Duration = Duration::from_secs(300);

/// The processes of the naive design.
#[derive(Debug)]
pub struct Naive {
    process: Option<Process>,
    redis: Redis,
    postgres: Postgres,
    addr: SocketAddr,
    dir: TempDir,
}

impl Naive {
    /// Starts Redis, PostgreSQL and the handler process.
    ///
    /// # Errors
    /// Fails if a part does not start.
    pub fn start(parent: &Path) -> Result<Self> {
        let (redis, postgres) = (Redis::start(parent)?, Postgres::start(parent)?);
        let (addr, dir) = (process::free_address()?, TempDir::new(parent, "naive")?);
        let mut naive = Self { process: None, redis, postgres, addr, dir };
        naive.serve()?;
        Ok(naive)
    }

    /// Starts the handler process.
    ///
    /// # Errors
    /// Fails if the handler does not become ready.
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

    /// Returns the address that the handler listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Resets the stock and removes all orders.
    ///
    /// # Errors
    /// Fails if Redis or PostgreSQL fails.
    pub fn reset(&mut self) -> Result<()> {
        self.redis.stock(PLENTY_OF_STOCK)?;
        self.postgres.query("TRUNCATE naive_order").map(drop)
    }

    /// Kills the handler process.
    ///
    /// # Errors
    /// Fails if the process cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the handler does not run")?;
        process.stop(Signal::KILL).map(drop)
    }

    /// Empties the peer's Redis, as a restart of a Redis without persistence does.
    ///
    /// # Errors
    /// Fails if Redis does not answer.
    pub fn empty_redis(&mut self) -> Result<()> {
        self.redis.command(&["FLUSHALL"]).map(drop)
    }

    /// Waits until the list in Redis is empty and the number of order rows no longer changes.
    /// Returns this number.
    ///
    /// # Errors
    /// Fails if the list does not become empty.
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

    /// Waits until all orders are inserted, as [`Naive::orders`] does. Returns the buyers who have
    /// an order.
    ///
    /// # Errors
    /// Fails if the list does not become empty.
    pub fn buyers(&mut self) -> Result<BTreeSet<String>> {
        self.orders()?;
        let rows = self.postgres.query("SELECT buyer FROM naive_order")?;
        Ok(rows.lines().map(str::to_owned).collect())
    }

    /// Returns the units that the peer's counter has deducted.
    ///
    /// # Errors
    /// Fails if Redis does not answer.
    pub fn reserved_units(&mut self) -> Result<u64> {
        self.redis.reserved_units()
    }

    /// Returns the name of the item that the peer sells. The counter in Redis has this name as its
    /// key.
    #[must_use]
    pub fn item() -> &'static str {
        ITEM
    }
}

/// Returns the path of the bench program. A test runs as a different program, in the directory
/// `deps`. In this case, the bench program is in the directory above.
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
