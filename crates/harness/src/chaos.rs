//! Chaos tests: buyers load a complete installation on this machine, and the harness injects a
//! fault during the load.
//!
//! Each round sells one item to many buyers, and injects one fault during the sale. The moment of
//! the fault depends on the seed. After the load, all buyers repeat their requests, and further
//! buyers buy the remaining units. A round passes if all of the following is true:
//!
//! - Every buyer received a verdict, and the store keeps every promise that a buyer received.
//! - Every buyer who had an order received the same order for the repeated request.
//! - The item is not oversold, and every unit is sold at the end.
//! - At each check of the stock, every unit was in exactly one state.

mod fault;
mod inject;
mod limits;
mod repeats;
mod restore;
mod round;
mod round_state;
mod spread_changer;
mod stock_watcher;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;

pub use fault::Fault;

use crate::cluster::{Cluster, ClusterError, ClusterPlan, Shape};
use limits::FINDINGS_SHOWN;

/// The chaos rounds to run.
#[derive(Debug, Clone)]
pub struct ChaosPlan {
    /// The program that nodes run.
    pub program: PathBuf,
    /// The directory for all data. The caller removes it.
    pub dir: PathBuf,
    /// The deployment shape of the nodes.
    pub shape: Shape,
    /// The number of rounds. If several faults are selected, the rounds use them in turn.
    pub rounds: u64,
    /// The seed of all random choices.
    pub seed: u64,
    /// The faults to inject. If the list is empty, the harness injects every fault that the shape
    /// supports.
    pub faults: Vec<Fault>,
    /// The number of buyers in a round.
    pub buyers: u32,
    /// Another build of the program, for the fault `node-roll`. At each restart in such a round, a
    /// node switches between `program` and this build.
    pub next: Option<PathBuf>,
    /// The roles of each node. If the list is empty, there are two nodes with all roles.
    pub roles: Vec<String>,
    /// The number of nodes. If `roles` has more entries, there is one node for each entry.
    pub nodes: usize,
    /// The number of edges in front of the nodes. Only shape `cluster` can have edges.
    pub edges: usize,
    /// If true, the harness repeatedly changes the item's spread during the load, for example the
    /// number of partitions. Used only in shape `cluster`.
    pub respread: bool,
}

impl ChaosPlan {
    /// Returns a plan with default sizes and one round for each fault that the shape supports.
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
            nodes: 2,
            edges: 0,
            respread: false,
        }
    }
}

/// The result of one round.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoundReport {
    /// The number of the round, from 0.
    pub number: u64,
    /// The injected fault.
    pub fault: Fault,
    /// What the fault did in this round, for example which server was killed and for how long.
    pub fault_detail: String,
    /// The number of buyers in the load run.
    pub buyers: u32,
    /// The number of the item's partitions when the load run begins.
    pub partitions: u32,
    /// The number of final answers of the load run, for each kind of answer, for example
    /// `sold_out`.
    pub answers: BTreeMap<String, u64>,
    /// How many requests of the load run were repeated after status `429` or `5xx`.
    pub retries: u64,
    /// How many requests of the load run were refused as sold out, although enough units were free
    /// after the run. The server may refuse such a request only after the longest wait. So without
    /// a fault, the number must be 0.
    pub early_refusals: u64,
    /// The number of units on sale.
    pub stock: u64,
    /// The number of units sold at the end.
    pub sold: u64,
    /// How many times a grant was closed because its slot had failed.
    pub repairs: u64,
    /// The number of checks of the stock.
    pub polls: u64,
    /// The number of changes of the spread during the load run.
    pub spread_changes: u64,
    /// The time that the round took.
    pub duration: Duration,
    /// What was wrong in the round. If the list is empty, the round passed.
    pub findings: Vec<String>,
}

impl RoundReport {
    fn new(number: u64, fault: Fault, buyers: u32, stock: u64) -> Self {
        Self { number, fault, buyers, stock, partitions: 1, ..Self::default() }
    }

    /// Returns whether the round passed.
    pub fn ok(&self) -> bool {
        self.findings.is_empty()
    }

    /// Formats the round as one line, and each finding as a further line.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "round {:>3} {:<20} {} ({}; {} partitions, {} changes of the spread; {} of {} \
             sold; {} retries, {} early refusals, {} stock checks, {} slots replaced; {:.1} s): {}",
            self.number,
            self.fault.name(),
            if self.ok() { "ok" } else { "FAILED" },
            self.fault_detail,
            self.partitions,
            self.spread_changes,
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

/// Starts a new installation, runs the rounds on it, and calls `report_round` after each round.
/// Fails if the harness cannot continue, for example because a server does not recover.
pub fn run(
    plan: &ChaosPlan,
    mut report_round: impl FnMut(&RoundReport),
) -> Result<Vec<RoundReport>, ClusterError> {
    let faults =
        if plan.faults.is_empty() { Fault::all_for(plan.shape) } else { plan.faults.clone() };
    let mut built = ClusterPlan::new(&plan.program, &plan.dir, plan.shape);
    (built.proxies, built.clocks) = (true, true);
    (built.next, built.roles) = (plan.next.clone(), plan.roles.clone());
    built.nodes = plan.nodes.max(built.roles.len());
    built.edges = plan.edges;
    built.standby = faults.iter().any(|fault| fault.needs_standby());
    built.full_disk = faults.contains(&Fault::PostgresDiskFull);
    let mut cluster = Cluster::start(&built)?;
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        // Each round has its own random generator, so a person can repeat a single round with the
        // same choices.
        let mut rng = SmallRng::seed_from_u64(plan.seed.wrapping_add(number));
        // The index is smaller than the number of faults, so it fits a `usize`.
        let fault = faults[(number % faults.len() as u64) as usize];
        let round =
            round::run_round(&mut cluster, number, fault, plan, &mut rng).map_err(|error| {
                ClusterError::failed(format!("round {number}, {}", fault.name()), error)
            })?;
        report_round(&round);
        if fault.ends_standby() {
            cluster.renew_standby()?;
        }
        rounds.push(round);
    }
    cluster.stop()?;
    Ok(rounds)
}

/// Returns the summary table. It has one row for each fault: the number of rounds with this fault,
/// and the sums over these rounds.
pub fn summary_table(rounds: &[RoundReport]) -> String {
    let mut rows: BTreeMap<Fault, Vec<&RoundReport>> = BTreeMap::new();
    for round in rounds {
        rows.entry(round.fault).or_default().push(round);
    }
    let mut text = format!(
        "{:<21}{:>7}{:>9}{:>9}{:>8}{:>8}{:>9}{:>7}\n",
        "fault", "rounds", "buyers", "sold", "early", "slots", "checks", "failed"
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
