//! Settings that every measurement shares: the server's binary, the directory, and the durations.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::Cli;
use crate::disk;
use crate::limits::{self, ORDERS_PER_SEC_MAX, WARM_UP_PART};
use crate::server::{Server, ServerOptions};
use crate::table::Machine;
use crate::temp_dir::TempDir;
use doorbuster_harness::generator::cores;
use doorbuster_harness::generator::{Load, Pace};

/// The settings of a run.
#[derive(Debug)]
pub struct BenchConfig {
    /// The number of measured rounds, without the warm-up round.
    pub rounds: usize,
    /// How long a round measures our server. Most figures measure the peer for the same time.
    pub time: Duration,
    /// True for a short run, which only shows that the benches work. The values of a short run are
    /// too inexact to compare.
    pub quick: bool,
    /// The number of known buyers (buyers with an order) in the measurements of memory and growth.
    pub known_buyers: u32,
    /// Our server's binary.
    pub program: PathBuf,
    parent: PathBuf,
    sync: Duration,
}

impl BenchConfig {
    /// Checks the command line's arguments.
    ///
    /// # Errors
    /// Fails if the server's program does not exist, or the directory is not on a disk.
    pub fn new(cli: &Cli) -> Result<Self> {
        let program = match &cli.server {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("doorbuster"),
        };
        ensure!(
            program.is_file(),
            "{} is not built: run cargo xtask bench, or name a server with --server",
            program.display()
        );
        let parent = cli.dir.clone().unwrap_or_else(std::env::temp_dir);
        let sync = disk::sync_time(TempDir::new(&parent, "disk")?.path())?;
        let (rounds, time) = match cli.quick {
            true => (limits::ROUNDS_QUICK, limits::ROUND_QUICK),
            false => (limits::ROUNDS, limits::ROUND),
        };
        let known_buyers = match (cli.quick, cli.large) {
            (true, _) => limits::KNOWN_BUYERS_QUICK,
            (_, true) => limits::KNOWN_BUYERS_LARGE,
            _ => limits::KNOWN_BUYERS,
        };
        let rounds = cli.rounds.map_or(rounds, usize::from);
        Ok(Self { rounds, time, quick: cli.quick, known_buyers, program, parent, sync })
    }

    /// Creates a temporary directory for one measurement.
    ///
    /// # Errors
    /// Fails if the directory cannot be created.
    pub fn temp_dir(&self, name: &str) -> Result<TempDir> {
        TempDir::new(&self.parent, name)
    }

    /// Returns the load of most measurements: each connection sends its next request as soon as it
    /// has the answer to the previous request. A warm-up precedes the measured time.
    #[must_use]
    pub fn load(&self, addr: SocketAddr, connections: usize) -> Load {
        let warm_up = self.time / WARM_UP_PART;
        Load { addr, connections, pace: Pace::Closed, warm_up, time: self.time, core: None }
    }

    /// Returns how many buyers a measurement prepares: more than the server can serve until the
    /// measurement ends.
    #[must_use]
    pub fn buyers(&self) -> u32 {
        let seconds = (self.time + self.time / WARM_UP_PART).as_secs_f64();
        // The result is far below the largest u32, so it fits.
        (f64::from(ORDERS_PER_SEC_MAX) * seconds) as u32
    }

    /// Returns the directory that contains the directories of all measurements.
    #[must_use]
    pub fn parent(&self) -> &Path {
        &self.parent
    }

    /// Starts our server with this data directory.
    ///
    /// # Errors
    /// Fails if the server does not become ready.
    pub fn server(
        &self,
        dir: &Path,
        workers: Option<usize>,
        core: Option<usize>,
    ) -> Result<Server> {
        let options = ServerOptions { program: &self.program, dir, workers, core, settings: &[] };
        Server::start(&options).context("our server did not start")
    }

    /// Starts our server with these settings. The server chooses its threads and cores itself.
    ///
    /// # Errors
    /// Fails if the server does not become ready.
    pub fn server_with(&self, dir: &Path, settings: &[(&str, &str)]) -> Result<Server> {
        let options =
            ServerOptions { program: &self.program, dir, workers: None, core: None, settings };
        Server::start(&options).context("our server did not start")
    }

    /// Returns the facts that the heading of the results table shows: this machine's cores and sync
    /// time, and the number of rounds.
    #[must_use]
    pub fn machine(&self) -> Machine {
        Machine { cores: cores::usable().len(), sync: self.sync, rounds: self.rounds }
    }
}
