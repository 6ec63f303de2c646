//! The installation to start.

use std::path::{Path, PathBuf};

/// The deployment shape of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The slots are in the nodes' memory, and the store is in PostgreSQL.
    Postgres,
    /// The slots are in Redis, and the store is in PostgreSQL.
    Cluster,
}

impl Shape {
    /// Returns the value of the `shape` setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Cluster => "cluster",
        }
    }
}

/// The installation to start. Begin with [`ClusterPlan::new`], and then change fields as needed.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The program that nodes run.
    pub program: PathBuf,
    /// The directory for all data.
    pub dir: PathBuf,
    /// The deployment shape of the nodes.
    pub shape: Shape,
    /// The number of nodes.
    pub nodes: usize,
    /// The number of primaries in the Redis Cluster.
    pub shards: usize,
    /// Whether each primary has a replica.
    pub replicas: bool,
    /// Whether PostgreSQL has a standby that confirms every commit.
    pub standby: bool,
    /// If true, the servers end when the calling process ends. Otherwise they run until
    /// [`shut_down`](super::shut_down) stops them.
    pub ends_with_caller: bool,
    /// Whether the nodes reach Redis and PostgreSQL through proxies that can interrupt the network.
    pub proxies: bool,
    /// Whether the harness can change the wall clocks of the nodes. This needs a C compiler.
    pub clocks: bool,
    /// Whether the harness can make the disk of PostgreSQL full. This needs a C compiler.
    pub full_disk: bool,
    /// Another build of the program. At each upgrade, a node switches between `program` and this
    /// build. `None` if an upgrade only restarts the node.
    pub next: Option<PathBuf>,
    /// The roles of the nodes, beginning with the first node. A node without an entry has all
    /// roles.
    pub roles: Vec<String>,
    /// The number of edges. If there are edges, the common address sends all requests to the edges,
    /// and none to the nodes. Only shape `cluster` can have edges.
    pub edges: usize,
    /// Further settings of every node and edge: the name and the value of each environment
    /// variable.
    pub settings: Vec<(String, String)>,
}

impl ClusterPlan {
    /// Returns a plan with two nodes and three shards, without proxies. Its servers end with the
    /// calling process.
    pub fn new(program: &Path, dir: &Path, shape: Shape) -> Self {
        Self {
            program: program.into(),
            dir: dir.into(),
            shape,
            nodes: 2,
            shards: 3,
            replicas: true,
            standby: false,
            ends_with_caller: true,
            proxies: false,
            clocks: false,
            full_disk: false,
            next: None,
            roles: Vec::new(),
            edges: 0,
            settings: Vec::new(),
        }
    }
}
