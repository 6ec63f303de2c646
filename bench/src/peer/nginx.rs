//! nginx as a peer: one process that answers every request with the same response.
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{self, Process, ProcessSpec};
use crate::temp_dir::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(5);

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    addr: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Nginx {
    /// Starts nginx on this core. It answers every request with this status and body.
    ///
    /// # Errors
    /// Fails if nginx is not installed or does not start.
    pub fn start(parent: &Path, (status, body): (u16, &str), core: Option<usize>) -> Result<Self> {
        let dir = TempDir::new(parent, "nginx")?;
        let addr = process::free_address()?;
        let config = config(dir.path(), addr, (status, body));
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).context("cannot write nginx's configuration")?;
        let here = dir.path().display().to_string();
        let mut process = Process::start(ProcessSpec {
            program: &process::find("nginx")?,
            arguments: ["-p", &here, "-c", &file.display().to_string(), "-e", "error.log"]
                .map(str::to_owned)
                .into(),
            environment: Vec::new(),
            user: None,
            core,
            log: dir.path().join("log"),
        })?;
        let ready = || std::net::TcpStream::connect(addr).is_ok();
        process::wait_until(&mut process, READY_WITHIN, ready)
            .context("nginx did not become ready")?;
        Ok(Self { addr, _process: process, _dir: dir })
    }

    /// Returns the address that nginx listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Returns the configuration: nginx runs as one process without a separate worker, and writes no
/// access log.
fn config(dir: &Path, addr: SocketAddr, (status, body): (u16, &str)) -> String {
    let dir = dir.display();
    // In a quoted string of nginx, a backslash escapes quotes and backslashes. A dollar sign would
    // begin a variable, so it is removed.
    let body = body.replace('\\', "\\\\").replace('\'', "\\'").replace('$', "");
    format!(
        "daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {dir}/pid;
events {{ worker_connections 19000; }}
http {{
  access_log off;
  server_tokens off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  server {{
    listen {addr} backlog=4096;
    location / {{ default_type application/problem+json; return {status} '{body}'; }}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_harness::generator::http::RepeatedRequest;
    use doorbuster_harness::generator::{AnswerKind, Load, Pace};

    #[test]
    fn nginx_answers_every_request_with_the_configured_body() {
        let body = r#"{"code":"sold_out","detail":"it's gone"}"#;
        let nginx =
            Nginx::start(&std::env::temp_dir(), (200, body), None).expect("nginx is installed");
        let time = Duration::from_millis(50);
        let load = Load {
            addr: nginx.addr(),
            connections: 4,
            pace: Pace::Closed,
            warm_up: Duration::ZERO,
            time,
            core: None,
        };
        let run = load.run(&mut RepeatedRequest::get("/")).expect("answers");
        run.expect_only(&[AnswerKind::Fine]).expect("every answer is successful");
        assert!(run.sent == run.total() && run.total() >= 4, "{run:?}");
    }
}
