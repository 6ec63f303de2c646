//! Runs one strategy with one fault, at every level and with every seed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Error, Result, anyhow, ensure};
use doorbuster_harness::cluster::http;

use super::RunOptions;
use crate::backends::Backends;
use crate::checker;
use crate::contract::{Strategy, StrategyEntry, StrategyKind};
use crate::direct;
use crate::driver::{self, BuyerLoad, Progress, Target};
use crate::fault::{self, Fault};
use crate::limits::{ARRIVALS_WITH_FAULT, DRAIN_WITHIN, RUN_WITHIN};
use crate::order::Order;
use crate::product::ProductInstallation;
use crate::result::{DirectRunResult, RunKey, RunResult};
use crate::servers::slow_connection;
use crate::servers::{Servers, Workers, wait_until};
use crate::shape::Shape;
use crate::system::System;

pub(super) type LevelAndSeed = (usize, u64);

/// A function to which each run passes its result or its error.
pub(super) type Outcomes<'a> = dyn FnMut(LevelAndSeed, Result<RunResult>) + 'a;

pub(super) struct OneStrategy<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) entry: &'a StrategyEntry,
    pub(super) fault: Fault,
}

impl OneStrategy<'_> {
    fn runs(&self) -> Vec<LevelAndSeed> {
        let seeds = (0..u64::from(self.options.seeds)).map(|n| self.options.seed.wrapping_add(n));
        let levels = self.options.levels.iter();
        levels.flat_map(|&level| seeds.clone().map(move |seed| (level, seed))).collect()
    }

    fn is_stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    fn repeats_without_http(&self) -> bool {
        matches!(self.entry.kind, StrategyKind::Product(Shape::Embedded))
            && self.fault == Fault::None
    }

    pub(super) fn lacks_run_without_http(&self, result: &RunResult) -> bool {
        let has_outcome = result.without_http.is_some() || result.without_http_error.is_some();
        self.repeats_without_http() && !has_outcome
    }

    /// Adds the result or the error of the run without HTTP to the result of the run over HTTP. If
    /// the command was stopped, ignores an error, because the stop may have caused it.
    pub(super) fn add_run_without_http(
        &self,
        result: &mut RunResult,
        direct: Result<DirectRunResult>,
    ) {
        match direct {
            Ok(direct) => result.without_http = Some(direct),
            Err(_) if self.is_stopped() => {}
            Err(error) => result.without_http_error = Some(format!("{error:#}")),
        }
    }

    /// Runs the strategy at every level with every seed. After the command was stopped, reports
    /// results, but no errors, because the stop may have caused them.
    pub(super) async fn run_levels(&self, servers: &mut Servers, done: &mut Outcomes<'_>) {
        let mut done = |run: LevelAndSeed, outcome: Result<RunResult>| {
            if outcome.is_ok() || !self.is_stopped() {
                done(run, outcome);
            }
        };
        match self.entry.kind {
            StrategyKind::Worker(make) => {
                for run in self.runs() {
                    if self.is_stopped() {
                        return;
                    }
                    done(run, self.run_workers(servers, make, run).await);
                }
            }
            StrategyKind::Product(_) if self.repeats_without_http() => {
                self.run_with_and_without_http(&mut done).await;
            }
            StrategyKind::Product(shape) => self.run_shape(shape, &mut done).await,
        }
    }

    /// Runs one shape of the product. A run reuses the installation of the previous run. There are
    /// two exceptions: after a failed run, and with the fault `slow`, the next run starts a new
    /// installation. So with `slow`, each run opens its connections in the same order.
    async fn run_shape(&self, shape: Shape, done: &mut Outcomes<'_>) {
        let mut running = None;
        let mut runs = self.runs().into_iter();
        while let Some(run) = runs.next().filter(|_| !self.is_stopped()) {
            let product = match running.take() {
                Some(product) => Ok(product),
                None => self.start_product(shape).await,
            };
            let mut product = match product {
                Ok(product) => product,
                Err(error) => return fail_all(std::iter::once(run).chain(runs), &error, done),
            };
            let outcome = self.run_product(&mut product, run).await;
            let is_reusable = outcome.is_ok() && self.fault != Fault::Slow;
            running = is_reusable.then_some(product);
            done(run, outcome);
        }
    }

    async fn start_product(&self, shape: Shape) -> Result<ProductInstallation> {
        let proxies = self.fault == Fault::Slow;
        ProductInstallation::start(&self.options.program, shape, proxies).await
    }

    /// Runs the embedded shape over HTTP, and then repeats each run with the same buyers and
    /// without HTTP. If a run fails, the next run starts a new installation.
    async fn run_with_and_without_http(&self, done: &mut Outcomes<'_>) {
        let mut runs = self.runs().into_iter().peekable();
        while runs.peek().is_some() && !self.is_stopped() {
            let mut product = match self.start_product(Shape::Embedded).await {
                Ok(product) => product,
                Err(error) => return fail_all(runs, &error, done),
            };
            let mut results = Vec::new();
            while let Some(run) = runs.next_if(|_| !self.is_stopped()) {
                match self.run_for_comparison(&mut product, run).await {
                    Ok((result, sales)) => results.push((run, result, sales)),
                    Err(error) => {
                        done(run, Err(error));
                        break;
                    }
                }
            }
            self.repeat_without_http(&mut product, results, done).await;
        }
    }

    /// Stops the server, and repeats each run without HTTP. Reports each run with both results.
    async fn repeat_without_http(
        &self,
        product: &mut ProductInstallation,
        results: Vec<(LevelAndSeed, RunResult, [Target; 2])>,
        done: &mut Outcomes<'_>,
    ) {
        let stopped = product.stop_servers();
        for (run, mut result, sales) in results {
            if !self.is_stopped() {
                let direct = match &stopped {
                    Ok(()) => self.run_without_http(product, &sales, run).await,
                    Err(error) => Err(anyhow!("{error:#}")),
                };
                self.add_run_without_http(&mut result, direct);
            }
            done(run, Ok(result));
        }
    }

    /// Does one run over HTTP. Then opens two new sales for the run without HTTP: one to warm up
    /// the process, and one to measure.
    async fn run_for_comparison(
        &self,
        product: &mut ProductInstallation,
        run: LevelAndSeed,
    ) -> Result<(RunResult, [Target; 2])> {
        let (stock, units) = (self.options.stock, self.options.units);
        let result = self.run_product(product, run).await?;
        let warm_up = product.open_sale(stock, units).await?;
        Ok((result, [warm_up, product.open_sale(stock, units).await?]))
    }

    async fn run_without_http(
        &self,
        product: &ProductInstallation,
        sales: &[Target; 2],
        (level, seed): LevelAndSeed,
    ) -> Result<DirectRunResult> {
        let crowd = (self.options.buyers, self.options.units, level, seed);
        let answers = direct::measure(product, sales.each_ref(), crowd).await?;
        let orders = product.orders(&sales[1])?;
        let findings = checker::check_answers(self.options.stock, &answers.records, &orders);
        Ok(DirectRunResult::new(&answers, self.options.stock, &findings))
    }

    async fn run_workers(
        &self,
        servers: &mut Servers,
        make: fn(&Backends) -> Box<dyn Strategy>,
        (level, seed): LevelAndSeed,
    ) -> Result<RunResult> {
        {
            // These connections are closed before the sale, so that during the sale only workers
            // are connected. Then the lab can see whether a restart of Redis affects the workers.
            let backends = Backends::new(&servers.addresses(2))?;
            backends.clear().await?;
            make(&backends).prepare(self.options.stock).await?;
        }
        if self.fault == Fault::Slow {
            servers.start_slow_proxy(seed, level)?;
        }
        let workers = Workers::start(&self.options.program, self.entry.id, servers, level);
        let mut workers = match workers {
            Ok(workers) => workers,
            Err(error) => {
                servers.stop_slow_proxy();
                return Err(error);
            }
        };
        let addrs = workers.addrs();
        let mut system = System::Workers(&mut workers, servers);
        let sold = self.sell((level, seed), Target::Workers, addrs.clone(), &mut system).await;
        if sold.is_ok() {
            drain(&addrs).await;
        }
        let running = workers.check_running();
        drop(workers);
        servers.stop_slow_proxy();
        let sold = sold?;
        running?;
        // These are new connections, because the fault may have restarted Redis.
        let backends = Backends::new(&servers.addresses(2))?;
        self.check_answers(sold, &make(&backends).orders(&backends).await?)
    }

    async fn run_product(
        &self,
        product: &mut ProductInstallation,
        run: LevelAndSeed,
    ) -> Result<RunResult> {
        let target = product.open_sale(self.options.stock, self.options.units).await?;
        if self.fault == Fault::Slow {
            // The connection becomes slow only now. If it were slow earlier, the start of the
            // servers or the opening of the sale could time out.
            product.slow_down(slow_connection(run.1));
        }
        let addrs = product.addrs();
        let mut system = System::Product(product);
        let sold = self.sell(run, target.clone(), addrs, &mut system).await?;
        self.check_answers(sold, &product.orders(&target)?)
    }

    /// Sends the buyers' requests, and injects the fault at the same time.
    async fn sell(
        &self,
        (level, seed): LevelAndSeed,
        target: Target,
        addrs: Vec<SocketAddr>,
        system: &mut System<'_>,
    ) -> Result<(RunKey, driver::Answers)> {
        let orders = (self.options.stock / self.options.units).max(1);
        let mut crowd = BuyerLoad {
            buyers: self.options.buyers,
            units: self.options.units,
            level,
            seed,
            arrivals: None,
            within: RUN_WITHIN,
        };
        if self.fault != Fault::None {
            // In a run with a fault, at most two buyers come for each order that the stock allows.
            // The buyers arrive over a longer time, so that the fault happens during the sale.
            crowd.buyers = crowd.buyers.min(2 * orders);
            crowd.arrivals = Some(ARRIVALS_WITH_FAULT);
            crowd.within = ARRIVALS_WITH_FAULT + RUN_WITHIN;
        }
        let goal = orders.min(crowd.buyers).unsigned_abs();
        let stop = Arc::clone(&self.options.stop);
        let progress = Arc::new(Progress { stop, ..Progress::default() });
        let slow_before = system.slow_chunks();
        let crowd = tokio::spawn(driver::send(crowd, target, addrs, Arc::clone(&progress)));
        let injected = fault::inject(self.fault, seed, goal, &progress, system).await;
        // Even if the injection failed, wait until all buyers have ended. Otherwise these buyers
        // would disturb the next run.
        let answers = crowd.await??;
        let is_slow = system.slow_chunks() > slow_before;
        let applies = injected? && (self.fault != Fault::Slow || is_slow);
        ensure!(!self.is_stopped(), "the run was interrupted");
        Ok((RunKey { level, seed, fault: self.fault, applies }, answers))
    }

    fn check_answers(
        &self,
        (run, answers): (RunKey, driver::Answers),
        orders: &[Order],
    ) -> Result<RunResult> {
        let stock = self.options.stock;
        let findings = checker::check_answers(stock, &answers.records, orders);
        Ok(RunResult::new(self.entry, &run, stock, &answers, findings))
    }
}

fn fail_all(runs: impl Iterator<Item = LevelAndSeed>, error: &Error, done: &mut Outcomes<'_>) {
    runs.for_each(|run| done(run, Err(anyhow!("{error:#}"))));
}

async fn drain(addrs: &[SocketAddr]) {
    for &addr in addrs {
        // If a worker does not finish in time, its orders are missing, and the checker reports
        // this.
        wait_until(DRAIN_WITHIN, async || {
            http::send_request(addr, "GET", "/waiting", "", "")
                .is_ok_and(|reply| reply.status == 200 && reply.body == "0")
        })
        .await;
    }
}
