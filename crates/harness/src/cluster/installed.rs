//! An installation whose servers continue to run when this process ends. A file in its directory
//! describes the installation, so that a later process can find and stop it.

use std::collections::HashMap;
use std::path::Path;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::Cluster;
use super::cluster_dir::{ClusterDir, MARKER_FILE};
use super::error::{ClusterError, ClusterErrorContext};
use super::process::Process;

const INFO_FILE: &str = "cluster.json";

/// The description of an installation, as the file in its directory has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledCluster {
    /// The shape: `postgres` or `cluster`.
    pub shape: String,
    /// The URL of the common address of all nodes.
    pub url: String,
    /// The URL of the store.
    pub store_url: String,
    /// The URLs of the slots' Redis servers.
    pub slots_urls: Option<String>,
    /// The file with the operators' key.
    pub admin_key_file: String,
    /// The file with the secret that signs buyers' tokens.
    pub buyer_secret_file: String,
    /// The servers.
    pub parts: Vec<InstalledServer>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledServer {
    /// The name of the server.
    pub name: String,
    /// The address that the server listens on.
    pub address: String,
    /// The server's process id while it runs.
    #[serde(default)]
    pub pid: Option<i32>,
}

impl InstalledCluster {
    /// Returns whether every server runs.
    pub fn is_up(&self) -> bool {
        self.parts.iter().all(|part| part.pid.is_some())
    }

    /// Returns whether no server runs.
    pub fn is_down(&self) -> bool {
        self.parts.iter().all(|part| part.pid.is_none())
    }
}

pub(super) fn write_info(cluster: &Cluster) -> Result<(), ClusterError> {
    let part =
        |name: &str, address: String| InstalledServer { name: name.to_owned(), address, pid: None };
    let mut parts = vec![part("postgres", format!("127.0.0.1:{}", cluster.postgres.port()))];
    for (index, server) in cluster.redis.iter().flat_map(|redis| redis.servers()).enumerate() {
        parts.push(part(&format!("redis-{}", index + 1), server.addr().to_string()));
    }
    let servers = cluster.nodes.iter().chain(&cluster.edges);
    parts.extend(servers.map(|node| part(node.name(), node.addr().to_string())));
    parts.push(part("front", cluster.addr().to_string()));
    let installed = InstalledCluster {
        shape: cluster.shape.as_str().into(),
        url: cluster.url(),
        store_url: cluster.store_url(),
        slots_urls: cluster.slots_urls(),
        admin_key_file: cluster.cluster_dir.path().join("admin_key").display().to_string(),
        buyer_secret_file: cluster.buyer_secret().display().to_string(),
        parts,
    };
    let text = serde_json::to_string_pretty(&installed)
        .with_operation(|| "recording the installation".into())?;
    cluster.cluster_dir.write_private(INFO_FILE, &text).map(drop)
}

/// Reads the description of the installation in `dir`, and adds the process ids of the servers that
/// run now. Returns `None` if there is no description.
pub fn find(dir: &Path) -> Result<Option<InstalledCluster>, ClusterError> {
    let cluster_dir = ClusterDir::open(dir)?;
    let path = cluster_dir.path().join(INFO_FILE);
    let what = || format!("reading {}", path.display());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ClusterError::failed(what(), error)),
    };
    let mut installed: InstalledCluster = serde_json::from_str(&text).with_operation(what)?;
    let mut running = HashMap::new();
    for mut process in Process::from_pid_files(&cluster_dir)? {
        if process.is_running() {
            running.insert(process.name().to_owned(), process.pid());
        }
    }
    for part in &mut installed.parts {
        part.pid = running.get(&part.name).copied();
    }
    Ok(Some(installed))
}

/// Returns whether `dir` is the directory of an installation. A marker or a description is enough:
/// after a failed start, the description may be missing, and a directory of an earlier version may
/// have no marker.
pub fn is_installation(dir: &Path) -> Result<bool, ClusterError> {
    Ok(ClusterDir::open(dir)?.is_marked() || find(dir)?.is_some())
}

fn open_installation(dir: &Path) -> Result<ClusterDir, ClusterError> {
    if !is_installation(dir)? {
        let what = format!("opening {}", dir.display());
        return Err(ClusterError::failed(what, "there is no installation"));
    }
    ClusterDir::open(dir)
}

/// Stops every server with a process-id file in `dir`, in the reverse order of their start. Returns
/// the names of the servers that ran.
pub fn shut_down(dir: &Path) -> Result<Vec<String>, ClusterError> {
    let cluster_dir = open_installation(dir)?;
    let mut stopped = Vec::new();
    for mut process in Process::from_pid_files(&cluster_dir)? {
        if process.is_running() {
            stopped.push(process.name().to_owned());
        }
        // After TERM, PostgreSQL would wait until its clients disconnect. After INT, it disconnects
        // them.
        process.stop(if process.name() == "postgres" { Signal::INT } else { Signal::TERM })?;
    }
    Ok(stopped)
}

/// Removes the files of a stopped installation from `dir`: its data, its secrets and its logs. If
/// `dir` contains nothing else, removes `dir` too.
pub fn remove(dir: &Path) -> Result<(), ClusterError> {
    let cluster_dir = open_installation(dir)?;
    let what = || format!("removing the installation in {}", cluster_dir.path().display());
    for entry in std::fs::read_dir(cluster_dir.path()).with_operation(what)? {
        let path = entry.with_operation(what)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_server_dir = ["node-", "redis-"].iter().any(|part| name.starts_with(part));
        if path.is_dir() && (is_server_dir || matches!(name, "run" | "log" | "postgres")) {
            std::fs::remove_dir_all(&path).with_operation(what)?;
        } else if matches!(name, INFO_FILE | MARKER_FILE | "admin_key" | "buyer_secret") {
            std::fs::remove_file(&path).with_operation(what)?;
        }
    }
    // This removes the directory only if it is empty. If it contains other files, the error is
    // ignored.
    let _ = std::fs::remove_dir(cluster_dir.path());
    Ok(())
}
