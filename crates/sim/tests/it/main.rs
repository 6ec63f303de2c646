//! Runs the simulation as a test. No seed may have a finding, some seed or list must detect the
//! removal of each rule, and faults that were fixed must stay fixed.
mod explore;
mod order;

use std::collections::BTreeSet;

use doorbuster_core::rules::Rule;
use doorbuster_sim::reproduction::{Reproduction, directed_dir, regressions_dir};
use doorbuster_sim::run::{FailingSeed, SimPlan, run, run_case, run_seed};
use doorbuster_sim::{mutants, op, profile};

/// The number of seeds to run, if `DOORBUSTER_SIM_SEEDS` is not set.
const SEEDS: u64 = 20_000;
/// The test removes each rule in turn, and runs this many seeds without the rule. For most rules,
/// at least one of these seeds has a finding.
const MUTANT_SEEDS: u64 = 5_000;
/// For more than half of the rules, this smaller number of seeds is enough for a finding.
const SOON_SEEDS: u64 = 2_000;
/// The largest number of rules whose removal none of the [`MUTANT_SEEDS`] seeds detects. But the
/// directed list of such a rule detects it.
const RARE_MAX: usize = 10;

/// The cases that the seeds must cover. A case that never happens is not tested.
const REACHED: &[&str] = &[
    "a lower total lacked units in the pool",
    "a node left the pool to others",
    "answered ended",
    "answered key_reused",
    "answered limit_reached by an earlier count",
    "answered limit_reached",
    "answered not_started",
    "answered order",
    "answered paused",
    "answered queued",
    "answered retry",
    "answered sold_out after parking",
    "answered sold_out",
    "answered sold_out, may return",
    "answered waiting",
    "asked again",
    "came back",
    "cancelled",
    "checkout closed",
    "checkout handed out",
    "dead letter",
    "ended with its sale",
    "ended",
    "epoch_foreign",
    "epoch_missing",
    "event delivered",
    "failover lost commits",
    "expired without a query",
    "expired without an answer of the provider",
    "expired",
    "extended",
    "flipped",
    "in the waitlist already",
    "item.sold_out",
    "joined a waitlist again",
    "joined a waitlist",
    "lease found lapsed",
    "lease_lapsed",
    "left the registry",
    "left the spread",
    "left",
    "narrowed",
    "node died",
    "number_behind",
    "number_reused",
    "order.cancelled",
    "order.expired",
    "order.extended",
    "order.paid",
    "order.refunded",
    "order.refused",
    "order.reserved",
    "over_granted",
    "paid at a checkout",
    "paid",
    "parked",
    "passed_over",
    "payment applied again",
    "payment for no order",
    "payment in time",
    "payment late, paid",
    "payment late, refunded",
    "payment mismatched",
    "payment repeated",
    "payment second",
    "payment waits for units",
    "payment.refunded",
    "poison",
    "provider did not answer",
    "quiet_mismatch",
    "recalled for a late payment",
    "recalled for a slot",
    "recalled",
    "refilled beside a waitlist",
    "refilled",
    "refund answered late",
    "refund given up",
    "refunded",
    "reversal ended",
    "reversal is the server's own refund",
    "reversal known",
    "reversal recorded",
    "reversal without a payment",
    "rolled",
    "sale opened",
    "second try",
    "sent back",
    "shared with a new slot",
    "served before without a payment",
    "served",
    "units free, no waitlist",
    "verdict key_reused",
    "verdict limit_reached",
    "verdict order",
    "verdict reserved",
    "verdict unavailable",
    "waitlist full",
    "waitlist with an entry for each unit that may return",
    "widened",
];

fn plan(seeds: u64) -> SimPlan {
    SimPlan { first_seed: 0, seeds, threads: 2, without: None, stop_at_first: false }
}

fn wanted_seeds() -> u64 {
    let setting = std::env::var("DOORBUSTER_SIM_SEEDS").ok();
    setting.map_or(SEEDS, |text| text.parse().expect("DOORBUSTER_SIM_SEEDS is a number of seeds"))
}

#[test]
fn seeds_have_no_finding_and_cover_every_case() {
    let report = run(plan(wanted_seeds()));
    assert_eq!(report.seeds, wanted_seeds());
    let found: Vec<_> = report.broken.iter().take(3).collect();
    assert!(found.is_empty(), "{} seeds have findings, such as {found:#?}", report.broken.len());
    let missed: Vec<_> =
        REACHED.iter().filter(|what| !report.reached.contains_key(**what)).collect();
    assert!(missed.is_empty() || wanted_seeds() < SEEDS, "no seed covers these cases: {missed:?}");
}

#[test]
fn every_kind_of_operation_is_drawn() {
    // All kinds of operations. Each kind must occur in some profile, because otherwise no seed
    // tests this kind.
    const KINDS: &str = "Buy Replay HandOut Get Poll Retry Cancel Pay Refund Expire Deliver \
        DeliverMany Lose Delay Late Repeat Take Redeliver Poison Open Refill Feed Look Recall \
        RecallAgain Round Adjust Pause Resume Close Drain TakeDueStep MoveStart Roll Respread \
        Snapshot Tick Step Skew CrashNode Die Rise Beat Leases CrashLeader Lapse Forget Save Swap \
        Checkout PayAt Charge TellAgain EndWait Provider Reconcile AskRefund RefundArrives \
        Reverse RetryRefund Extend Wait Tell Endpoint CrashTeller Waitlist StandbyStops FailOver \
        PauseAfterFailover";
    let kind =
        |op: &op::Op| format!("{op:?}").split([' ', '(']).next().unwrap_or_default().to_owned();
    let drawn: BTreeSet<String> = (0..2_000)
        .flat_map(|seed| profile::case(seed).ops.iter().map(kind).collect::<Vec<_>>())
        .collect();
    assert_eq!(drawn, KINDS.split_whitespace().map(str::to_owned).collect());
}

#[test]
fn the_removal_of_each_rule_is_detected() {
    let all =
        mutants::run_mutants(Rule::ALL, plan(MUTANT_SEEDS)).expect("directed lists can be read");
    assert!(Rule::ALL.len() >= 151);
    let missed: Vec<_> = all.iter().filter(|k| !k.is_noticed()).map(|k| k.rule).collect();
    assert!(missed.is_empty(), "the removal of these rules was not detected: {missed:?}");
    let soon = all.iter().filter(|k| k.seeds.is_some_and(|seeds| seeds <= SOON_SEEDS)).count();
    assert!(
        soon * 2 > all.len(),
        "the first {SOON_SEEDS} seeds detect only {soon} of {} rules",
        all.len()
    );
    let rare: Vec<_> = all.iter().filter(|k| k.seeds.is_none()).map(|k| k.rule).collect();
    assert!(rare.len() <= RARE_MAX, "the seeds do not detect the removal of these rules: {rare:?}");
}

#[test]
fn directed_lists_have_a_finding_only_without_their_rule() {
    let lists = Reproduction::all(&directed_dir()).expect("directed lists can be read");
    let names: BTreeSet<_> = lists.iter().map(|(name, _)| name.as_str()).collect();
    let rules: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(names, rules, "each rule must have one directed list");
    for (name, list) in &lists {
        assert_eq!(list.rule.as_ref(), Some(name));
        let rule = list.without().expect("its rule exists");
        assert!(list.run(rule).is_some(), "the list {name} has no finding without its rule");
        assert_eq!(list.run(None), None, "the list {name} has a finding with every rule in force");
    }
}

#[test]
fn regressions_stay_fixed() {
    for (name, list) in Reproduction::all(&regressions_dir()).expect("regressions can be read") {
        assert_eq!(list.run(None), None, "{name}");
        if let Some(rule) = list.without().expect("its rule exists") {
            assert!(
                list.run(Some(rule)).is_some(),
                "the list {name} has no finding without the rule {}",
                rule.name()
            );
        }
    }
}

/// Without the rule `EvidenceOrder`, the rule's directed list closes a grant of slot 2, although
/// slot 2 had no fault. The checker must not excuse this finding because slot 0 or 1 has a fault.
/// If slot 2 itself has a fault, the checker excuses the finding.
#[test]
fn a_fault_of_one_slot_excuses_no_grant_of_another_slot() {
    let lists = Reproduction::all(&directed_dir()).expect("directed lists can be read");
    let rule = Rule::EvidenceOrder;
    let list = lists.into_iter().find(|(name, _)| name == rule.name());
    let (_, list) = list.expect("each rule has a directed list");
    for (slot, what) in [(0, Some("I7")), (1, Some("I7")), (2, None)] {
        let mut list = list.clone();
        list.ops.insert(0, op::Op::Forget { slot });
        assert_eq!(list.run(Some(rule)).map(|found| found.what), what, "slot {slot} fails");
    }
}

#[test]
fn a_seed_always_gives_the_same_list_and_the_same_run() {
    assert_eq!(profile::case(17), profile::case(17));
    let once = SimPlan { threads: 1, ..plan(200) };
    assert_eq!(run(once).reached, run(plan(200)).reached);
    assert_eq!(run_seed(17), run_case(&profile::case(17)));
}

#[test]
fn a_finding_is_shrunk_to_a_short_list_that_can_be_stored_and_read() {
    let rule = Rule::GrantOpen;
    let broken =
        run(SimPlan { without: Some(rule), stop_at_first: true, threads: 1, ..plan(MUTANT_SEEDS) })
            .broken;
    let broken: &FailingSeed = broken.first().expect("detected within a few seeds");
    let shortest = mutants::shortest(broken, Some(rule));
    assert!(shortest.ops.len() < 20, "{} operations", shortest.ops.len());
    assert!(shortest.found.starts_with(broken.finding.what));
    let parsed =
        serde_json::from_str::<Reproduction>(&shortest.text()).expect("a list can be parsed");
    assert_eq!(parsed, shortest);
}
