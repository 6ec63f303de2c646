//! Tests the check of a file of answers. Each answer is a promise to a buyer. The test's store
//! keeps some of these promises, and breaks others.

use super::super::{StoreLocation, run, split_answers};
use super::fixture::{StoreFixture, ticket};
use super::found;

/// Audits a consistent store with the answers `lines`. There must be one finding, of the rule
/// `rule`, with a text that contains `words`. If `rule` is empty, there must be no finding.
#[track_caller]
fn promises(lines: &str, rule: &str, words: &str) {
    promises_in(&StoreFixture::consistent(), lines, rule, words);
}

/// Like [`promises`], with this store.
#[track_caller]
fn promises_in(fixture: &StoreFixture, lines: &str, rule: &str, words: &str) {
    let answers = fixture.answers(lines);
    let report =
        run(&StoreLocation::Sqlite(fixture.path()), Some(&answers)).expect("the audit runs");
    let found = found(&report);
    match rule {
        "" => assert!(found.is_empty(), "{found:#?}"),
        _ => {
            let is_it =
                |(its_rule, detail): &(&str, &str)| *its_rule == rule && detail.contains(words);
            assert!(
                found.len() == 1 && is_it(&found[0]),
                "expected only a finding of rule {rule} with {words:?}: {found:#?}"
            );
        }
    }
    assert_eq!(report.answers_checked, lines.lines().count() as u64);
}

pub(super) fn line(
    buyer: &str,
    units: u32,
    status: u16,
    code: &str,
    id: &str,
    state: &str,
) -> String {
    let word = |text: &str| if text.is_empty() { "null".into() } else { format!("{text:?}") };
    let (code, id, state) = (word(code), word(id), word(state));
    format!(
        "{{\"buyer\":\"{buyer}\",\"key\":\"k-{buyer}\",\"sale\":\"spring\",\"item\":\"phone\",\
         \"units\":{units},\"status\":{status},\"code\":{code},\"id\":{id},\"state\":{state}}}\n"
    )
}

#[test]
fn kept_promises_give_no_finding() {
    promises(&line("ann", 10, 201, "", "<ann>", "reserved"), "", "");
    promises(&line("ann", 10, 200, "", "<12:5>", "reserved"), "", "");
    promises(&line("bob", 10, 201, "", "<bob>", "reserved"), "", "");
    promises(&line("cat", 10, 202, "", "<cat>", "reserved"), "", "");
    promises(&line("dan", 5, 200, "", "<dan>", "expired"), "", "");
    promises(&line("joe", 2, 202, "unavailable", "<12:9>", "refused"), "", "");
    promises(&line("ann", 5, 202, "limit_reached", "<12:2>", "refused"), "", "");
    promises(&line("bob", 1, 202, "idempotency_key_reused", "<12:7>", "refused"), "", "");
    promises(&line("zoe", 10, 409, "sold_out", "", ""), "", "");
    let first_refused =
        line("ann", 10, 409, "paused", "", "") + &line("ann", 10, 201, "", "<ann>", "reserved");
    promises(&first_refused, "", "");
    promises(&line("ann", 10, 422, "idempotency_key_reused", "", ""), "", "");
}

#[test]
fn broken_promises_are_found() {
    let missing = ticket(12, 99, 10);
    promises(
        &line("zoe", 10, 201, "", &missing, "reserved"),
        "I3",
        "zoe received reserved for order",
    );
    promises(&line("zoe", 10, 201, "", "", "reserved"), "I3", "without an order id");
    promises(&line("zoe", 10, 201, "", "<ann>", "reserved"), "I3", "the order belongs to ann");
    promises(&line("ann", 9, 201, "", "<ann>", "reserved"), "I3", "9 units of spring/phone");
    promises(&line("eve", 3, 201, "", "<eve>", "reserved"), "I3", "3 units of item 2");
    promises(&line("ann", 10, 200, "", "<ann>", "paid"), "I8", "which is reserved now");
    promises(
        &line("rob", 4, 202, "unavailable", "<rob>", "refused"),
        "I8",
        "which is an order (refunded)",
    );
    promises(
        &line("joe", 2, 202, "limit_reached", "<12:9>", "refused"),
        "I8",
        "the stored verdict is unavailable",
    );
    promises(
        &line("joe", 10, 202, "unavailable", &missing, "refused"),
        "I8",
        "the stored verdict is missing",
    );
    promises(&line("joe", 10, 202, "sold_out", "<12:9>", "refused"), "I8", "refused (sold_out)");
    let named = line("bob", 10, 201, "", "<bob>", "reserved");
    for code in ["sold_out", "limit_reached", "not_started", "paused"] {
        let words = format!("was refused ({code}), but holds order");
        promises(&(line("ann", 10, 409, code, "", "") + &named), "I8", &words);
    }
    promises(&line("ann", 10, 409, "ended", "", ""), "I8", "was refused (ended), but holds order");
}

#[test]
fn a_refusal_before_the_order_of_a_later_run_gives_no_finding() {
    let fixture = StoreFixture::consistent();
    fixture.run(
        "UPDATE orders SET reserved_at = reserved_at + 1, pay_by = pay_by + 1 WHERE id = '{ann}';
         UPDATE event SET at = at + 1, pay_by = pay_by + 1 WHERE grant_id = 11 AND n = 1",
    );
    let named = line("bob", 10, 201, "", "<bob>", "reserved");
    for code in ["sold_out", "limit_reached", "not_started", "paused"] {
        let refused = line("ann", 10, 409, code, "", "");
        // No answer names the order of `ann`, and the order is newer than all orders that the
        // answers name. So `ann` may have got the order in a later run, by repeating the refused
        // request.
        promises_in(&fixture, &(refused.clone() + &named), "", "");
        promises(&refused, "", "");
    }
}

#[test]
fn orders_that_appear_in_no_answer_give_a_notice() {
    let fixture = StoreFixture::consistent();
    let lines = line("ann", 10, 201, "", "<ann>", "reserved") + "{\"buyer\":\"bo";
    let report = run(&StoreLocation::Sqlite(fixture.path()), Some(&fixture.answers(&lines)))
        .expect("the audit runs");
    assert!(report.audit.ok);
    let of_promises = report.audit.notices.iter().filter(|notice| notice.kind != "mismatch");
    let notices: Vec<_> = of_promises.map(|notice| &*notice.detail).collect();
    assert_eq!(
        notices,
        ["line 2 is incomplete", "5 orders for the requested items appear in no answer"]
    );
}

/// Erases the buyer ann in a consistent store. Then audits the store with `line`, an answer that
/// ann got earlier.
fn after_erasing(line: &str) -> (u64, Vec<(String, String)>) {
    let fixture = StoreFixture::consistent();
    fixture.run(
        "UPDATE orders SET buyer = 'erased:0a', request_key = 'erased:0b' WHERE buyer = 'ann';
         UPDATE quota SET buyer = 'erased:0a' WHERE buyer = 'ann';
         UPDATE feed SET buyer = 'erased:0a', request_key = 'erased:0b' WHERE buyer = 'ann';",
    );
    let report = run(&StoreLocation::Sqlite(fixture.path()), Some(&fixture.answers(line)))
        .expect("the audit runs");
    let found =
        found(&report).into_iter().map(|(rule, detail)| (rule.to_owned(), detail.to_owned()));
    (report.orders_erased, found.collect())
}

#[test]
fn an_answer_to_an_erased_buyer_is_compared_with_the_order_of_its_id() {
    assert_eq!(
        after_erasing(&line("ann", 10, 201, "", "<ann>", "reserved")),
        (1, vec![]),
        "the erased order must be counted"
    );
    for (units, id, state, rule, words) in [
        (9, "<ann>", "reserved", "I3", "9 units of spring/phone"),
        (10, "<ann>", "paid", "I8", "which is reserved now"),
        (10, &*ticket(12, 99, 10), "reserved", "I3", "which does not exist"),
    ] {
        let (_, found) = after_erasing(&line("ann", units, 201, "", id, state));
        assert!(
            matches!(&found[..], [(its, detail)] if its == rule && detail.contains(words)),
            "{words}: {found:#?}"
        );
    }
    let (_, found) = after_erasing(&line("ann", 10, 201, "", "<bob>", "reserved"));
    assert!(
        matches!(&found[..], [(rule, detail)] if rule == "I3" && detail.contains("belongs to bob")),
        "{found:#?}"
    );
}

#[test]
fn the_auditor_reads_the_answers_that_the_load_generator_writes() {
    let answer = crate::load::sold_out_answer_line();
    let line: doorbuster_api::report::AnswerLine =
        serde_json::from_slice(&answer).expect("the auditor can read the line");
    assert_eq!((line.status, line.code.as_deref(), line.state), (409, Some("sold_out"), None));
}

/// After a restore, a slot may deliver the ticket of a lost order again, and the store may refuse
/// this ticket. The promised order must nevertheless count as missing.
#[test]
fn an_order_whose_ticket_came_back_counts_as_missing() {
    let fixture = StoreFixture::consistent();
    let refused = line("joe", 2, 202, "unavailable", "<12:9>", "refused");
    let reserved = line("joe", 2, 201, "", "<12:9>", "reserved");
    let answers = fixture.answers(&(refused + &reserved));
    let kept = answers.with_extension("kept.jsonl");
    let store = StoreLocation::Sqlite(fixture.path());
    let missing = split_answers(&store, &answers, &kept).expect("the answers are read");
    let states: Vec<_> = missing.iter().map(|answer| answer.state.as_deref()).collect();
    assert_eq!(states, [Some("reserved")]);
    let kept = std::fs::read_to_string(kept).expect("the file is written");
    assert!(kept.lines().count() == 1 && kept.contains("refused"), "{kept}");
}
