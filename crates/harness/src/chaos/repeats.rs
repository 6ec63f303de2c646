//! Compares the answers to repeated requests with the answers to the first requests. A buyer who
//! had an order must get this order again.

use std::collections::HashMap;
use std::path::Path;

use doorbuster_api::report::AnswerLine;

use crate::cluster::ClusterError;

/// Compares two answers files. Returns a finding for each buyer who got an order in `first`, but
/// not the same order in `again`.
pub(super) fn check(first: &Path, again: &Path) -> Result<Vec<String>, ClusterError> {
    Ok(find_missing(&read(first)?, &read(again)?))
}

fn read(path: &Path) -> Result<Vec<AnswerLine>, ClusterError> {
    let failed =
        |reason: String| ClusterError::failed(format!("reading {}", path.display()), reason);
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let lines = text.lines().map(serde_json::from_str).collect::<Result<_, serde_json::Error>>();
    lines.map_err(|error| failed(error.to_string()))
}

fn find_missing(first: &[AnswerLine], again: &[AnswerLine]) -> Vec<String> {
    let repeated: HashMap<&str, &AnswerLine> =
        again.iter().map(|line| (&*line.buyer, line)).collect();
    let mut findings = Vec::new();
    for line in first {
        let Some(id) = order_of(line) else { continue };
        let answer = repeated.get(&*line.buyer).copied();
        if answer.and_then(order_of) != Some(id) {
            let received = answer.map_or("no answer".to_owned(), describe);
            findings.push(format!(
                "{} had order {id}, but the repeated request got {received}",
                line.buyer
            ));
        }
    }
    findings
}

/// Returns the id of the order in an answer. Returns `None` for a refusal, because its id is only
/// the id of a ticket.
fn order_of(line: &AnswerLine) -> Option<&str> {
    let has_order = line.state.as_deref().is_some_and(|state| state != "refused");
    line.id.as_deref().filter(|_| has_order)
}

fn describe(line: &AnswerLine) -> String {
    match (order_of(line), line.code.as_deref()) {
        (Some(id), _) => format!("order {id}"),
        (None, Some(code)) => format!("the refusal {code}"),
        (None, None) => format!("status {}", line.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(buyer: &str, code: Option<&str>, id: Option<&str>, state: Option<&str>) -> AnswerLine {
        AnswerLine {
            buyer: buyer.to_owned(),
            key: "k".to_owned(),
            sale: "spring".to_owned(),
            item: "phone".to_owned(),
            units: 1,
            status: 200,
            code: code.map(str::to_owned),
            id: id.map(str::to_owned),
            state: state.map(str::to_owned),
        }
    }

    fn sold(buyer: &str, id: &str) -> AnswerLine {
        line(buyer, None, Some(id), Some("reserved"))
    }

    fn sold_out(buyer: &str) -> AnswerLine {
        line(buyer, Some("sold_out"), None, None)
    }

    #[test]
    fn a_buyer_who_does_not_get_the_same_order_again_is_found() {
        let refused = line("dan", Some("unavailable"), Some("ord_4"), Some("refused"));
        let first = [
            sold("ann", "ord_1"),
            sold("bob", "ord_2"),
            sold_out("cat"),
            refused,
            sold("eve", "ord_5"),
        ];
        let again =
            [sold("ann", "ord_1"), sold("bob", "ord_2"), sold("cat", "ord_3"), sold_out("dan")];
        let eve = "eve had order ord_5, but the repeated request got";
        let check = |answer: Option<AnswerLine>, expected: &[String]| {
            let again: Vec<AnswerLine> = again.iter().cloned().chain(answer).collect();
            assert_eq!(find_missing(&first, &again), expected);
        };
        check(Some(sold("eve", "ord_5")), &[]);
        check(Some(sold_out("eve")), &[format!("{eve} the refusal sold_out")]);
        check(Some(sold("eve", "ord_6")), &[format!("{eve} order ord_6")]);
        check(None, &[format!("{eve} no answer")]);
    }
}
