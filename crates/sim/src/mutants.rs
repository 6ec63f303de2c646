//! Removes each rule of the protocol in turn. A rule whose removal nobody notices is either not
//! simulated or not needed.
use doorbuster_core::rules::{Rule, remove};

use crate::checker::Finding;
use crate::op::Case;
use crate::profile;
use crate::reproduction::{Reproduction, directed_dir};
use crate::run::{BrokenSeed, SimPlan, run, run_case};
use crate::shrink::shrink;

/// What noticed that a rule is gone.
#[derive(Clone, Debug)]
pub struct MutantResult {
    /// The rule.
    pub rule: Rule,
    /// The first seed that noticed, counted from the first that was run; `None`: none did.
    pub seeds: Option<u64>,
    /// What it found.
    pub broken: Option<BrokenSeed>,
    /// What the rule's directed list found; `None`: there is none, or it found nothing.
    pub directed: Option<Finding>,
}

impl MutantResult {
    /// Whether anything noticed.
    #[must_use]
    pub fn is_noticed(&self) -> bool {
        self.seeds.is_some() || self.directed.is_some()
    }
}

/// Removes each of these rules in turn and runs seeds until one notices, at most as many as
/// planned, and the rule's directed list.
///
/// # Errors When the directed lists cannot be read.
pub fn run_mutants(rules: &[Rule], plan: SimPlan) -> std::io::Result<Vec<MutantResult>> {
    let directed = Reproduction::all(&directed_dir())?;
    Ok(rules.iter().map(|&rule| run_mutant(rule, plan, &directed)).collect())
}

fn run_mutant(rule: Rule, plan: SimPlan, directed: &[(String, Reproduction)]) -> MutantResult {
    let report = run(SimPlan { without: Some(rule), stop_at_first: true, ..plan });
    let broken = report.broken.into_iter().next();
    let seeds = broken.as_ref().map(|b| b.seed - plan.first_seed + 1);
    let list = directed.iter().find(|(name, _)| name == rule.name());
    let directed = list.and_then(|(_, kept)| kept.run(Some(rule)));
    MutantResult { rule, seeds, broken, directed }
}

/// A short list that notices the removal of a rule, from a seed that does.
#[must_use]
pub fn directed_list(rule: Rule, broken: &BrokenSeed) -> Reproduction {
    shortest(broken, Some(rule))
}

/// A short list that breaks the same promise as a seed did, while this rule is removed (if any).
#[must_use]
pub fn shortest(broken: &BrokenSeed, without: Option<Rule>) -> Reproduction {
    let run = |case: &Case| {
        remove(without);
        let finding = run_case(case);
        remove(None);
        // What is found with every rule in place is another matter.
        finding.filter(|_| without.is_none() || run_case(case).is_none())
    };
    let (case, finding) = shrink(&profile::case(broken.seed), broken.finding.clone(), run);
    Reproduction::new(case, &finding, without)
}
