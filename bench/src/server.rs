//! Doorbuster's server, started as a program with its own data directory.

mod admin;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use doorbuster_harness::audit;
use rustix::process::Signal;

pub use admin::{NewSale, StockRow};

use crate::limits::READY_WITHIN;
use crate::passes;
use crate::peer::sqlite;
use crate::process::{self, Process, ProcessSpec};

/// The secret that signs buyers' tokens.
pub const BUYER_SECRET: &str = "a secret of the benches, 32 bytes or more";
const ADMIN_KEY: &str = "an-operators-key-of-the-benches-32-or-more";

/// The options with which the server starts.
#[derive(Clone, Debug)]
pub struct ServerOptions<'a> {
    /// The binary.
    pub program: &'a Path,
    /// The server's data directory.
    pub dir: &'a Path,
    /// The number of threads that serve HTTP. `None` means the server's default.
    pub workers: Option<usize>,
    /// The core to which the server is pinned. `None` means any core.
    pub core: Option<usize>,
    /// Further settings, as environment variables.
    pub settings: &'a [(&'a str, &'a str)],
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    addr: SocketAddr,
    dir: PathBuf,
    ready_after: Duration,
}

impl Server {
    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Fails if the server does not become ready.
    pub fn start(options: &ServerOptions<'_>) -> Result<Self> {
        let mut environment = vec![
            ("DOORBUSTER_AUTH__BUYER_SECRET".to_owned(), BUYER_SECRET.to_owned()),
            ("DOORBUSTER_AUTH__ADMIN_KEY".to_owned(), ADMIN_KEY.to_owned()),
            (
                "DOORBUSTER_PASS__KEYS".to_owned(),
                passes::MASTER_KEY.map(|byte| format!("{byte:02x}")).concat(),
            ),
        ];
        environment
            .extend(options.workers.map(|w| ("DOORBUSTER_WORKERS".to_owned(), w.to_string())));
        environment.extend(
            options.settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())),
        );
        let dir = options.dir.display().to_string();
        let began = Instant::now();
        let mut process = Process::start(ProcessSpec {
            program: options.program,
            arguments: ["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir]
                .map(str::to_owned)
                .into(),
            environment,
            user: None,
            core: options.core,
            log: options.dir.with_extension("log"),
        })?;
        let addr = listening(&mut process)?;
        let ready = || {
            admin::send_request(addr, "GET", "/readyz", None, "")
                .is_ok_and(|reply| reply.status == 200)
        };
        process::wait_until(&mut process, READY_WITHIN, ready)
            .context("the server did not become ready")?;
        Ok(Self { process, addr, dir: options.dir.to_owned(), ready_after: began.elapsed() })
    }

    /// Returns the server's address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the server's process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Returns how long the server took from its start until it was ready.
    #[must_use]
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Returns the path of the store's file.
    ///
    /// # Errors
    /// Fails if the directory has no store.
    pub fn store_file(&self) -> Result<PathBuf> {
        sqlite::file_in(&self.dir)
    }

    /// Creates a sale with one item called `item` and opens it.
    ///
    /// # Errors
    /// Fails if the server refuses.
    pub fn open_sale(&self, sale: &NewSale<'_>) -> Result<()> {
        self.operate("POST", "/v1/admin/sales", &sale.json(), 201)?;
        self.operate("POST", &format!("/v1/admin/sales/{}/open", sale.id), "", 200).map(drop)
    }

    /// Creates a sale with one item, which opens by itself at the time `starts_at`.
    ///
    /// # Errors
    /// Fails if the server refuses.
    pub fn announce(&self, sale: &NewSale<'_>, starts_at: &str) -> Result<()> {
        self.operate("POST", "/v1/admin/sales", &sale.json(), 201)?;
        self.change(sale.id, &format!(r#"{{"starts_at":"{starts_at}"}}"#))?;
        self.change_phase(sale.id, "schedule")
    }

    /// Moves a sale to another phase. `step` is the last part of the API's path, for example
    /// `close`.
    ///
    /// # Errors
    /// Fails if the server refuses.
    pub fn change_phase(&self, sale: &str, step: &str) -> Result<()> {
        self.operate("POST", &format!("/v1/admin/sales/{sale}/{step}"), "", 200).map(drop)
    }

    /// Changes a sale with a JSON merge patch.
    ///
    /// # Errors
    /// Fails if the server refuses.
    pub fn change(&self, sale: &str, patch: &str) -> Result<()> {
        self.operate("PATCH", &format!("/v1/admin/sales/{sale}"), patch, 200).map(drop)
    }

    /// Returns how many units of a sale's only item are in each state.
    ///
    /// # Errors
    ///
    /// Fails if the request fails.
    pub fn stock(&self, sale: &str) -> Result<StockRow> {
        StockRow::read(&self.operate("GET", &format!("/v1/admin/sales/{sale}/stock"), "", 200)?)
    }

    /// Checks that the number of reserved units is in the range `promised`, and that the units in
    /// all states add up to the total.
    ///
    /// # Errors
    /// Fails if the number is not in the range, if the units do not add up, or if the request
    /// fails.
    pub fn check_stock(&self, sale: &str, promised: RangeInclusive<u64>) -> Result<()> {
        let row = self.stock(sale)?;
        ensure!(row.adds_up(), "the stock does not add up: {row:?}");
        ensure!(
            promised.contains(&row.held),
            "{promised:?} units were confirmed, but {} are reserved",
            row.held
        );
        Ok(())
    }

    /// Returns how many requests the server has answered on these routes.
    ///
    /// # Errors
    ///
    /// Fails if the request fails.
    pub fn answered_requests(&self, routes: &[&str]) -> Result<u64> {
        routes.iter().map(|route| self.metric("doorbuster_http_requests_total", route)).sum()
    }

    /// Returns the sum of a metric over all series that have this label value.
    ///
    /// # Errors
    /// Fails if the request fails.
    pub fn metric(&self, name: &str, label: &str) -> Result<u64> {
        let page = admin::send_request(self.addr, "GET", "/metrics", None, "")?.body;
        let (begin, with) = (format!("{name}{{"), format!("=\"{label}\""));
        let lines = page.lines().filter(|line| line.starts_with(&begin) && line.contains(&with));
        let number =
            |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
        lines.map(|line| number(line).with_context(|| line.to_owned())).sum()
    }

    /// Sends an operator's request and returns the body of the response. The response must have the
    /// status `status`.
    ///
    /// # Errors
    ///
    /// Fails if the status differs.
    pub fn operate(
        &self,
        method: &str,
        path: &str,
        body: &str,
        status: u16,
    ) -> Result<serde_json::Value> {
        let reply = admin::send_request(self.addr, method, path, Some(ADMIN_KEY), body)?;
        ensure!(reply.status == status, "{method} {path}: {} {}", reply.status, reply.body);
        serde_json::from_str(&reply.body).with_context(|| format!("{method} {path}: invalid JSON"))
    }

    /// Stops the server cleanly and audits its store.
    ///
    /// # Errors
    /// Fails if the server ended with an error, the audit has findings, or the number of orders is
    /// not in `promised`.
    pub fn stop_and_audit(mut self, promised: RangeInclusive<u64>) -> Result<()> {
        let status = self.process.stop(Signal::TERM)?;
        ensure!(
            status.success(),
            "the server ended with an error ({status}): {}",
            self.process.log_tail()
        );
        let report = audit::run(&audit::StoreLocation::Sqlite(self.store_file()?), None)?;
        ensure!(report.audit.ok, "the auditor found {:?}", report.audit.findings);
        let orders = report.orders_checked;
        ensure!(
            promised.contains(&orders),
            "{promised:?} orders were confirmed, but the store has {orders}"
        );
        Ok(())
    }
}

fn listening(process: &mut Process) -> Result<SocketAddr> {
    let output = process.output().context("standard output is not piped")?;
    let mut lines = BufReader::new(output).lines();
    let words = "doorbuster listening on http://";
    let addr = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix(words).and_then(|a| a.trim().parse().ok()));
    // If this program closed the pipe, the server would get an error when it writes its output. So
    // a thread reads the rest of the output.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    addr.with_context(|| format!("the server did not print its address: {}", process.log_tail()))
}
