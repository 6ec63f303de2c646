//! Tests that the complete search of a small sale finds no fault, covers the important cases, and
//! detects the removal of rules. `cargo xtask sim --explore` searches with more faults.
use doorbuster_core::rules::{Rule, remove};
use doorbuster_sim::explore::{Exploration, SmallSale, explore};
use doorbuster_sim::run::run_case;

fn search(sale: &SmallSale, without: Option<Rule>) -> Exploration {
    explore(sale, without, 2)
}

#[test]
fn no_order_of_messages_and_no_fault_breaks_the_sale_of_the_last_unit() {
    let last_unit = SmallSale::last_unit;
    let all = [last_unit(1, 0), last_unit(0, 1), last_unit(0, 0).with_repeat()];
    let mut states = 0;
    for sale in all {
        let result = search(&sale, None);
        assert!(result.broken.is_none(), "{:?}", result.broken);
        for what in ["answered order", "answered queued", "parked"] {
            let reached = &result.reached;
            assert!(
                reached.contains_key(what),
                "the case {what} never happened; these cases happened: {reached:?}"
            );
        }
        states += result.states;
    }
    assert!(states > 50_000, "the search visited only {states} states");
}

#[test]
fn the_search_detects_the_removal_of_rules_and_its_list_shows_it_again() {
    let (small, faulty) = (SmallSale::last_unit(0, 0), SmallSale::last_unit(1, 0));
    for (rule, sale) in [(Rule::SlotEnough, &small), (Rule::TicketOnce, &faulty)] {
        let found = search(sale, Some(rule)).broken;
        let (case, finding) = found.unwrap_or_else(|| {
            panic!("the search has no finding without the rule {}", rule.name())
        });
        remove(Some(rule));
        let again = run_case(&case);
        remove(None);
        assert_eq!(again.map(|again| again.what), Some(finding.what), "{}", rule.name());
        assert_eq!(
            run_case(&case),
            None,
            "the operations have a finding even with the rule {}",
            rule.name()
        );
    }
}
