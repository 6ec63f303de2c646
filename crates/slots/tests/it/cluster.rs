//! Slots on a Redis Cluster of three primaries: the conformance suite.
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use doorbuster_slots::{Slots, conformance};

use super::server::{Server, options};

/// How long the servers may need to agree.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Three primaries.
pub fn start() -> Vec<Server> {
    let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
    let servers: Vec<Server> = (0..3).map(|_| Server::start_on_port(&arguments)).collect();
    let places: Vec<String> = servers.iter().map(|s| format!("127.0.0.1:{}", s.port())).collect();
    let made = Command::new("redis-cli").args(["--cluster", "create", "--cluster-yes"]).args(&places).output();
    let made = made.expect("redis-cli is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    let until = Instant::now() + READY_WITHIN;
    while !servers.iter().all(|s| s.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
        assert!(Instant::now() < until, "the servers agree");
        std::thread::sleep(Duration::from_millis(5));
    }
    servers
}

async fn slots(test: &str) -> Slots {
    static SERVERS: OnceLock<Vec<Server>> = OnceLock::new();
    let servers = SERVERS.get_or_init(start);
    // One of them names the others.
    Slots::redis(options(vec![servers[0].url()], test)).await.expect("servers that may hold slots")
}

crate::conforms!(slots);
