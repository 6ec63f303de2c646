//! Arguments of `cluster`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use doorbuster_harness::cluster::{Shape, limits::NODES_MAX};

/// Run a complete installation on this machine, for tests.
///
/// `up` starts a private PostgreSQL, a private Redis Cluster of three primaries and three replicas,
/// and nodes behind one address. The servers listen on free ports of the loopback interface, and
/// continue to run after the command has ended. The Debian packages postgresql and redis-server
/// must be installed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster cluster up
  doorbuster cluster status
  doorbuster cluster down")]
pub struct ClusterArgs {
    /// The operation.
    #[command(subcommand)]
    pub command: ClusterCommand,
}

/// An operation on an installation.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    Up(UpArgs),
    /// Show what runs, and where.
    #[command(after_help = "Example:\n  doorbuster cluster status --json")]
    Status {
        #[command(flatten)]
        location: LocationArgs,
        /// Print one JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Stop the installation, and remove its files.
    #[command(after_help = "Example:\n  doorbuster cluster down --keep")]
    Down {
        #[command(flatten)]
        location: LocationArgs,
        /// Keep the data and the logs.
        #[arg(long)]
        keep: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run the proxy in front of the nodes. `up` starts this process.
    #[command(hide = true)]
    Front {
        /// Address to listen on.
        #[arg(long)]
        listen: SocketAddr,
        /// Addresses of the nodes. The proxy uses the nodes in turn.
        #[arg(long, required = true)]
        to: Vec<SocketAddr>,
    },
}

/// Start an installation. If the installation is running already, the command changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster cluster up
  doorbuster cluster up --shape postgres --nodes 3 --dir /var/tmp/trial")]
pub struct UpArgs {
    #[command(flatten)]
    pub location: LocationArgs,
    /// The servers that the nodes use: PostgreSQL and Redis, or PostgreSQL alone.
    #[arg(long, value_enum, default_value_t = ShapeName::Cluster)]
    pub shape: ShapeName,
    /// Number of nodes.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=NODES_MAX as i64))]
    pub nodes: u8,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// The installation to use.
#[derive(Debug, Args)]
pub struct LocationArgs {
    /// The directory of the installation. Other users can traverse the directory but not list it.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir().join("doorbuster-cluster"))]
    pub dir: PathBuf,
}

/// A shape of a deployment with several nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShapeName {
    /// PostgreSQL alone: slots in the nodes' memory.
    Postgres,
    /// Redis and PostgreSQL.
    Cluster,
}

impl ShapeName {
    /// Returns the shape that this name stands for.
    pub fn shape(self) -> Shape {
        match self {
            Self::Postgres => Shape::Postgres,
            Self::Cluster => Shape::Cluster,
        }
    }
}
