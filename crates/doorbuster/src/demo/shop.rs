//! Where a demo's sale is held: one server, or a whole installation of several nodes on this machine.

use std::path::Path;

use anyhow::{Context, anyhow};
use doorbuster_lab::audit::Store;
use doorbuster_lab::cluster::{Cluster, Plan, Shape};

use super::house::{self, House};
use super::scratch::Scratch;
use crate::client::Client;
use crate::exit::Failure;

/// What sells.
#[derive(Debug)]
pub enum Shop {
    /// One server with its own store.
    One(Box<House>),
    /// Several nodes, their stores, and one address.
    Several(Box<Cluster>),
}

impl Shop {
    /// Starts it; one server is not ready yet. `shape`: how several nodes are built; `None`: one server.
    pub fn build(shape: Option<Shape>, scratch: &Scratch) -> Result<Self, Failure> {
        let Some(shape) = shape else { return Ok(Self::One(Box::new(House::build(scratch)?))) };
        let program = std::env::current_exe().context("cannot find this program")?;
        let plan = Plan::new(&program, &scratch.cluster(), shape);
        // From this very thread, as its servers end with the thread that started them.
        let cluster = Cluster::start(&plan).context("the installation did not start")?;
        Ok(Self::Several(Box::new(cluster)))
    }

    /// Waits until it is ready; then gives its operator's entrance.
    pub async fn open(&mut self) -> Result<Client, Failure> {
        match self {
            Self::One(house) => house.open().await,
            Self::Several(cluster) => entrance(cluster, &cluster.url()),
        }
    }

    /// Where buyers go, `http://host:port`.
    pub fn url(&self) -> String {
        match self {
            Self::One(house) => house.url(),
            Self::Several(cluster) => cluster.url(),
        }
    }

    /// Where the secret is that buyers' tokens are signed with.
    pub fn buyer_secret(&self) -> &Path {
        match self {
            Self::One(house) => house.buyer_secret(),
            Self::Several(cluster) => cluster.buyer_secret(),
        }
    }

    /// Where the truth is, for the auditor.
    pub fn store(&self) -> Result<Store, Failure> {
        let text = match self {
            Self::One(house) => house.data_dir().display().to_string(),
            Self::Several(cluster) => cluster.store_url(),
        };
        Ok(Store::parse(&text).context("the audit did not take place")?)
    }

    /// How many requests came as far as the truth store, by the servers' own count.
    pub async fn tickets_settled(&self, client: &Client) -> Result<u64, Failure> {
        match self {
            Self::One(_) => house::tickets_settled(client).await,
            Self::Several(cluster) => {
                let mut sum = 0;
                for node in &cluster.nodes {
                    let client = entrance(cluster, &format!("http://{}", node.addr()))?;
                    sum += house::tickets_settled(&client).await?;
                }
                Ok(sum)
            }
        }
    }

    /// Asks every server to stop and waits until they have. The truth stays where it is.
    pub async fn stop(&mut self) -> Result<(), String> {
        match self {
            Self::One(house) => house.stop().await,
            Self::Several(cluster) => cluster.stop_nodes().map_err(|error| error.to_string()),
        }
    }

    /// The failure, with what a server said last if that may be the reason.
    pub fn explain(&self, failure: Failure, stopped: &Result<(), String>) -> Failure {
        match (self, failure) {
            (Self::One(house), failure) => house.explain(failure, stopped),
            (Self::Several(cluster), Failure::Refused(text)) => {
                let said: Vec<String> = cluster
                    .nodes
                    .iter()
                    .map(|node| format!("{}: {}", node.name(), node.said()))
                    .collect();
                Failure::Refused(format!("{text}\n{}", said.join("\n")))
            }
            (Self::Several(_), failure) => failure,
        }
    }
}

fn entrance(cluster: &Cluster, url: &str) -> Result<Client, Failure> {
    let url = url.parse().map_err(|error| anyhow!("{url} is no address: {error}"))?;
    Client::with(url, cluster.admin_key().to_owned())
}
