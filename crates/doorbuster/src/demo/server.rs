//! The server of a demo: a child process of the same binary, on a free port, with generated
//! secrets.
//!
//! The server stops when its standard input ends. Its standard input is a pipe from this process,
//! so the server also stops when this process dies.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::Url;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::work_dir::WorkDir;
use crate::client::{Client, Path as UrlPath};
use crate::exit::Failure;

const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// A server stops within ten seconds. The other five seconds are a margin for a busy machine.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
const READY_PREFIX: &str = "doorbuster listening on ";
const LOG_LINES_SHOWN: usize = 8;
const TICKETS_SETTLED: &str = "doorbuster_tickets_settled_total";
const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// Figures from a server's metrics, or their sums over several servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerMetrics {
    /// Number of requests that reached the store.
    pub tickets_settled: u64,
    /// Processor time since the start, in seconds.
    pub cpu_seconds: f64,
}

/// The running server.
#[derive(Debug)]
pub struct DemoServer {
    child: Child,
    output: Option<ChildStdout>,
    admin_key: String,
    buyer_secret: PathBuf,
    data_dir: PathBuf,
    log: PathBuf,
    url: Option<Url>,
}

/// Returns a command that runs this program. The command does not inherit the environment variables
/// that configure a server.
pub fn this_program() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with(doorbuster_config::ENV_PREFIX) {
            command.env_remove(name);
        }
    }
    // Ctrl-C must reach only this process. This process then stops its children.
    command.process_group(0).kill_on_drop(true);
    Ok(command)
}

impl DemoServer {
    /// Starts the server. When this function returns, the server may not be ready yet.
    pub fn start(work_dir: &WorkDir) -> Result<Self, Failure> {
        let (admin_key, buyer_secret) = (secret(), secret());
        let log = File::create(work_dir.log()).context("cannot write the server's log")?;
        let mut child = this_program()?
            .args([
                "serve",
                "--until-stdin-ends",
                "--log-format",
                "text",
                "--listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(work_dir.data_dir())
            .env("DOORBUSTER_AUTH__ADMIN_KEY", &admin_key)
            .env("DOORBUSTER_AUTH__BUYER_SECRET", &buyer_secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start a server")?;
        let output = child.stdout.take();
        let buyer_secret = work_dir.write_secret("buyer_secret", &buyer_secret)?;
        let (data_dir, log) = (work_dir.data_dir(), work_dir.log());
        Ok(Self { child, output, admin_key, buyer_secret, data_dir, log, url: None })
    }

    /// Waits until the server is ready. Returns a client for its admin API.
    pub async fn wait_ready(&mut self) -> Result<Client, Failure> {
        let output = self.output.take().context("the server's output is gone")?;
        let mut lines = BufReader::new(output).lines();
        let line = timeout(READY_TIMEOUT, lines.next_line())
            .await
            .map_err(|_| anyhow!("the server was not ready within {} s", READY_TIMEOUT.as_secs()))?
            .context("cannot read the server's output")?
            .context("the server ended before it was ready")?;
        // The pipe must stay open, so that the server can write to its standard output.
        self.output = Some(lines.into_inner().into_inner());
        let url: Url = line
            .strip_prefix(READY_PREFIX)
            .and_then(|url| url.trim().parse().ok())
            .with_context(|| format!("the server printed {line:?} instead of its address"))?;
        self.url = Some(url.clone());
        Client::with(url, self.admin_key.clone())
    }

    /// Returns the address on which the server listens, `http://host:port`.
    pub fn url(&self) -> String {
        self.url
            .as_ref()
            .map(|url| url.as_str().trim_end_matches('/').to_owned())
            .unwrap_or_default()
    }

    /// Returns the path of the file with the secret that signs buyers' tokens.
    pub fn buyer_secret(&self) -> &Path {
        &self.buyer_secret
    }

    /// Returns the path of the server's data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Stops the server and waits until it has stopped.
    pub async fn stop(&mut self) -> Result<(), String> {
        drop(self.child.stdin.take());
        match timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the server ended with {status}")),
            Ok(Err(error)) => Err(format!("cannot wait for the server to end: {error}")),
            Err(_) => {
                // The caller reports the failure.
                let _ = self.child.kill().await;
                Err(format!("the server did not stop within {} s", STOP_TIMEOUT.as_secs()))
            }
        }
    }

    /// Adds the last lines of the server's log to a [`Failure::Refused`], if the server did not
    /// stop normally. Returns every other failure unchanged.
    pub fn explain(&self, failure: Failure, stopped: &Result<(), String>) -> Failure {
        let (Failure::Refused(text), Err(_)) = (&failure, stopped) else { return failure };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n  ");
        Failure::Refused(format!("{text}\n  {last}").trim_end().to_owned())
    }
}

fn secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// Reads the server's metrics.
pub async fn read_metrics(client: &Client) -> Result<ServerMetrics, Failure> {
    let metrics = client.get(UrlPath::new(&["metrics"])).await?;
    Ok(ServerMetrics {
        // The metric counts tickets, so its value is a whole number.
        tickets_settled: counter(&metrics.text, TICKETS_SETTLED)? as u64,
        cpu_seconds: counter(&metrics.text, CPU_SECONDS)?,
    })
}

/// Returns the sum of a counter over all its labels. `text` has the Prometheus text format.
fn counter(text: &str, name: &str) -> anyhow::Result<f64> {
    let mut sum = None;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(rest) = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{'])) else {
            continue;
        };
        let value =
            rest.rsplit_once('}').map_or(rest, |(_, value)| value).split_whitespace().next();
        let value: f64 = value
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("invalid metric line {line:?}"))?;
        sum = Some(sum.unwrap_or(0.0) + value);
    }
    match sum {
        Some(sum) => Ok(sum),
        None => bail!("the server has no metric {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_the_sum_of_its_labels_and_a_longer_name_is_not_counted() {
        let text = "# TYPE a_tickets counter\n\
                    a_tickets_total{verdict=\"consumed\"} 10\n\
                    a_tickets_total{verdict=\"returned\"} 2\n\
                    a_tickets_total_more 99\nb_total 7\n# EOF\n";
        assert_eq!(counter(text, "a_tickets_total").expect("a counter"), 12.0);
        assert_eq!(counter(text, "b_total").expect("a counter"), 7.0);
        assert!(counter(text, "c_total").is_err());
        assert!(counter("c_total many", "c_total").is_err());
    }
}
