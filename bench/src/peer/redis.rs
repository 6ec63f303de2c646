//! Redis as a peer, in memory only. For each order, Redis runs the Lua script that many articles
//! about flash sales show. If the stock suffices, the script adds the order's units to the booked
//! units.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, Process, ProcessSpec};
use crate::resp;
use crate::temp_dir::TempDir;

const RESERVE_SCRIPT: &str = include_str!("booked.lua");
const READY_WITHIN: Duration = Duration::from_secs(5);
/// Key of the hash with the counter.
pub const ITEM: &str = "item";

/// A running Redis.
#[derive(Debug)]
pub struct Redis {
    control: BufReader<TcpStream>,
    addr: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Redis {
    /// Starts a Redis that stores nothing on disk.
    ///
    /// # Errors
    /// Fails if Redis is not installed or does not start.
    pub fn start(parent: &Path) -> Result<Self> {
        let dir = TempDir::new(parent, "redis")?;
        let addr = process::free_address()?;
        let port = addr.port().to_string();
        let here = dir.path().display().to_string();
        let arguments = [
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--dir",
            &here,
            "--save",
            "",
            "--appendonly",
            "no",
            "--maxclients",
            "1000",
        ];
        let mut process = Process::start(ProcessSpec {
            program: &process::find("redis-server")?,
            arguments: arguments.map(str::to_owned).into(),
            environment: Vec::new(),
            user: None,
            core: None,
            log: dir.path().join("log"),
        })?;
        let ready = || TcpStream::connect(addr).is_ok();
        process::wait_until(&mut process, READY_WITHIN, ready)
            .context("redis-server did not become ready")?;
        Ok(Self {
            control: BufReader::new(TcpStream::connect(addr)?),
            addr,
            _process: process,
            _dir: dir,
        })
    }

    /// Returns the address that Redis listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Loads the script and returns its digest.
    ///
    /// # Errors
    /// Fails if Redis refuses.
    pub fn load_script(&mut self) -> Result<String> {
        self.command(&["SCRIPT", "LOAD", RESERVE_SCRIPT])
    }

    /// Sets the total stock to `total` and the booked units to 0.
    ///
    /// # Errors
    /// Fails if Redis refuses.
    pub fn stock(&mut self, total: u64) -> Result<()> {
        self.command(&["HSET", ITEM, "Total", &total.to_string(), "Booked", "0"]).map(drop)
    }

    /// Returns the number of booked units.
    ///
    /// # Errors
    /// Fails if Redis refuses.
    pub fn reserved_units(&mut self) -> Result<u64> {
        self.command(&["HGET", ITEM, "Booked"])?.parse().context("Booked is not a number")
    }

    /// Runs a command whose reply is an integer, a status or a string.
    ///
    /// # Errors
    /// Fails if Redis refuses.
    pub fn command(&mut self, words: &[&str]) -> Result<String> {
        self.control.get_mut().write_all(&resp::command(words))?;
        let mut line = String::new();
        self.control.read_line(&mut line)?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some((":" | "+", rest)) => Ok(rest.to_owned()),
            Some(("$", length)) => {
                let mut bytes =
                    vec![
                        0;
                        length.parse::<usize>().context("the length of the value is invalid")? + 2
                    ];
                self.control.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                String::from_utf8(bytes).context("the value is not UTF-8")
            }
            _ => bail!("unexpected answer of Redis: {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Evalsha;
    use doorbuster_harness::generator::{AnswerKind, Load, Pace};

    #[test]
    fn the_classic_script_books_exactly_its_total() {
        let mut redis = Redis::start(&std::env::temp_dir()).expect("redis-server is installed");
        let digest = redis.load_script().expect("a digest");
        redis.stock(100).expect("a stock");
        let time = Duration::from_millis(100);
        let load = Load {
            addr: redis.addr(),
            connections: 8,
            pace: Pace::Open(5000.0),
            warm_up: Duration::ZERO,
            time,
            core: None,
        };
        let run = load.run(&mut Evalsha::new(&digest, ITEM, "1")).expect("answers");
        run.expect_only(&[AnswerKind::Accepted, AnswerKind::SoldOut])
            .expect("every answer accepts or refuses");
        assert_eq!(
            (run.count(AnswerKind::Accepted), redis.reserved_units().expect("a count")),
            (100, 100)
        );
        assert!(run.count(AnswerKind::SoldOut) > 100, "too few refusals: {run:?}");
    }
}
