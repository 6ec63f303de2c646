//! Removes each rule of the protocol in turn. The checker must then have a finding. If there is no
//! finding, the simulation does not test the rule, or the protocol does not need the rule.
use doorbuster_core::rules::{Rule, remove};

use crate::checker::Finding;
use crate::op::Case;
use crate::profile;
use crate::reproduction::{Reproduction, directed_dir};
use crate::run::{FailingSeed, SimPlan, run, run_case};
use crate::shrink::shrink;

/// The results of the runs from which one rule was removed.
#[derive(Clone, Debug)]
pub struct MutantResult {
    /// The rule.
    pub rule: Rule,
    /// How many seeds were run until the first finding, including the seed with the finding. `None`
    /// if no seed has a finding.
    pub seeds: Option<u64>,
    /// The first finding.
    pub broken: Option<FailingSeed>,
    /// The finding of the rule's directed list: the list of operations in the directory `directed`
    /// that has the rule's name. `None` if there is no such list, or if it has no finding.
    pub directed: Option<Finding>,
}

impl MutantResult {
    /// Returns whether the simulator noticed that the rule is missing: with a seed, or with the
    /// rule's directed list.
    #[must_use]
    pub fn is_noticed(&self) -> bool {
        self.seeds.is_some() || self.directed.is_some()
    }
}

/// Removes each of these rules in turn. For each rule, runs the plan's seeds until the first
/// finding. After that, runs the rule's directed list.
///
/// # Errors
/// Fails if the directed lists cannot be read.
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

/// Returns a short list of operations that produces a finding if the rule is removed. The list is
/// shortened from the operations of a seed that produces such a finding.
#[must_use]
pub fn directed_list(rule: Rule, broken: &FailingSeed) -> Reproduction {
    shortest(broken, Some(rule))
}

/// Returns a short list of operations that breaks the same promise as the operations of the seed.
/// If `without` is given, the list breaks the promise only if this rule is removed.
#[must_use]
pub fn shortest(broken: &FailingSeed, without: Option<Rule>) -> Reproduction {
    let run = |case: &Case| {
        remove(without);
        let finding = run_case(case);
        remove(None);
        // If the list has a finding with all rules in force, the removal of the rule is not the
        // cause.
        finding.filter(|_| without.is_none() || run_case(case).is_none())
    };
    let (case, finding) = shrink(&profile::case(broken.seed), broken.finding.clone(), run);
    Reproduction::new(case, &finding, without)
}
