//! `lab run`: runs every strategy at every level with every fault, one after another.

mod estimate;
mod machine;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use doorbuster_harness::cluster::http;

use crate::backends::Backends;
use crate::checker;
use crate::contract::{Order, Strategy, StrategyEntry, StrategyKind};
use crate::direct;
use crate::driver::{self, BuyerLoad, Progress, Target};
use crate::fault::{self, Fault};
use crate::limits::{ARRIVALS_WITH_FAULT, DRAIN_WITHIN, RUN_WITHIN};
use crate::product::{Product, Shape};
use crate::result::{Machine, RunReport, RunResult, WithoutHttp};
use crate::servers::{RedisReturn, Servers, WorkDir, Workers, wait_until};
use estimate::Estimate;

/// The options of the runs.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The program to run as the workers and as the product. The caller gives the path of this
    /// program itself.
    pub program: PathBuf,
    /// The ids of the strategies.
    pub strategies: Vec<&'static str>,
    /// Buyers of each run.
    pub buyers: i64,
    /// Units on sale.
    pub stock: i64,
    /// Units that each buyer requests.
    pub units: i64,
    /// The levels: how many buyers send requests at the same time.
    pub levels: Vec<usize>,
    /// The faults.
    pub faults: Vec<Fault>,
    /// The seed, which decides the order of the buyers and the times of the faults.
    pub seed: u64,
    /// Each run is repeated with this many seeds, from `seed` on.
    pub seeds: u32,
    /// The command that repeats the run.
    pub command: String,
}

/// The progress of the runs, for a progress bar.
#[derive(Debug, Clone, Copy)]
pub struct RunProgress<'a> {
    /// The number of finished runs.
    pub runs: usize,
    /// The number of all runs.
    pub of: usize,
    /// The estimated time of the remaining runs.
    pub left: Duration,
    /// The latest result.
    pub latest: &'a RunResult,
}

/// The system that a fault breaks.
pub enum System<'a> {
    /// Workers in front of the shared servers.
    Workers(&'a mut Workers, &'a mut Servers),
    /// An installation of the product.
    Product(&'a mut Product),
}

impl System<'_> {
    /// Kills a process that takes units and starts it again.
    pub async fn crash(&mut self, number: usize) -> Result<()> {
        match self {
            Self::Workers(workers, _) => workers.restart(number),
            Self::Product(product) => product.restart(number),
        }
    }

    /// Writes a snapshot of Redis.
    pub fn save_redis(&self) -> Result<()> {
        match self {
            Self::Workers(_, servers) => servers.save_redis(),
            Self::Product(product) => product.save_redis(),
        }
    }

    /// Kills Redis and starts it again.
    pub fn restart_redis(&mut self, how: RedisReturn) -> Result<()> {
        match self {
            Self::Workers(_, servers) => servers.restart_redis(how),
            Self::Product(product) => product.restart_redis(how),
        }
    }
}

/// Runs everything. The servers end with the calling thread.
pub fn run(options: &RunOptions, mut done: impl FnMut(RunProgress<'_>)) -> Result<RunReport> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let begun = Instant::now();
    let work_dir = WorkDir::create()?;
    let mut servers = Servers::start(&work_dir)?;
    let machine = Machine::read(servers.versions()?);
    let entries: Vec<&StrategyEntry> =
        options.strategies.iter().filter_map(|id| crate::registry::find(id)).collect();
    let mut estimate = Estimate::new(options, entries.len());
    let of = estimate.runs_left();
    let mut results = Vec::with_capacity(of);
    for entry in entries {
        for &fault in &options.faults {
            let one = OneStrategy { options, entry, fault };
            runtime.block_on(one.run_levels(&mut servers, |result| {
                estimate.count(&result);
                results.push(result);
                let latest = results.last().expect("one was added");
                done(RunProgress { runs: results.len(), of, left: estimate.left(), latest });
            }))?;
        }
    }
    Ok(RunReport {
        machine,
        seed: options.seed,
        command: options.command.clone(),
        buyers: options.buyers,
        stock: options.stock,
        units: options.units,
        levels: options.levels.clone(),
        settings: servers.settings()?,
        seconds: begun.elapsed().as_secs_f64().round(),
        results,
    })
}

/// One strategy with one fault.
struct OneStrategy<'a> {
    options: &'a RunOptions,
    entry: &'a StrategyEntry,
    fault: Fault,
}

impl OneStrategy<'_> {
    /// Returns every pair of level and seed.
    fn runs(&self) -> Vec<(usize, u64)> {
        let seeds = self.options.seed..self.options.seed + u64::from(self.options.seeds);
        let levels = self.options.levels.iter();
        levels.flat_map(|&level| seeds.clone().map(move |seed| (level, seed))).collect()
    }

    async fn run_levels(
        &self,
        servers: &mut Servers,
        mut done: impl FnMut(RunResult),
    ) -> Result<()> {
        match self.entry.kind {
            StrategyKind::Worker(make) => {
                for (level, seed) in self.runs() {
                    done(self.run_workers(servers, make, (level, seed)).await?);
                }
            }
            StrategyKind::Product(shape) => {
                let slow = self.fault == Fault::Slow;
                let mut product = Product::start(&self.options.program, shape, slow).await?;
                if shape == Shape::Embedded && self.fault == Fault::None {
                    return self.run_with_and_without_http(product, done).await;
                }
                for (level, seed) in self.runs() {
                    done(self.run_product(&mut product, (level, seed)).await?);
                }
                product.stop()?;
            }
        }
        Ok(())
    }

    /// Runs the embedded shape over HTTP, and then the same buyers without HTTP.
    async fn run_with_and_without_http(
        &self,
        mut product: Product,
        mut done: impl FnMut(RunResult),
    ) -> Result<()> {
        let (stock, units) = (self.options.stock, self.options.units);
        let mut results = Vec::new();
        for run in self.runs() {
            let result = self.run_product(&mut product, run).await?;
            results.push((run, product.open_sale(stock, units)?, result));
        }
        product.stop_servers()?;
        for ((level, seed), target, mut result) in results {
            let Target::Product { sale, .. } = &target else { continue };
            let crowd = (self.options.buyers, units, level, seed);
            let answers = direct::measure(&product, sale, crowd).await?;
            let findings =
                checker::check_answers(stock, &answers.records, &product.orders(&target)?);
            result.without_http = Some(WithoutHttp::new(&answers, &findings));
            done(result);
        }
        Ok(())
    }

    async fn run_workers(
        &self,
        servers: &mut Servers,
        make: fn(&Backends) -> Box<dyn Strategy>,
        run: (usize, u64),
    ) -> Result<RunResult> {
        let backends = Backends::new(&servers.addresses(false, 2))?;
        backends.empty().await?;
        make(&backends).prepare(self.options.stock).await?;
        let slow = self.fault == Fault::Slow;
        let id = self.entry.id;
        let mut workers = Workers::start(&self.options.program, id, servers, (slow, run.0))?;
        let addrs = workers.addrs();
        let mut system = System::Workers(&mut workers, servers);
        let answers = self.sell(run, Target::Workers, addrs.clone(), &mut system).await?;
        drain(&addrs).await;
        drop(workers);
        // Open new connections, because Redis may have been restarted.
        let strategy = make(&Backends::new(&servers.addresses(false, 2))?);
        Ok(self.check_answers(run, &answers, &strategy.orders().await?))
    }

    async fn run_product(&self, product: &mut Product, run: (usize, u64)) -> Result<RunResult> {
        let target = product.open_sale(self.options.stock, self.options.units)?;
        let addrs = product.addrs();
        let mut system = System::Product(product);
        let answers = self.sell(run, target.clone(), addrs, &mut system).await?;
        Ok(self.check_answers(run, &answers, &product.orders(&target)?))
    }

    /// Sends the buyers, and injects the fault.
    async fn sell(
        &self,
        (level, seed): (usize, u64),
        target: Target,
        addrs: Vec<SocketAddr>,
        system: &mut System<'_>,
    ) -> Result<driver::Answers> {
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
            // The run has twice as many buyers as can get units. These buyers arrive over a longer
            // time, so that the fault happens during the sale.
            crowd.buyers = crowd.buyers.min(2 * orders);
            crowd.arrivals = Some(ARRIVALS_WITH_FAULT);
            crowd.within = ARRIVALS_WITH_FAULT + RUN_WITHIN;
        }
        let goal = orders.min(crowd.buyers).unsigned_abs();
        let progress = Arc::new(Progress::default());
        let crowd = tokio::spawn(driver::send(crowd, target, addrs, Arc::clone(&progress)));
        fault::inject(self.fault, seed, goal, &progress, system).await?;
        crowd.await?
    }

    fn check_answers(
        &self,
        (level, seed): (usize, u64),
        answers: &driver::Answers,
        orders: &[Order],
    ) -> RunResult {
        let stock = self.options.stock;
        let findings = checker::check_answers(stock, &answers.records, orders);
        RunResult::new(self.entry, (level, self.fault, seed), stock, answers, findings)
    }
}

/// Waits until no accepted request waits for a worker's background work.
async fn drain(addrs: &[SocketAddr]) {
    for &addr in addrs {
        // If a worker does not finish in time, orders are missing, and the checker finds that.
        wait_until(DRAIN_WITHIN, async || {
            http::send_request(addr, "GET", "/waiting", "", "")
                .is_ok_and(|reply| reply.status == 200 && reply.body == "0")
        })
        .await;
    }
}
