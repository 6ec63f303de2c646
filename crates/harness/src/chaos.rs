//! Chaos: storms over a whole installation on this machine while something fails, judged by the
//! independent auditor.
//!
//! Each round sells one item to a crowd through the one address of all nodes, and breaks one thing
//! in the middle, at a random instant, from a seed. Then everybody asks again with the same key,
//! and others buy what is left. What must hold: every buyer heard a verdict, whatever was told is
//! true, nothing is oversold, every unit is sold in the end, and at every look each unit was in
//! exactly one place.

mod fault;
mod inject;
mod limits;
mod round;
mod stock_watcher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

pub use fault::Fault;

use crate::cluster::{Cluster, ClusterError, ClusterPlan, Shape};
use limits::FINDINGS_SHOWN;

/// What to do.
#[derive(Debug, Clone)]
pub struct ChaosPlan {
    /// The program that nodes run.
    pub program: PathBuf,
    /// Where everything is kept; somebody else removes it.
    pub dir: PathBuf,
    /// How the nodes are built.
    pub shape: Shape,
    /// Rounds; with several faults each has its turn.
    pub rounds: u64,
    /// The dice.
    pub seed: u64,
    /// These faults only; empty: all of the shape.
    pub faults: Vec<Fault>,
    /// Buyers of a round.
    pub buyers: u32,
    /// Another build of the program, which nodes change to and fro when they are renewed.
    pub next: Option<PathBuf>,
    /// What each node does; empty: two nodes that do everything.
    pub roles: Vec<String>,
}

impl ChaosPlan {
    /// One round of each fault, of a usual size.
    pub fn new(program: &Path, dir: &Path, shape: Shape) -> Self {
        let (program, dir, faults) = (program.into(), dir.into(), Vec::new());
        let rounds = Fault::all_for(shape).len() as u64;
        Self {
            program,
            dir,
            shape,
            rounds,
            seed: rand::random::<u32>().into(),
            faults,
            buyers: 600,
            next: None,
            roles: Vec::new(),
        }
    }
}

/// One round that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundReport {
    /// Which one, from 0.
    pub number: u64,
    /// What went wrong.
    pub fault: Fault,
    /// What exactly was done.
    pub fault_detail: String,
    /// Buyers of the storm.
    pub buyers: u32,
    /// Partitions of the item.
    pub partitions: u32,
    /// What the buyers of the storm were told in the end, by kind.
    pub answers: BTreeMap<String, u64>,
    /// Requests of the storm that were sent again because the server asked for it.
    pub retries: u64,
    /// Buyers who heard "sold out" although units were left: they had been parked for too long.
    pub early_refusals: u64,
    /// Units on sale.
    pub stock: u64,
    /// Units sold at the end.
    pub sold: u64,
    /// Slots that were begun anew.
    pub repairs: u64,
    /// Looks at the stock.
    pub polls: u64,
    /// From the sale's beginning to its judgement.
    pub duration: Duration,
    /// What is wrong. Nothing may be.
    pub findings: Vec<String>,
}

impl RoundReport {
    fn new(number: u64, fault: Fault, buyers: u32, stock: u64) -> Self {
        Self {
            number,
            fault,
            fault_detail: String::new(),
            buyers,
            partitions: 1,
            answers: BTreeMap::new(),
            retries: 0,
            early_refusals: 0,
            stock,
            sold: 0,
            repairs: 0,
            polls: 0,
            duration: Duration::ZERO,
            findings: Vec::new(),
        }
    }

    /// Whether all is well.
    pub fn ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// One line for a person, and one for each finding.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "round {:>3} {:<20} {} ({}; {} partitions; {} of {} sold; {} retries, {} too early, {} \
             looks, {} slots anew; {:.1} s): {}",
            self.number,
            self.fault.name(),
            if self.ok() { "ok" } else { "WRONG" },
            self.fault_detail,
            self.partitions,
            self.sold,
            self.stock,
            self.retries,
            self.early_refusals,
            self.polls,
            self.repairs,
            self.duration.as_secs_f64(),
            round::format_answers(&self.answers),
        );
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            text += &format!("\n    {finding}");
        }
        if let Some(more) = self.findings.len().checked_sub(FINDINGS_SHOWN).filter(|more| *more > 0)
        {
            text += &format!("\n    and {more} more");
        }
        text
    }
}

/// Starts an installation and holds the rounds; `say` hears of each as it ends. An error: the
/// harness could not go on, which is a failure too, as whoever was broken did not come back.
pub fn run(
    plan: &ChaosPlan,
    mut say: impl FnMut(&RoundReport),
) -> Result<Vec<RoundReport>, ClusterError> {
    let faults =
        if plan.faults.is_empty() { Fault::all_for(plan.shape) } else { plan.faults.clone() };
    let mut built = ClusterPlan::new(&plan.program, &plan.dir, plan.shape);
    (built.proxies, built.clocks) = (true, true);
    (built.next, built.roles) = (plan.next.clone(), plan.roles.clone());
    built.nodes = built.nodes.max(built.roles.len());
    let mut cluster = Cluster::start(&built)?;
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        // Each round has dice of its own, so that one can be held again without those before it.
        let mut rng = SmallRng::seed_from_u64(plan.seed.wrapping_add(number));
        // Sums of two small numbers.
        let fault = faults[(number % faults.len() as u64) as usize];
        let round = round::run_round(&mut cluster, number, fault, plan.buyers, &mut rng).map_err(
            |error| ClusterError::failed(format!("round {number}, {}", fault.name()), error),
        )?;
        say(&round);
        rounds.push(round);
    }
    cluster.stop()?;
    Ok(rounds)
}

/// The table at the end: each fault, how often, what it cost.
pub fn summary_table(rounds: &[RoundReport]) -> String {
    let mut rows: BTreeMap<Fault, Vec<&RoundReport>> = BTreeMap::new();
    for round in rounds {
        rows.entry(round.fault).or_default().push(round);
    }
    let mut text = format!(
        "{:<21}{:>7}{:>9}{:>9}{:>8}{:>8}{:>9}{:>7}\n",
        "fault", "rounds", "buyers", "sold", "early", "anew", "looks", "wrong"
    );
    for (fault, rounds) in rows {
        let sum =
            |part: fn(&RoundReport) -> u64| rounds.iter().map(|round| part(round)).sum::<u64>();
        text += &format!(
            "{:<21}{:>7}{:>9}{:>9}{:>8}{:>8}{:>9}{:>7}\n",
            fault.name(),
            rounds.len(),
            sum(|round| round.buyers.into()),
            sum(|round| round.sold),
            sum(|round| round.early_refusals),
            sum(|round| round.repairs),
            sum(|round| round.polls),
            sum(|round| u64::from(!round.ok())),
        );
    }
    text
}
