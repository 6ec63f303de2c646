//! Reads a server's identity from `INFO`, and decides whether the server can hold slots.
use super::limits::VERSION_MIN;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) address: String,
    pub(super) version: (u32, u32),
    pub(super) is_cluster: bool,
    pub(super) is_replica: bool,
    pub(super) maxmemory: u64,
    pub(super) policy: String,
    pub(super) run_id: String,
    pub(super) replication_id: String,
    /// Whether the server answered the last check.
    pub(super) is_up: bool,
}

impl Health {
    pub(super) fn read(address: &str, info: &str) -> Self {
        let mut health = Self { address: address.to_owned(), is_up: true, ..Self::default() };
        for (name, value) in info.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match name {
                "redis_version" => health.version = version(value),
                "cluster_enabled" => health.is_cluster = value == "1",
                "role" => health.is_replica = value == "slave",
                "maxmemory" => health.maxmemory = value.parse().unwrap_or(0),
                "maxmemory_policy" => health.policy = value.to_owned(),
                "run_id" => health.run_id = value.to_owned(),
                "master_replid" => health.replication_id = value.to_owned(),
                _ => {}
            }
        }
        health
    }
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// Returns an error if the server cannot hold slots. The error says why.
pub(super) fn check_usable(health: &Health) -> Result<(), String> {
    let Health { address, version: (major, minor), policy, .. } = health;
    if health.version < VERSION_MIN {
        let (wanted, at_least) = VERSION_MIN;
        return Err(format!(
            "{address} is Redis {major}.{minor}: slots need {wanted}.{at_least} or newer"
        ));
    }
    if health.maxmemory > 0 && policy != "noeviction" {
        return Err(format!(
            "{address} may evict keys (maxmemory-policy {policy}), and slots would lose units; \
             set maxmemory-policy to noeviction"
        ));
    }
    if health.is_replica && !health.is_cluster {
        return Err(format!("{address} is a replica: slots.urls must name primaries"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
        # Persistence\r\naof_enabled:1\r\n# Replication\r\nrole:master\r\nmaster_replid:def\r\n# Cluster\r\ncluster_enabled:0\r\n";

    fn check(from: &str, to: &str, refused: Option<&str>) {
        let result = check_usable(&Health::read("here", &INFO.replace(from, to)));
        match refused {
            None => assert_eq!(result, Ok(())),
            Some(word) => assert!(result.as_ref().is_err_and(|e| e.contains(word)), "{result:?}"),
        }
    }

    #[test]
    fn a_server_that_evicts_or_is_old_or_is_a_replica_is_refused() {
        check("", "", None);
        check("7.0.15", "6.2.9", Some("6.2"));
        check("7.0.15", "10.1.0", None);
        check("maxmemory:0", "maxmemory:1000", None);
        check("noeviction", "allkeys-lru", None);
        check(
            "maxmemory:0\r\nmaxmemory_policy:noeviction",
            "maxmemory:9\r\nmaxmemory_policy:allkeys-lru",
            Some("allkeys-lru"),
        );
        check("role:master", "role:slave", Some("replica"));
    }
}
