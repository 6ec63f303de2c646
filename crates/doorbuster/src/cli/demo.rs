//! `demo`.

use clap::{Args, ValueEnum};
use doorbuster_harness::cluster::Shape;
use doorbuster_harness::load::limits;

use super::storm;

/// Run a whole flash sale on this machine, and prove that it adds up.
///
/// Starts a server of its own on a scratch directory and a free port, makes a sale in which each
/// buyer may have --units, sends all buyers at it over HTTP from another process, as fast as this
/// machine can, waits for every verdict, stops the server, and lets the independent auditor check
/// the store and every promise. Exit 0 only if everything adds up.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster demo
  doorbuster demo --buyers 100000 --stock 101
  doorbuster demo --shape cluster
  doorbuster demo --json")]
pub struct DemoArgs {
    /// What sells: one server, or two nodes behind one address that share PostgreSQL, or PostgreSQL
    /// and a Redis Cluster.
    #[arg(long, value_enum, default_value_t = DemoShape::Embedded)]
    pub shape: DemoShape,
    /// How many different buyers come, 1 to 10,000,000.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = storm::buyers())]
    pub buyers: u32,
    /// Units that each buyer asks for, 1 to 1,000,000.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = storm::units())]
    pub units: u32,
    /// Units on sale, 0 to 1,000,000,000.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = storm::stock())]
    pub stock: u32,
    /// Keep-alive connections, at most one for each buyer.
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS_DEFAULT, value_parser = storm::connections())]
    pub connections: usize,
    /// Two demos with the same seed have the same buyers [default: a new one each time].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Keep the scratch directory, with the store, the answers and the server's log, and say where
    /// it is.
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON object instead of a table, and no progress.
    #[arg(long)]
    pub json: bool,
}

/// How the shop of a demo is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoShape {
    /// One server, nothing else.
    Embedded,
    /// Two nodes and PostgreSQL.
    Postgres,
    /// Two nodes, PostgreSQL, and a Redis Cluster of three primaries and three replicas.
    Cluster,
}

impl DemoShape {
    /// How several nodes are built; `None`: there is one server.
    pub fn cluster_shape(self) -> Option<Shape> {
        match self {
            Self::Embedded => None,
            Self::Postgres => Some(Shape::Postgres),
            Self::Cluster => Some(Shape::Cluster),
        }
    }
}
