//! The plan of a load run. All values are checked before the first request is sent.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{LoadError, limits};

/// A load run. Start from [`LoadPlan::new`] and change the other fields as needed.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The URL of the server: `http://host:port`, without a path.
    pub url: String,
    /// The sale to buy in.
    pub sale: String,
    /// The item to buy.
    pub item: String,
    /// Units in each buyer's request.
    pub units: u32,
    /// The number of different buyers. With a `duration`, fewer buyers may arrive.
    pub buyers: u32,
    /// The number of keep-alive connections, at most one for each buyer.
    pub connections: usize,
    /// The number of buyers that arrive per second. With a rate, a buyer's latency counts from the
    /// time at which the buyer was to arrive. `None` means that each connection sends its next
    /// request as soon as it has the previous answer.
    pub rate: Option<f64>,
    /// For how long new buyers arrive. After that time, the remaining buyers of the plan send
    /// nothing.
    /// `None` means that all buyers of the plan arrive.
    pub duration: Option<Duration>,
    /// The HS256 secret that signs buyer tokens. It must have at least 32 bytes.
    pub secret: Vec<u8>,
    /// The path of the answers file: one JSON line for each final answer. `None` means no file.
    pub answers: Option<PathBuf>,
    /// The seed. It determines the buyers' names, the sequence of their arrival, and the random
    /// part of their pauses. Two runs with the same seed have the same buyers.
    pub seed: u64,
    /// The number of threads that send requests. `None` means half of the cores, at least 1 and at
    /// most 8.
    pub workers: Option<usize>,
    /// The seconds in `Prefer: wait`.
    pub wait_secs: u8,
    /// The longest pause after `429` or `5xx`. This is also the pause if the answer has no
    /// `Retry-After`.
    pub retry_after_cap: Duration,
    /// How many times a buyer's request is repeated after 429 or 5xx. After that, the buyer counts
    /// as lost.
    pub overload_tries: u16,
    /// How many times a buyer's request is repeated after a broken connection. After that, the
    /// buyer counts as lost.
    pub connection_tries: u16,
    /// How long after `decide_by` the run waits for a verdict. After that time the buyer counts as
    /// lost.
    pub verdict_grace: Duration,
    /// If no final answer arrives for this long, the run is stopped.
    pub stall_timeout: Duration,
    /// At most this many queued buyers open an event stream. These buyers also poll for their
    /// verdict.
    pub listeners: usize,
    /// The caller sets this flag to end the run early. Buyers without a final answer count as lost.
    pub stop: Arc<AtomicBool>,
}

impl LoadPlan {
    /// Returns a plan without a rate, in which `buyers` different buyers request one unit each.
    #[must_use]
    pub fn new(url: &str, sale: &str, item: &str, buyers: u32, secret: Vec<u8>) -> Self {
        Self {
            url: url.into(),
            sale: sale.into(),
            item: item.into(),
            units: 1,
            buyers,
            connections: limits::CONNECTIONS_DEFAULT,
            rate: None,
            duration: None,
            secret,
            answers: None,
            seed: rand::random::<u32>().into(),
            workers: None,
            wait_secs: 2,
            retry_after_cap: Duration::from_secs(1),
            overload_tries: limits::OVERLOAD_TRIES_MAX,
            connection_tries: limits::CONNECTION_TRIES_MAX,
            verdict_grace: limits::VERDICT_GRACE,
            stall_timeout: limits::STALL_TIMEOUT,
            listeners: limits::LISTENERS_MAX,
            stop: Arc::default(),
        }
    }

    /// Makes each buyer wait longer, so that the buyer gets an answer even if all servers are
    /// unavailable for some time. For example, PostgreSQL on a busy disk may need 30 seconds to
    /// start from a backup.
    #[must_use]
    pub fn patient(self) -> Self {
        Self {
            overload_tries: limits::PATIENT_TRIES_MAX,
            connection_tries: limits::PATIENT_TRIES_MAX,
            verdict_grace: limits::PATIENT_GRACE,
            stall_timeout: limits::PATIENT_STALL_TIMEOUT,
            ..self
        }
    }

    pub(super) fn check(&self) -> Result<Target, LoadError> {
        let plan = |text: String| Err(LoadError::Plan(text));
        if self.buyers == 0 || self.buyers > limits::BUYERS_MAX {
            return plan(format!(
                "buyers must be 1 to {}, not {}",
                limits::BUYERS_MAX,
                self.buyers
            ));
        }
        if self.connections == 0 || self.connections > limits::CONNECTIONS_MAX {
            return plan(format!(
                "connections must be 1 to {}, not {}",
                limits::CONNECTIONS_MAX,
                self.connections
            ));
        }
        if self.secret.len() < 32 {
            return plan(format!(
                "the buyer secret has {} bytes; at least 32 are needed",
                self.secret.len()
            ));
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return plan("rate must be a number of arrivals per second above 0".into());
        }
        if self.wait_secs > 30 {
            return plan(format!("Prefer: wait must be 0 to 30 seconds, not {}", self.wait_secs));
        }
        for (what, id) in [("sale", &self.sale), ("item", &self.item)] {
            if !is_id(id) {
                return plan(format!(
                    "{what} {id:?} is not an id; give 1 to 64 characters of A-Z a-z 0-9 _ . : -"
                ));
            }
        }
        self.check_handles()?;
        Target::parse(&self.url)
    }

    pub(super) fn connections_used(&self) -> usize {
        self.connections.min(self.buyers as usize)
    }

    pub(super) fn workers_used(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.workers.unwrap_or((cores / 2).min(limits::WORKERS_DEFAULT_MAX));
        workers.clamp(1, self.connections_used())
    }

    fn check_handles(&self) -> Result<(), LoadError> {
        let needed = (self.connections_used() + self.listeners) as u64 + limits::HANDLES_SPARE;
        // If the limit on open files is unknown, any number of connections is allowed.
        let soft = rlimit::Resource::NOFILE.get_soft().unwrap_or(u64::MAX);
        if soft >= needed {
            return Ok(());
        }
        Err(LoadError::Plan(format!(
            "{} connections need {needed} file handles, but this process may open {soft}; \
             raise the limit (ulimit -n {needed}) or ask for fewer connections",
            self.connections_used()
        )))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The first IPv4 address of the host, or its first address if it has no IPv4 address.
    pub addr: SocketAddr,
    /// The host and the port, for the `Host` header.
    pub authority: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, LoadError> {
        let bad = |why: &str| LoadError::Plan(format!("{url:?}: {why}"));
        let rest = url.strip_prefix("http://").ok_or_else(|| {
            bad("the load generator supports plain HTTP only; give an address like \
                 http://127.0.0.1:8080")
        })?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty()
            || !authority.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        {
            return Err(bad("give host and port only, without a path"));
        }
        let has_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let named = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let addr = named
            .to_socket_addrs()
            .map_err(|error| bad(&format!("no such host: {error}")))?
            // IPv4 is preferred, because local servers usually listen on IPv4 addresses.
            .min_by_key(SocketAddr::is_ipv6)
            .ok_or_else(|| bad("no such host"))?;
        Ok(Self { addr, authority: authority.into() })
    }
}

/// Reads a secret from a file, and removes trailing line ends, which editors and `echo` add.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, LoadError> {
    let mut secret = std::fs::read(path).map_err(|error| {
        LoadError::Plan(format!("cannot read the buyer secret {}: {error}", path.display()))
    })?;
    while secret.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        secret.pop();
    }
    Ok(secret)
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut LoadPlan)) -> String {
        let mut plan = LoadPlan::new("http://127.0.0.1:1", "spring", "phone", 10, vec![7; 32]);
        change(&mut plan);
        match plan.check() {
            Err(LoadError::Plan(text)) => text,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn an_invalid_plan_is_refused_with_its_reason() {
        assert!(refusal(|plan| plan.buyers = 0).contains("buyers must be 1"));
        assert!(refusal(|plan| plan.connections = 0).contains("connections must be 1"));
        assert!(refusal(|plan| plan.secret.truncate(31)).contains("31 bytes"));
        assert!(refusal(|plan| plan.rate = Some(0.0)).contains("rate"));
        assert!(refusal(|plan| plan.rate = Some(f64::NAN)).contains("rate"));
        assert!(refusal(|plan| plan.sale = "a b".into()).contains("sale"));
        assert!(refusal(|plan| plan.item = String::new()).contains("item"));
        assert!(refusal(|plan| plan.url = "https://shop".into()).contains("plain HTTP"));
        assert!(
            refusal(|plan| plan.url = "http://127.0.0.1:1/v1".into()).contains("without a path")
        );
    }

    #[test]
    fn too_few_file_handles_are_reported_before_the_run() {
        let soft = rlimit::Resource::NOFILE.get_soft().expect("this system has the limit");
        // Each listener needs a file handle. With this many listeners, the plan needs more open
        // files than the limit allows.
        let text = refusal(|plan| plan.listeners = soft as usize);
        assert!(text.contains("file handles") && text.contains(&soft.to_string()), "{text}");
    }

    #[test]
    fn connections_are_at_most_the_buyers() {
        let plan = LoadPlan::new("http://127.0.0.1:1", "spring", "phone", 3, vec![7; 32]);
        assert_eq!(plan.connections_used(), 3);
        assert!(plan.workers_used() <= 3);
    }
}
