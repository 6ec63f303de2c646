//! A server with a sale; several figures measure this server. [`SaleServer`] counts the confirmed
//! orders, and the final audit compares this count with the store.
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::config::BenchConfig;
use crate::limits::{NO_DEADLINE, ORDER_CONNECTIONS, PLENTY_OF_STOCK};
use crate::server::{BUYER_SECRET, NewSale, Server};
use crate::temp_dir::TempDir;
use doorbuster_harness::generator::buyers::{Buyers, RequestOptions, Template};
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, Load, Pace, RequestScript, RunResult};

/// The only item of every sale.
pub const ITEM: &str = "item";

/// A server on its own data directory.
#[derive(Debug)]
pub struct SaleServer {
    server: Server,
    /// The number of confirmed orders so far.
    orders: u64,
    /// How many requests have so far got an answer before the verdict of their ticket. Each of
    /// these requests may have become an order.
    queued: u64,
    dir: TempDir,
}

impl SaleServer {
    /// Starts a server.
    ///
    /// # Errors
    /// Fails if the server does not become ready.
    pub fn open(config: &BenchConfig, workers: Option<usize>, core: Option<usize>) -> Result<Self> {
        let dir = config.temp_dir("server")?;
        let server = config.server(&dir.path().join("data"), workers, core)?;
        Ok(Self { server, orders: 0, queued: 0, dir })
    }

    /// Starts a server with these settings.
    ///
    /// # Errors
    /// Fails if the server does not become ready.
    pub fn open_with(config: &BenchConfig, settings: &[(&str, &str)]) -> Result<Self> {
        let dir = config.temp_dir("server")?;
        let server = config.server_with(&dir.path().join("data"), settings)?;
        Ok(Self { server, orders: 0, queued: 0, dir })
    }

    /// Returns the server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Returns the server's address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Opens a sale that does not sell out. Each buyer may buy one unit.
    ///
    /// # Errors
    /// Fails if the server refuses to create or open the sale.
    pub fn open_plenty(&self, sale: &str) -> Result<()> {
        self.server.open_sale(&NewSale { id: sale, stock: PLENTY_OF_STOCK, limit: 1 })
    }

    /// Opens a sale with `units` units for each of these buyers, and sells all units to these
    /// buyers.
    ///
    /// # Errors
    ///
    /// Fails if not all units could be sold.
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

    /// Returns a load that sends all requests of its script at full speed.
    #[must_use]
    pub fn fill_load(&self, connections: usize) -> Load {
        load_without_end(self.addr(), connections)
    }

    /// Runs a script whose requests must all become orders.
    ///
    /// # Errors
    /// Fails if a request did not become an order.
    pub fn take_orders(
        &mut self,
        load: &Load,
        script: &mut impl RequestScript,
    ) -> Result<RunResult> {
        let run = self.take_some_orders(load, script)?;
        run.expect_only(&[AnswerKind::Accepted])?;
        Ok(run)
    }

    /// Runs a script, and adds the confirmed and queued requests to the counts for the final audit.
    /// Not every request must become an order.
    ///
    /// # Errors
    ///
    /// Fails if a request fails.
    pub fn take_some_orders(
        &mut self,
        load: &Load,
        script: &mut impl RequestScript,
    ) -> Result<RunResult> {
        let run = load.run(script)?;
        self.orders += run.count(AnswerKind::Accepted);
        self.queued += run.count(AnswerKind::Queued);
        Ok(run)
    }

    /// Adds `orders` to the number of confirmed orders. A caller that runs a load without
    /// [`Self::take_orders`] or [`Self::take_some_orders`] must call this.
    pub fn note_orders(&mut self, orders: u64) {
        self.orders += orders;
    }

    /// Checks the number of reserved units in a sale whose orders have one unit each. There must be
    /// one unit for each order that `run` confirmed. There may be one more for each queued request
    /// of `run`.
    ///
    /// # Errors
    /// Fails if the numbers differ.
    pub fn check(&self, sale: &str, run: &RunResult) -> Result<()> {
        let accepted = run.count(AnswerKind::Accepted);
        self.server.check_stock(sale, accepted..=accepted + run.count(AnswerKind::Queued))
    }

    /// Stops the server, audits its store, and compares the number of orders in it with the number
    /// of confirmed orders.
    ///
    /// # Errors
    /// Fails if the audit finds an error, or if the number of orders is wrong.
    pub fn close(self) -> Result<()> {
        let Self { server, orders, queued, dir } = self;
        let audited = server
            .stop_and_audit(orders..=orders + queued)
            .context("failed to stop and audit the server after the run");
        drop(dir);
        audited
    }
}

/// Returns the buyers of this series.
#[must_use]
pub fn buyers(series: &str, count: u32) -> Buyers {
    Buyers::new(BUYER_SECRET.as_bytes(), series, count)
}

/// Returns the purchase request of these buyers, for `units` of the sale's item.
#[must_use]
pub fn template(buyers: &Buyers, sale: &str, units: u32, headers: &str) -> Template {
    Template::new(
        buyers,
        &RequestOptions { host: "127.0.0.1", sale, item: ITEM, units, headers, keys: "k" },
    )
}

/// Formats a share as a percentage.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Returns a load without a time limit: it ends when its script has no further request.
pub fn load_without_end(addr: SocketAddr, connections: usize) -> Load {
    let (warm_up, time) = (Duration::ZERO, NO_DEADLINE);
    Load { addr, connections, pace: Pace::Closed, warm_up, time, core: None }
}
