//! `cargo xtask sim`: simulates the protocol with many seeds, and saves the steps that lead to a
//! finding as files. With `--mutants`, each simulation lacks one rule of the protocol, and must
//! find a fault.
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use doorbuster_core::rules::Rule;
use doorbuster_sim::explore::{SmallSale, explore};
use doorbuster_sim::mutants::{MutantResult, directed_list, run_mutants};
use doorbuster_sim::reproduction::{Reproduction, directed_dir, regressions_dir};
use doorbuster_sim::run::{Report, SimPlan};

/// One run saves at most this many findings. Before a run saves a finding, it searches for a
/// shorter list of steps.
const SAVED_LISTS_MAX: usize = 5;

/// Arguments of `cargo xtask sim`.
#[derive(Args)]
pub struct Arguments {
    /// Number of seeds. With --mutants, the largest number of seeds for each rule.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Number of threads; by default one per core.
    #[arg(long)]
    threads: Option<usize>,
    /// Remove one rule at a time. Each time, the simulation must find a fault.
    #[arg(long)]
    mutants: bool,
    /// The rule to remove. With --mutants, repeat the option to remove several rules, one at a
    /// time. Without --mutants, only the first rule is removed.
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<String>,
    /// With --mutants: for each rule whose removal was detected only with random seeds, save a
    /// short list of steps that also detects the removal.
    #[arg(long, requires = "mutants")]
    keep: bool,
    /// For each case that the simulation counts, print how often it happened per seed.
    #[arg(long)]
    reached: bool,
    /// Also run the steps against the real store and real slots, and compare the results.
    #[arg(long, conflicts_with = "mutants")]
    real: bool,
    /// Instead of random seeds, explore every possible state of a small sale, with at most this
    /// many faults. Two buyers request the only unit of the sale.
    #[arg(long, value_name = "FAULTS", conflicts_with_all = ["mutants", "real", "replay"])]
    explore: Option<u8>,
    /// With --explore: the largest number of steps of background loops, such as retries, before the
    /// last phase. In the last phase, every loop runs until it has no work left.
    #[arg(long, default_value_t = 0, requires = "explore")]
    turns: u8,
    /// With --explore: one buyer sends the request to both nodes.
    #[arg(long, requires = "explore")]
    repeats: bool,
    /// With --explore: a payment for the order and a cancellation of the order may arrive, in any
    /// sequence.
    #[arg(long, requires = "explore")]
    pays: bool,
    /// Run one saved list of steps.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

/// Runs the simulation. Fails if an invariant is violated, or if the removal of a rule was not
/// detected.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let named = |name: &String| {
        let found = Rule::ALL.iter().copied().find(|rule| rule.name() == name);
        found.ok_or_else(|| anyhow!("unknown rule {name}"))
    };
    let rules: Vec<Rule> = arguments.rules.iter().map(named).collect::<Result<_, _>>()?;
    let threads = arguments.threads;
    let threads = threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from));
    if let Some(faults) = arguments.explore {
        let mut sale = SmallSale::last_unit(faults, arguments.turns);
        if arguments.repeats {
            sale = sale.with_repeat();
        }
        if arguments.pays {
            sale = sale.with_payment_and_cancellation();
        }
        return explore_all(&sale, rules.first().copied(), threads);
    }
    let plan = SimPlan {
        first_seed: arguments.first,
        seeds: arguments.seeds,
        threads,
        without: rules.first().copied().filter(|_| !arguments.mutants),
        stop_at_first: false,
    };
    match (&arguments.replay, arguments.mutants) {
        (Some(file), _) => replay(file),
        (None, false) if arguments.real => compare(plan),
        (None, true) => {
            remove_rules(if rules.is_empty() { Rule::ALL } else { &rules }, plan, arguments.keep)
        }
        (None, false) => seeds(plan, arguments.reached),
    }
}

fn explore_all(sale: &SmallSale, without: Option<Rule>, threads: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    let result = explore(sale, without, threads);
    println!(
        "{} states, {} steps, at most {} operations deep, in {:.1} s",
        result.states,
        result.steps,
        result.depth,
        begun.elapsed().as_secs_f64()
    );
    for (what, times) in &result.reached {
        println!("  {what:<28} {times:>12}");
    }
    if let Some((case, finding)) = result.broken {
        bail!("{}", Reproduction::new(case, &finding, without).text());
    }
    println!("no findings");
    Ok(())
}

fn seeds(plan: SimPlan, print_reached: bool) -> anyhow::Result<()> {
    let report = doorbuster_sim::run::run(plan);
    if print_reached {
        for (what, times) in &report.reached {
            println!("{what:<28} {:>9.3} a seed", *times as f64 / report.seeds as f64);
        }
    }
    let (took, rate) = (report.took.as_secs_f64(), report.rate());
    println!(
        "{} seeds from {} in {took:.1} s, {rate:.0}/s on {} threads",
        report.seeds, plan.first_seed, plan.threads
    );
    save_lists(&report, plan.without)?;
    ensure!(report.broken.is_empty(), "{} seeds have findings", report.broken.len());
    println!("no findings");
    Ok(())
}

fn save_lists(report: &Report, without: Option<Rule>) -> anyhow::Result<()> {
    for broken in report.broken.iter().take(SAVED_LISTS_MAX) {
        println!("seed {}: {}: {}", broken.seed, broken.finding.what, broken.finding.detail);
        if without.is_some() {
            continue;
        }
        let list = doorbuster_sim::mutants::shortest(broken, None);
        let path = list
            .store(&regressions_dir(), &format!("seed-{}", broken.seed))
            .context("cannot save a list")?;
        println!("  {} operations: {}\n  saved in {}", list.ops.len(), list.found, path.display());
    }
    Ok(())
}

fn remove_rules(rules: &[Rule], plan: SimPlan, keep: bool) -> anyhow::Result<()> {
    let all = run_mutants(rules, plan)?;
    for result in &all {
        let MutantResult { rule, seeds, broken, directed } = result;
        let seeds = seeds.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let what = broken.as_ref().map_or("", |b| b.finding.what);
        println!(
            "{:<30} {seeds:>8} {what:<14} {}",
            rule.name(),
            if directed.is_some() { "directed" } else { "" }
        );
        if let (true, None, Some(broken)) = (keep, directed, broken) {
            directed_list(*rule, broken)
                .store(&directed_dir(), rule.name())
                .context("cannot save a list")?;
        }
    }
    let missed: Vec<_> = all.iter().filter(|k| !k.is_noticed()).map(|k| k.rule.name()).collect();
    println!("removal detected for {} of {} rules", all.len() - missed.len(), all.len());
    ensure!(
        missed.is_empty(),
        "the simulation did not detect the removal of {}",
        missed.join(", ")
    );
    Ok(())
}

fn compare(plan: SimPlan) -> anyhow::Result<()> {
    let all = doorbuster_sim_backends::compare(plan.first_seed, plan.seeds, plan.threads)
        .map_err(|e| anyhow!(e))?;
    let (lists, took) = (all.lists, all.took.as_secs_f64());
    println!(
        "{lists} lists of steps, {} transactions on SQLite, {} calls to slots in memory, \
         {} comparisons of all rows, in {took:.1} s",
        all.transactions, all.calls, all.dumps
    );
    for (seed, how) in all.differ.iter().take(SAVED_LISTS_MAX) {
        println!("seed {seed}: {how}");
    }
    ensure!(
        all.differ.is_empty(),
        "{} lists of steps had another result in the real store than in the simulation",
        all.differ.len()
    );
    println!("no difference");
    Ok(())
}

fn replay(file: &PathBuf) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let list: Reproduction =
        serde_json::from_str(&text).context("the file is not a saved list of steps")?;
    let rule = list.without().map_err(|name| anyhow!("unknown rule {name}"))?;
    if let Some(rule) = rule {
        let finding = list.run(Some(rule));
        println!(
            "without {}: {}",
            rule.name(),
            finding.map_or("nothing".into(), |f| format!("{}: {}", f.what, f.detail))
        );
    }
    if let Some(finding) = list.run(None) {
        bail!("{}: {}", finding.what, finding.detail);
    }
    println!("with every rule: no finding");
    Ok(())
}
