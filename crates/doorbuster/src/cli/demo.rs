//! Arguments of `demo`.

use clap::{Args, ValueEnum};
use doorbuster_harness::cluster::Shape;
use doorbuster_harness::load::limits;

use super::storm;

/// Run a complete flash sale on this machine, and check the result.
///
/// Starts a server with a scratch directory, on a free port, and creates a sale. Each buyer asks
/// for the number of units in --units. This number is also the limit for each buyer. A second
/// process sends all buyers' requests over HTTP at full speed and waits for every verdict. Then the
/// server stops, and the independent auditor checks the store and every answer. Exits with 0 only
/// if the buyers' answers, the server's stock and the audit agree, and the auditor finds no fault.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster demo
  doorbuster demo --buyers 100000 --stock 101
  doorbuster demo --shape cluster
  doorbuster demo --json")]
pub struct DemoArgs {
    /// One server, or two nodes behind one address. The nodes share PostgreSQL, or PostgreSQL and a
    /// Redis Cluster.
    #[arg(long, value_enum, default_value_t = DemoShape::Embedded)]
    pub shape: DemoShape,
    /// Number of different buyers, 1 to 10,000,000.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = storm::buyers())]
    pub buyers: u32,
    /// Units that each buyer asks for, 1 to 1,000,000.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = storm::units())]
    pub units: u32,
    /// Units on sale, 0 to 1,000,000,000.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = storm::stock())]
    pub stock: u32,
    /// Number of keep-alive connections, at most one for each buyer.
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS_DEFAULT, value_parser = storm::connections())]
    pub connections: usize,
    /// Two demos with the same seed have the same buyers [default: a new seed each time].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Keep the scratch directory, and print its path. The directory contains the store, the
    /// answers and the server's log.
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object instead of a table, and no progress.
    #[arg(long)]
    pub json: bool,
}

/// The deployment of a demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoShape {
    /// One server without other programs.
    Embedded,
    /// Two nodes and PostgreSQL.
    Postgres,
    /// Two nodes, PostgreSQL, and a Redis Cluster of three primaries and three replicas.
    Cluster,
}

impl DemoShape {
    /// Returns the shape of the installation. Returns `None` for one server.
    pub fn cluster_shape(self) -> Option<Shape> {
        match self {
            Self::Embedded => None,
            Self::Postgres => Some(Shape::Postgres),
            Self::Cluster => Some(Shape::Cluster),
        }
    }
}
