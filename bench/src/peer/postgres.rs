//! PostgreSQL as a peer. For every order, one durable statement updates the same "hot" row and
//! inserts a row for the order.
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, geteuid};

use crate::limits::{PLENTY_OF_STOCK, POSTGRES_CLIENTS};
use crate::process::{self, Process, ProcessSpec};
use crate::temp_dir::TempDir;

const HOT_ROW: &str = include_str!("hot_row.sql");
const READY_WITHIN: Duration = Duration::from_secs(20);
/// PostgreSQL refuses to run as root. If this program runs as root, this user runs PostgreSQL.
const USER: &str = "postgres";

/// A running PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    programs: PathBuf,
    dir: TempDir,
}

impl Postgres {
    /// Creates a database in its own directory and starts PostgreSQL on a socket there.
    ///
    /// # Errors
    /// Fails if PostgreSQL is not installed or does not start.
    pub fn start(parent: &Path) -> Result<Self> {
        let programs = programs()?;
        let dir = TempDir::new(parent, "postgres")?;
        let user = if geteuid().is_root() { Some(USER) } else { None };
        if let Some(user) = user {
            chown(dir.path(), Some(user_id(user)?), None)
                .context("cannot change the owner of PostgreSQL's directory")?;
        }
        let data = dir.path().join("data").display().to_string();
        let initdb = programs.join("initdb").display().to_string();
        let made = run(&as_user(
            user,
            &[&initdb, "-D", &data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"],
        ));
        made.context("failed to run initdb")?;
        let here = dir.path().display().to_string();
        let arguments = [
            "-D",
            &data,
            "-k",
            &here,
            "-c",
            "listen_addresses=",
            "-c",
            "synchronous_commit=on",
            "-c",
            "fsync=on",
        ];
        let mut process = Process::start(ProcessSpec {
            program: &programs.join("postgres"),
            arguments: arguments.map(str::to_owned).into(),
            environment: Vec::new(),
            user,
            core: None,
            log: dir.path().join("log"),
        })?;
        let ready = || query(&programs, dir.path(), "SELECT 1").is_ok();
        process::wait_until(&mut process, READY_WITHIN, ready)
            .context("PostgreSQL did not become ready")?;
        Ok(Self { process, programs, dir })
    }

    /// Empties the tables, and measures the orders per second during `time`. Then compares the
    /// number of orders that the clients confirmed with the rows in the tables.
    ///
    /// # Errors
    ///
    /// Fails if a client failed, or the rows do not match the orders.
    pub fn hot_row(&self, time: Duration) -> Result<f64> {
        let start = format!(
            "DROP TABLE IF EXISTS orders, item;
             CREATE TABLE item (id int PRIMARY KEY, stock bigint NOT NULL CHECK (stock >= 0));
             CREATE TABLE orders (
                 id bigserial PRIMARY KEY, item int NOT NULL, buyer bigint NOT NULL,
                 units int NOT NULL
             );
             INSERT INTO item VALUES (1, {PLENTY_OF_STOCK}); CHECKPOINT"
        );
        self.query(&start)?;
        let script = self.dir.path().join("hot_row.sql");
        std::fs::write(&script, HOT_ROW).context("cannot write the script")?;
        let seconds = time.as_secs().max(1).to_string();
        let clients = POSTGRES_CLIENTS.to_string();
        let words = [
            &self.programs.join("pgbench").display().to_string(),
            "-h",
            &self.dir.path().display().to_string(),
            "-U",
            USER,
            "-n",
            "-M",
            "prepared",
            "-c",
            &clients,
            "-T",
            &seconds,
            "-f",
            &script.display().to_string(),
            USER,
        ]
        .map(str::to_owned);
        let output = run(&words).context("failed to run pgbench")?;
        let processed = number_after(&output, "number of transactions actually processed: ")?;
        let rate = number_after(&output, "tps = ")?;
        let rows = self.query("SELECT count(*) || ' ' || (SELECT stock FROM item) FROM orders")?;
        let (orders, stock) =
            rows.trim().split_once(' ').context("the output is not a count and a stock")?;
        let (orders, stock): (u64, u64) = (orders.parse()?, stock.parse()?);
        ensure!(
            orders + stock == PLENTY_OF_STOCK,
            "the table has {orders} orders and a remaining stock of {stock}; their sum must be \
             {PLENTY_OF_STOCK}"
        );
        ensure!(
            orders as f64 >= processed,
            "pgbench confirmed {processed} orders, but the table has only {orders} orders"
        );
        Ok(rate)
    }

    /// Returns the connection string for a client.
    #[must_use]
    pub fn address(&self) -> String {
        format!("host={} user={USER} dbname={USER}", self.dir.path().display())
    }

    /// Runs SQL and returns the rows as text.
    ///
    /// # Errors
    /// Fails if the SQL fails.
    pub fn query(&self, sql: &str) -> Result<String> {
        query(&self.programs, self.dir.path(), sql)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // `SIGINT` tells PostgreSQL to shut down without waiting for its clients. If PostgreSQL
        // does not end in time, the drop of `process` kills the program.
        drop(self.process.stop(Signal::INT));
    }
}

fn query(programs: &Path, socket: &Path, sql: &str) -> Result<String> {
    let psql = programs.join("psql").display().to_string();
    let socket = socket.display().to_string();
    run(&[
        &psql,
        "-h",
        &socket,
        "-U",
        USER,
        "-d",
        USER,
        "-X",
        "-q",
        "-A",
        "-t",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        sql,
    ]
    .map(str::to_owned))
}

/// Returns the directory with the programs of the newest installed version.
fn programs() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").is_file())
        .collect();
    found.sort();
    found.pop().context("postgresql is not installed: run scripts/setup")
}

fn as_user(user: Option<&str>, words: &[&str]) -> Vec<String> {
    let prefix = match user {
        Some(user) => vec!["setpriv", "--reuid", user, "--regid", user, "--clear-groups"],
        None => Vec::new(),
    };
    prefix.iter().chain(words).map(|&w| w.to_owned()).collect()
}

fn user_id(user: &str) -> Result<u32> {
    run(&["id", "-u", user].map(str::to_owned))?
        .trim()
        .parse()
        .context("the user's id is not a number")
}

fn run(words: &[String]) -> Result<String> {
    let output = Command::new(&words[0]).args(&words[1..]).current_dir("/").output();
    let output = output.with_context(|| format!("cannot start {}", words[0]))?;
    if !output.status.success() {
        bail!("{} failed: {}", words[0], String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn number_after(text: &str, words: &str) -> Result<f64> {
    let rest = text.split_once(words).with_context(|| format!("no \"{words}\" in {text}"))?.1;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
    rest[..end].parse().with_context(|| format!("no number after \"{words}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_after_the_given_words_is_read() {
        let output = "number of transactions actually processed: 4321\ntps = 4321.5 (without initial connection time)";
        assert!((number_after(output, "tps = ").expect("a rate") - 4321.5).abs() < 1e-9);
        assert!(number_after(output, "latency = ").is_err());
    }

    #[test]
    fn every_order_of_the_hot_row_adds_a_row_and_takes_a_unit() {
        let postgres = Postgres::start(&std::env::temp_dir()).expect("postgresql is installed");
        // On a busy machine, pgbench may complete no transaction within a second. pgbench then
        // reports no rate, so the test tries a longer time.
        let mut rate = postgres.hot_row(Duration::from_secs(1));
        for seconds in [4, 16] {
            rate = rate.or_else(|_| postgres.hot_row(Duration::from_secs(seconds)));
        }
        assert!(rate.expect("the rows add up") > 0.0);
    }
}
