//! Our server with a sale, as several figures need it, and the books that are kept on what it
//! promised.
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::config::BenchConfig;
use crate::limits::{NO_DEADLINE, ORDER_CONNECTIONS, PLENTY_OF_STOCK};
use crate::server::{BUYER_SECRET, NewSale, Server};
use crate::temp_dir::TempDir;
use doorbuster_harness::generator::buyers::{Buyers, RequestOptions, Template};
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, Load, Pace, RunResult, Script};

/// The only item of every sale.
pub const ITEM: &str = "item";

/// A server on a data directory of its own.
#[derive(Debug)]
pub struct SaleServer {
    server: Server,
    /// Orders promised, and places in the queue given, so far.
    orders: u64,
    queued: u64,
    dir: TempDir,
}

impl SaleServer {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn open(config: &BenchConfig, workers: Option<usize>, core: Option<usize>) -> Result<Self> {
        let dir = config.temp_dir("server")?;
        let server = config.server(&dir.path().join("data"), workers, core)?;
        Ok(Self { server, orders: 0, queued: 0, dir })
    }

    /// Starts one with these settings.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn open_with(config: &BenchConfig, settings: &[(&str, &str)]) -> Result<Self> {
        let dir = config.temp_dir("server")?;
        let server = config.server_with(&dir.path().join("data"), settings)?;
        Ok(Self { server, orders: 0, queued: 0, dir })
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Opens a sale of which everybody can have one unit.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn open_plenty(&self, sale: &str) -> Result<()> {
        self.server.open_sale(&NewSale { id: sale, stock: PLENTY_OF_STOCK, limit: 1 })
    }

    /// Opens a sale of this stock and sells all of it to these buyers, `units` each.
    ///
    /// # Errors
    /// When not all of it could be sold.
    pub fn sell_out(&mut self, sale: &str, buyers: &Buyers, units: u32) -> Result<()> {
        let stock = u64::from(buyers.count()) * u64::from(units);
        self.server.open_sale(&NewSale { id: sale, stock, limit: units })?;
        let load = self.fill_load(ORDER_CONNECTIONS.min(buyers.count() as usize));
        let mut script = Purchases::each_once(buyers, template(buyers, sale, units, ""), 0);
        let run = self.take_orders(&load, &mut script)?;
        ensure!(
            run.count(AnswerKind::Accepted) == u64::from(buyers.count()),
            "{sale} was not sold out"
        );
        self.server.check_stock(sale, stock..=stock)
    }

    /// As many orders as a script has, as fast as they come.
    #[must_use]
    pub fn fill_load(&self, connections: usize) -> Load {
        let (warm_up, time) = (Duration::ZERO, NO_DEADLINE);
        Load { addr: self.addr(), connections, pace: Pace::Closed, warm_up, time, core: None }
    }

    /// Runs a script whose requests must all become orders.
    ///
    /// # Errors
    /// When one did not.
    pub fn take_orders(&mut self, load: &Load, script: &mut impl Script) -> Result<RunResult> {
        let run = self.take_some_orders(load, script)?;
        run.only(&[AnswerKind::Accepted])?;
        Ok(run)
    }

    /// Runs a script of whose requests any number may become orders.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn take_some_orders(&mut self, load: &Load, script: &mut impl Script) -> Result<RunResult> {
        let run = load.run(script)?;
        self.orders += run.count(AnswerKind::Accepted);
        self.queued += run.count(AnswerKind::Queued);
        Ok(run)
    }

    /// Notes orders that were promised to somebody else's load.
    pub fn note_orders(&mut self, orders: u64) {
        self.orders += orders;
    }

    /// Passes if a sale of one unit each holds what this run was promised.
    ///
    /// # Errors
    /// What does not add up.
    pub fn check(&self, sale: &str, run: &RunResult) -> Result<()> {
        let accepted = run.count(AnswerKind::Accepted);
        self.server.check_stock(sale, accepted..=accepted + run.count(AnswerKind::Queued))
    }

    /// Stops the server and audits what it left against what it promised.
    ///
    /// # Errors
    /// What does not add up.
    pub fn close(self) -> Result<()> {
        let Self { server, orders, queued, dir } = self;
        let audited = server.stop_and_audit(orders..=orders + queued).context("after the run");
        drop(dir);
        audited
    }
}

/// Buyers of this series, as the shop knows them.
#[must_use]
pub fn buyers(series: &str, count: u32) -> Buyers {
    Buyers::new(BUYER_SECRET.as_bytes(), series, count)
}

/// The request for `units` of the sale's item.
#[must_use]
pub fn template(buyers: &Buyers, sale: &str, units: u32, headers: &str) -> Template {
    Template::new(buyers, &RequestOptions { sale, item: ITEM, units, headers, keys: "k" })
}

/// A share as a percentage.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
