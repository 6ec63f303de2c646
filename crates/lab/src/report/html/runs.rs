//! The table of every run, and the list of runs that failed.

use std::fmt::Write;

use super::{escape, number, pill};
use crate::result::{RunReport, RunResult};

pub(super) fn render(run: &RunReport) -> String {
    let mut text = String::from(
        "<section aria-labelledby=\"h-table\"><h2 id=\"h-table\">Every run</h2>\
         <div class=\"card\"><div class=\"scroll\" \
         tabindex=\"0\" role=\"region\" aria-label=\"Table of runs\"><table class=\"grid\">\
         <caption class=\"unseen\">Every run</caption><thead><tr>",
    );
    let has_seeds = run.results.iter().any(|result| result.seed != run.seed);
    let seed = has_seeds.then_some("Seed");
    for head in ["Strategy", "At once"].into_iter().chain(seed).chain(["Faults", "Verdict"]) {
        // Writing to a string cannot fail.
        let _ = write!(text, "<th scope=\"col\">{head}</th>");
    }
    let counts = ["Oversold", "Unsold", "Duplicates", "Lost", "Unexpected", "Untold"];
    let numbers = ["Buyers", "Buyers/s", "p50 ms", "p99 ms"];
    for head in numbers.into_iter().chain(counts).chain(["Errors", "Driver"]) {
        let _ = write!(text, "<th scope=\"col\" class=\"num\">{head}</th>");
    }
    text += "<th scope=\"col\">Suits</th></tr></thead><tbody>";
    run.results.iter().for_each(|result| text += &row(result, has_seeds));
    text += "</tbody></table></div></div>";
    text += "<p class=\"soft\">Unexpected: orders of buyers who were refused. Untold: orders of \
        buyers who got no answer. Driver: how much of its core the sender of the requests used. \
        If it used more than 90 %, the strategy may be faster than measured.</p></section>";
    text + &failures(run)
}

fn row(result: &RunResult, has_seeds: bool) -> String {
    let ours = if result.strategy.starts_with("doorbuster") { " class=\"ours\"" } else { "" };
    let mut row = format!(
        "<tr{ours}><th scope=\"row\"><a href=\"#{0}\">{0}</a></th><td class=\"num\">{1}</td>",
        result.strategy, result.level
    );
    if has_seeds {
        let _ = write!(row, "<td class=\"num\">{}</td>", result.seed);
    }
    let _ = write!(row, "<td>{}</td><td>{}</td>", result.fault_text(), pill(result));
    let of = if result.stopped_early { format!(" of {}", result.buyers) } else { String::new() };
    let numbers = [
        format!("{}{of}", number(result.started as f64)),
        number(result.throughput_per_second),
        format!("{:.1}", result.latency_ms.p50),
        format!("{:.1}", result.latency_ms.p99),
    ];
    numbers.iter().for_each(|text| row += &format!("<td class=\"num\">{text}</td>"));
    for (name, count) in result.counts() {
        // An untold order belongs to a buyer who got no final answer. The buyer was promised
        // nothing, so this order breaks no promise and is not marked.
        let class = if count > 0 && name != "untold" { "num broke" } else { "num" };
        row += &format!("<td class=\"{class}\">{}</td>", number(count as f64));
    }
    let class = if result.is_driver_busy() { "num broke" } else { "num" };
    let _ = write!(
        row,
        "<td class=\"num\">{}</td><td class=\"{class}\">{:.0} %</td>",
        number(result.errors as f64),
        result.driver_busy * 100.0
    );
    row + &format!("<td>{}</td></tr>", escape(result.suits))
}

fn failures(run: &RunReport) -> String {
    if run.failures.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "<section aria-labelledby=\"h-failures\"><h2 id=\"h-failures\">Runs that failed</h2><ul>",
    );
    for failure in &run.failures {
        let _ = write!(
            text,
            "<li>{} with {} at once, faults {}, seed {}: {}</li>",
            escape(&failure.strategy),
            failure.level,
            failure.faults.as_str(),
            failure.seed,
            escape(&failure.error)
        );
    }
    text + "</ul></section>"
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{result, run};
    use super::*;

    #[test]
    fn a_count_above_zero_is_marked() {
        let mut one = result("redis-lua");
        one.lost_orders = 3;
        let text = render(&run(vec![one]));
        assert_eq!(text.matches("num broke").count(), 1, "{text}");
        assert!(text.contains("<td class=\"num broke\">3</td>"), "{text}");
    }

    #[test]
    fn a_run_that_did_not_finish_says_so_and_shows_how_many_buyers_started() {
        let mut one = result("redis-lock");
        (one.buyers, one.started, one.stopped_early) = (5_000, 1_200, true);
        (one.stock, one.sold) = (500, 300);
        let text = render(&run(vec![one]));
        assert!(text.contains("held, not finished"), "{text}");
        assert!(text.contains("1,200 of 5000"), "{text}");
    }

    #[test]
    fn seeds_have_a_column_if_there_are_several() {
        let mut other = result("redis-lua");
        other.seed = 8;
        assert!(!render(&run(vec![result("redis-lua")])).contains(">Seed<"));
        assert!(render(&run(vec![result("redis-lua"), other])).contains(">Seed<"));
    }
}
