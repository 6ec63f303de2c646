//! Creates the nodes and the edges of an installation, with their settings.

pub use crate::cluster::secret::secret;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::process::ProcessSpec;
use super::secret::secret_bytes;
use super::{ClusterDir, ClusterError, ClusterPlan, Node};

pub(super) struct NodeFactory<'a> {
    plan: &'a ClusterPlan,
    cluster_dir: &'a ClusterDir,
    /// The library that lets the harness change wall clocks.
    clock: Option<&'a Path>,
    /// The settings of all nodes and edges: the name and the value of each environment variable.
    shared: Vec<(String, String)>,
}

impl<'a> NodeFactory<'a> {
    /// `slots_urls` has the URLs of the Redis servers that hold the slots. `secrets` has the names
    /// and values of two settings of the section `auth`.
    pub(super) fn new(
        plan: &'a ClusterPlan,
        cluster_dir: &'a ClusterDir,
        clock: Option<&'a Path>,
        slots_urls: Option<String>,
        secrets: [(&str, &String); 2],
    ) -> Self {
        let mut shared = vec![
            setting("SHAPE", plan.shape.as_str()),
            setting("AUTH__ID_KEY", &secret()),
            setting(
                "PAYMENT__WEBHOOK_SECRET",
                &format!("whsec_{}", STANDARD.encode(secret_bytes())),
            ),
        ];
        shared.extend(secrets.map(|(name, value)| setting(&format!("AUTH__{name}"), value)));
        shared.extend(slots_urls.map(|urls| setting("SLOTS__URLS", &urls)));
        shared.extend(plan.settings.iter().cloned());
        Self { plan, cluster_dir, clock, shared }
    }

    /// `number` is 1 for the first node. `store_url` is the address of the node's PostgreSQL.
    pub(super) fn node(&self, number: usize, store_url: String) -> Result<Node, ClusterError> {
        let mut settings = vec![setting("STORE__URL", &store_url)];
        settings.extend(self.plan.roles.get(number - 1).map(|roles| setting("ROLES", roles)));
        if self.plan.edges > 0 {
            settings.push(setting("TRUSTED_PROXIES", "127.0.0.0/8"));
        }
        self.create(format!("node-{number}"), settings)
    }

    /// `number` is 1 for the first edge. The edge passes requests on to the addresses in `nodes`.
    pub(super) fn edge(&self, number: usize, nodes: &[SocketAddr]) -> Result<Node, ClusterError> {
        let nodes: Vec<String> = nodes.iter().map(|addr| format!("http://{addr}")).collect();
        let settings = vec![setting("ROLES", "edge"), setting("EDGE__UPSTREAMS", &nodes.join(","))];
        self.create(format!("edge-{number}"), settings)
    }

    fn create(&self, name: String, more: Vec<(String, String)>) -> Result<Node, ClusterError> {
        let start = ProcessSpec {
            name,
            program: self.plan.program.clone(),
            arguments: Vec::new(),
            environment: self.shared.iter().cloned().chain(more).collect(),
            user: None,
            ends_with_caller: self.plan.ends_with_caller,
        };
        let node = Node::create(self.cluster_dir, start, self.clock)?;
        Ok(node.with_next(self.plan.next.clone()))
    }
}

fn setting(name: &str, value: &str) -> (String, String) {
    (format!("DOORBUSTER_{name}"), value.to_owned())
}
