//! `lab run`: runs every strategy at every level with every fault, one after another.

mod estimate;
mod one_strategy;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::contract::StrategyEntry;
use crate::fault::Fault;
use crate::result::{Machine, RunFailure, RunReport};
use crate::servers::{Servers, WorkDir};
use estimate::Estimate;
use one_strategy::OneStrategy;

/// The options of the runs.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The program to run as the workers and as the product. The caller passes the path of its own
    /// program.
    pub program: PathBuf,
    /// The ids of the strategies.
    pub strategies: Vec<&'static str>,
    /// Buyers of each run.
    pub buyers: i64,
    /// Units on sale.
    pub stock: i64,
    /// Units that each buyer requests.
    pub units: i64,
    /// The levels of the runs. A level is the largest number of buyers who try to buy at the same
    /// time.
    pub levels: Vec<usize>,
    /// The faults.
    pub faults: Vec<Fault>,
    /// The first seed. A seed determines the sequence of the buyers and the times of the faults.
    pub seed: u64,
    /// The number of seeds. Every run is repeated with each seed: `seed`, `seed + 1`, and so on.
    pub seeds: u32,
    /// The command that repeats the run.
    pub command: String,
    /// The caller sets this flag to stop the runs. The report then contains the runs that ended
    /// before the stop.
    pub stop: Arc<AtomicBool>,
}

/// The progress of the runs, for a progress bar.
#[derive(Debug, Clone, Copy)]
pub struct RunProgress<'a> {
    /// The number of finished runs.
    pub runs: usize,
    /// The number of all runs.
    pub of: usize,
    /// The estimated time that the remaining runs take.
    pub left: Duration,
    /// The latest run and its verdict or error.
    pub latest: &'a str,
}

/// Runs every strategy at every level with every fault. If a run fails, the next runs still take
/// place. The servers stop when the calling thread ends.
pub fn run(options: &RunOptions, mut done: impl FnMut(RunProgress<'_>)) -> Result<RunReport> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let begun = Instant::now();
    let work_dir = WorkDir::create()?;
    let mut servers = Servers::start(&work_dir)?;
    let machine = Machine::read(servers.versions()?);
    let settings = servers.settings()?;
    let entries: Vec<&StrategyEntry> =
        options.strategies.iter().filter_map(|id| crate::registry::find(id)).collect();
    let mut estimate = Estimate::new(options, entries.len());
    let of = estimate.runs_left();
    let (mut results, mut failures, mut ended) = (Vec::with_capacity(of), Vec::new(), 0);
    let mut is_incomplete = false;
    for entry in entries {
        for &fault in &options.faults {
            let one = OneStrategy { options, entry, fault };
            runtime.block_on(one.run_levels(&mut servers, &mut |(level, seed), outcome| {
                estimate.count(level, fault);
                ended += 1;
                let mut fail = |error| {
                    let strategy = entry.id.to_owned();
                    failures.push(RunFailure { strategy, level, faults: fault, seed, error });
                };
                let latest = match outcome {
                    Ok(result) => {
                        if let Some(error) = &result.without_http_error {
                            fail(format!("without HTTP: {error}"));
                        }
                        is_incomplete |= one.lacks_run_without_http(&result);
                        let latest = result.verdict_text();
                        results.push(result);
                        latest
                    }
                    Err(error) => {
                        fail(format!("{error:#}"));
                        format!("failed: {error:#}")
                    }
                };
                done(RunProgress {
                    runs: ended,
                    of,
                    left: estimate.left(),
                    latest: &format!("{} at {level}: {latest}", entry.id),
                });
            }));
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
        settings,
        seconds: begun.elapsed().as_secs_f64().round(),
        interrupted: ended < of || is_incomplete,
        results,
        failures,
    })
}

#[cfg(test)]
mod tests;
