//! `lab run`: runs every strategy at every level with every fault, one after another.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use crate::backends::Backends;
use crate::checker;
use crate::contract::{Entry, Make, Order, Strategy};
use crate::driver::{self, Crowd, Progress, Target};
use crate::fault::{self, Fault};
use crate::limits::{ARRIVALS_WITH_FAULT, DRAIN_WITHIN, RUN_WITHIN};
use crate::product::Product;
use crate::result::{Machine, RunReport, RunResult};
use crate::servers::{RedisReturn, Servers, WorkDir, Workers, wait_until};

/// The options of the runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The program that the workers and the product run. It is this program.
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
    /// The seed of the order of the buyers and of the times of the faults.
    pub seed: u64,
    /// The command that repeats the run.
    pub command: String,
}

/// The progress of the runs, for a progress bar.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// The number of finished runs.
    pub runs: usize,
    /// The number of all runs.
    pub of: usize,
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
pub fn run(options: &Options, mut done: impl FnMut(Done<'_>)) -> Result<RunReport> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let begun = Instant::now();
    let work_dir = WorkDir::create()?;
    let mut servers = Servers::start(&work_dir)?;
    let machine = Machine::read(servers.versions()?);
    let entries: Vec<&Entry> =
        options.strategies.iter().filter_map(|id| crate::registry::find(id)).collect();
    let of = entries.len() * options.levels.len() * options.faults.len();
    let mut results = Vec::with_capacity(of);
    for entry in entries {
        for &fault in &options.faults {
            let one = OneStrategy { options, entry, fault };
            runtime.block_on(one.run_levels(&mut servers, |result| {
                results.push(result);
                let latest = results.last().expect("one was added");
                done(Done { runs: results.len(), of, latest });
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
        seconds: begun.elapsed().as_secs_f64().round(),
        results,
    })
}

/// One strategy with one fault.
struct OneStrategy<'a> {
    options: &'a Options,
    entry: &'a Entry,
    fault: Fault,
}

impl OneStrategy<'_> {
    async fn run_levels(
        &self,
        servers: &mut Servers,
        mut done: impl FnMut(RunResult),
    ) -> Result<()> {
        match self.entry.make {
            Make::Strategy(make) => {
                for &level in &self.options.levels {
                    done(self.run_workers(servers, make, level).await?);
                }
            }
            Make::Product(shape) => {
                let slow = self.fault == Fault::Slow;
                let mut product = Product::start(&self.options.program, shape, slow).await?;
                for &level in &self.options.levels {
                    done(self.run_product(&mut product, level).await?);
                }
                product.stop()?;
            }
        }
        Ok(())
    }

    async fn run_workers(
        &self,
        servers: &mut Servers,
        make: fn(&Backends) -> Box<dyn Strategy>,
        level: usize,
    ) -> Result<RunResult> {
        make(&Backends::new(&servers.addresses(false, 2))?).prepare(self.options.stock).await?;
        let slow = self.fault == Fault::Slow;
        let id = self.entry.info.id;
        let mut workers = Workers::start(&self.options.program, id, servers, (slow, level))?;
        let addrs = workers.addrs();
        let mut system = System::Workers(&mut workers, servers);
        let answers = self.sell(level, Target::Workers, addrs.clone(), &mut system).await?;
        drain(&addrs).await;
        drop(workers);
        // Open new connections, because Redis may have been restarted.
        let strategy = make(&Backends::new(&servers.addresses(false, 2))?);
        Ok(self.judge(level, &answers, &strategy.orders().await?))
    }

    async fn run_product(&self, product: &mut Product, level: usize) -> Result<RunResult> {
        let target = product.open_sale(self.options.stock, self.options.units)?;
        let addrs = product.addrs();
        let mut system = System::Product(product);
        let answers = self.sell(level, target.clone(), addrs, &mut system).await?;
        Ok(self.judge(level, &answers, &product.orders(&target)?))
    }

    /// Sends the buyers, and injects the fault.
    async fn sell(
        &self,
        level: usize,
        target: Target,
        addrs: Vec<SocketAddr>,
        system: &mut System<'_>,
    ) -> Result<driver::Answers> {
        let orders = (self.options.stock / self.options.units).max(1);
        let mut crowd = Crowd {
            buyers: self.options.buyers,
            units: self.options.units,
            level,
            seed: self.options.seed,
            arrivals: None,
            within: RUN_WITHIN,
        };
        if self.fault != Fault::None {
            // The run has twice as many buyers as can get units. They are spread over time, so that
            // the fault happens during the sale.
            crowd.buyers = crowd.buyers.min(2 * orders);
            crowd.arrivals = Some(ARRIVALS_WITH_FAULT);
            crowd.within = ARRIVALS_WITH_FAULT + RUN_WITHIN;
        }
        let goal = orders.min(crowd.buyers).unsigned_abs();
        let progress = Arc::new(Progress::default());
        let crowd = tokio::spawn(driver::send(crowd, target, addrs, Arc::clone(&progress)));
        fault::inject(self.fault, self.options.seed, goal, &progress, system).await?;
        Ok(crowd.await?)
    }

    fn judge(&self, level: usize, answers: &driver::Answers, orders: &[Order]) -> RunResult {
        let stock = self.options.stock;
        let findings = checker::judge(stock, &answers.records, orders);
        RunResult::new(self.entry, (level, self.fault), stock, answers, findings)
    }
}

/// Waits until no accepted request waits for a worker's background work.
async fn drain(addrs: &[SocketAddr]) {
    for &addr in addrs {
        // If a worker does not finish in time, orders are missing, and the checker finds that.
        wait_until(DRAIN_WITHIN, async || {
            driver::get(addr, "/waiting").await.is_ok_and(|reply| reply == (200, "0".to_owned()))
        })
        .await;
    }
}

impl Machine {
    /// Reads the description of the machine from the system.
    fn read(servers: Vec<String>) -> Self {
        let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 =
            memory.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib / 1024,
            system: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            servers,
        }
    }
}
