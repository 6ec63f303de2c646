//! Where a demo's sale is held: one server, or a whole installation of several nodes on this
//! machine.

use std::path::Path;

use anyhow::{Context, anyhow};
use doorbuster_harness::audit::StoreLocation;
use doorbuster_harness::cluster::{Cluster, ClusterPlan, Shape};

use super::server::{self, DemoServer};
use super::work_dir::WorkDir;
use crate::client::Client;
use crate::exit::Failure;

/// What sells.
#[derive(Debug)]
pub enum Installation {
    /// One server with its own store.
    SingleServer(Box<DemoServer>),
    /// Several nodes, their stores, and one address.
    Nodes(Box<Cluster>),
}

impl Installation {
    /// Starts it; one server is not ready yet. `shape`: how several nodes are built; `None`: one
    /// server.
    pub fn start(shape: Option<Shape>, work_dir: &WorkDir) -> Result<Self, Failure> {
        let Some(shape) = shape else {
            return Ok(Self::SingleServer(Box::new(DemoServer::start(work_dir)?)));
        };
        let program = std::env::current_exe().context("cannot find this program")?;
        let plan = ClusterPlan::new(&program, &work_dir.cluster(), shape);
        // From this very thread, as its servers end with the thread that started them.
        let cluster = Cluster::start(&plan).context("the installation did not start")?;
        Ok(Self::Nodes(Box::new(cluster)))
    }

    /// Waits until it is ready; then gives its operator's entrance.
    pub async fn wait_ready(&mut self) -> Result<Client, Failure> {
        match self {
            Self::SingleServer(house) => house.wait_ready().await,
            Self::Nodes(cluster) => admin_client(cluster, &cluster.url()),
        }
    }

    /// Where buyers go, `http://host:port`.
    pub fn url(&self) -> String {
        match self {
            Self::SingleServer(house) => house.url(),
            Self::Nodes(cluster) => cluster.url(),
        }
    }

    /// Where the secret is that buyers' tokens are signed with.
    pub fn buyer_secret(&self) -> &Path {
        match self {
            Self::SingleServer(house) => house.buyer_secret(),
            Self::Nodes(cluster) => cluster.buyer_secret(),
        }
    }

    /// Where the truth is, for the auditor.
    pub fn store(&self) -> Result<StoreLocation, Failure> {
        let text = match self {
            Self::SingleServer(house) => house.data_dir().display().to_string(),
            Self::Nodes(cluster) => cluster.store_url(),
        };
        Ok(StoreLocation::parse(&text).context("the audit did not take place")?)
    }

    /// How many requests came as far as the truth store, by the servers' own count.
    pub async fn tickets_settled(&self, client: &Client) -> Result<u64, Failure> {
        match self {
            Self::SingleServer(_) => server::tickets_settled(client).await,
            Self::Nodes(cluster) => {
                let mut sum = 0;
                for node in &cluster.nodes {
                    let client = admin_client(cluster, &format!("http://{}", node.addr()))?;
                    sum += server::tickets_settled(&client).await?;
                }
                Ok(sum)
            }
        }
    }

    /// Asks every server to stop and waits until they have. The truth stays where it is.
    pub async fn stop(&mut self) -> Result<(), String> {
        match self {
            Self::SingleServer(house) => house.stop().await,
            Self::Nodes(cluster) => cluster.stop_nodes().map_err(|error| error.to_string()),
        }
    }

    /// The failure, with what a server said last if that may be the reason.
    pub fn explain(&self, failure: Failure, stopped: &Result<(), String>) -> Failure {
        match (self, failure) {
            (Self::SingleServer(house), failure) => house.explain(failure, stopped),
            (Self::Nodes(cluster), Failure::Refused(text)) => {
                let said: Vec<String> = cluster
                    .nodes
                    .iter()
                    .map(|node| format!("{}: {}", node.name(), node.log_tail()))
                    .collect();
                Failure::Refused(format!("{text}\n{}", said.join("\n")))
            }
            (Self::Nodes(_), failure) => failure,
        }
    }
}

fn admin_client(cluster: &Cluster, url: &str) -> Result<Client, Failure> {
    let url = url.parse().map_err(|error| anyhow!("{url} is no address: {error}"))?;
    Client::with(url, cluster.admin_key().to_owned())
}
