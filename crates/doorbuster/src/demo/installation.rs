//! The servers of a demo: one server, or a cluster of several nodes on this machine.

use std::path::Path;

use anyhow::{Context, anyhow};
use doorbuster_harness::audit::StoreLocation;
use doorbuster_harness::cluster::{Cluster, ClusterPlan, Shape};

use super::server::{self, DemoServer, ServerMetrics};
use super::work_dir::WorkDir;
use crate::client::Client;
use crate::exit::Failure;

/// The servers that sell.
#[derive(Debug)]
pub enum Installation {
    /// One server with its own store.
    SingleServer(Box<DemoServer>),
    /// Several nodes, their stores, and one address.
    Nodes(Box<Cluster>),
}

impl Installation {
    /// Starts a cluster of this shape, or a single server if `shape` is `None`. The single server
    /// may not be ready yet when this function returns.
    pub fn start(shape: Option<Shape>, work_dir: &WorkDir) -> Result<Self, Failure> {
        let Some(shape) = shape else {
            return Ok(Self::SingleServer(Box::new(DemoServer::start(work_dir)?)));
        };
        let program = std::env::current_exe().context("cannot find this program")?;
        let plan = ClusterPlan::new(&program, &work_dir.cluster(), shape);
        // The cluster must start on this thread, because the servers stop when the thread that
        // started them ends.
        let cluster = Cluster::start(&plan).context("failed to start the cluster")?;
        Ok(Self::Nodes(Box::new(cluster)))
    }

    /// Waits until the servers are ready. Returns a client for the admin API.
    pub async fn wait_ready(&mut self) -> Result<Client, Failure> {
        match self {
            Self::SingleServer(server) => server.wait_ready().await,
            Self::Nodes(cluster) => admin_client(cluster, &cluster.url()),
        }
    }

    /// Returns the address that buyers use, `http://host:port`.
    pub fn url(&self) -> String {
        match self {
            Self::SingleServer(server) => server.url(),
            Self::Nodes(cluster) => cluster.url(),
        }
    }

    /// Returns the path of the file with the secret that signs buyers' tokens.
    pub fn buyer_secret(&self) -> &Path {
        match self {
            Self::SingleServer(server) => server.buyer_secret(),
            Self::Nodes(cluster) => cluster.buyer_secret(),
        }
    }

    /// Returns the location of the store, which the audit reads.
    pub fn store(&self) -> Result<StoreLocation, Failure> {
        let text = match self {
            Self::SingleServer(server) => server.data_dir().display().to_string(),
            Self::Nodes(cluster) => cluster.store_url(),
        };
        Ok(StoreLocation::parse(&text).context("failed to run the audit")?)
    }

    /// Reads the servers' metrics, and adds them up.
    pub async fn read_metrics(&self, client: &Client) -> Result<ServerMetrics, Failure> {
        match self {
            Self::SingleServer(_) => server::read_metrics(client).await,
            Self::Nodes(cluster) => {
                let mut sum = ServerMetrics::default();
                for node in &cluster.nodes {
                    let client = admin_client(cluster, &format!("http://{}", node.addr()))?;
                    let one = server::read_metrics(&client).await?;
                    sum.tickets_settled += one.tickets_settled;
                    sum.cpu_seconds += one.cpu_seconds;
                }
                Ok(sum)
            }
        }
    }

    /// Stops every server and waits until all have stopped. The store stays on disk.
    pub async fn stop(&mut self) -> Result<(), String> {
        match self {
            Self::SingleServer(server) => server.stop().await,
            Self::Nodes(cluster) => cluster.stop_nodes().map_err(|error| error.to_string()),
        }
    }

    /// Adds log lines to the text of a [`Failure::Refused`], and returns every other failure
    /// unchanged. For a cluster, adds the last log lines of each node. For a single server, adds
    /// the last lines of its log, but only if this server did not stop normally.
    pub fn explain(&self, failure: Failure, stopped: &Result<(), String>) -> Failure {
        match (self, failure) {
            (Self::SingleServer(server), failure) => server.explain(failure, stopped),
            (Self::Nodes(cluster), Failure::Refused(text)) => {
                let logs: Vec<String> = cluster
                    .nodes
                    .iter()
                    .map(|node| format!("{}: {}", node.name(), node.log_tail()))
                    .collect();
                Failure::Refused(format!("{text}\n{}", logs.join("\n")))
            }
            (Self::Nodes(_), failure) => failure,
        }
    }
}

fn admin_client(cluster: &Cluster, url: &str) -> Result<Client, Failure> {
    let url = url.parse().map_err(|error| anyhow!("{url} is not a valid URL: {error}"))?;
    Client::with(url, cluster.admin_key().to_owned())
}
