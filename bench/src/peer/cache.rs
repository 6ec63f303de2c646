//! nginx as the cache in front of a server, with the configuration of docs/front-door.md. Only
//! addresses and paths are replaced.
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{self, Process, ProcessSpec};
use crate::temp_dir::TempDir;

const GUIDE: &str = include_str!("../../../docs/front-door.md");
const READY_WITHIN: Duration = Duration::from_secs(5);

/// A running cache.
#[derive(Debug)]
pub struct Cache {
    addr: SocketAddr,
    process: Process,
    _dir: TempDir,
}

impl Cache {
    /// Starts nginx, which serves `folder` and forwards other requests to `server`.
    ///
    /// # Errors
    /// Fails if nginx is not installed or does not start.
    pub fn start(parent: &Path, folder: &Path, server: SocketAddr) -> Result<Self> {
        let dir = TempDir::new(parent, "cache")?;
        let addr = process::free_address()?;
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config(dir.path(), addr, folder, server)?)
            .context("cannot write nginx's configuration")?;
        let here = dir.path().display().to_string();
        let mut process = Process::start(ProcessSpec {
            program: &process::find("nginx")?,
            arguments: ["-p", &here, "-c", &file.display().to_string(), "-e", "error.log"]
                .map(str::to_owned)
                .into(),
            environment: Vec::new(),
            user: None,
            core: None,
            log: dir.path().join("log"),
        })?;
        let ready = || std::net::TcpStream::connect(addr).is_ok();
        process::wait_until(&mut process, READY_WITHIN, ready)
            .context("nginx did not become ready")?;
        Ok(Self { addr, process, _dir: dir })
    }

    /// Returns the address that nginx listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the nginx process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// Returns the configuration: the guide's site with other addresses and paths. nginx runs as one
/// process, and writes no access log.
fn config(dir: &Path, addr: SocketAddr, folder: &Path, server: SocketAddr) -> Result<String> {
    let (_, rest) = GUIDE.split_once("```nginx\n").context("the guide has no configuration")?;
    let (site, _) = rest.split_once("\n```").context("the configuration has no end")?;
    let dir = dir.display();
    let site = site
        .replace("listen 443 ssl;", &format!("listen {addr} backlog=4096;"))
        .replace("ssl_certificate", "# ssl_certificate")
        .replace("/srv/www", &folder.display().to_string())
        .replace("/var/cache/nginx-doorbuster", &format!("{dir}/cache"))
        .replace("http://127.0.0.1:8080", &format!("http://{server}"));
    Ok(format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {dir}/pid;
events {{ worker_connections 4096; }}
http {{
  types {{ text/html html; text/css css; text/javascript js; image/svg+xml svg; }}
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
{site}
}}
"
    ))
}
