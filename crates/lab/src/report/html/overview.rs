//! The first table of the report: one row for each strategy.

use std::fmt::Write;

use super::{escape, number, pill};
use crate::contract::Claim;
use crate::fault::Fault;
use crate::result::{RunReport, RunResult, Verdict};

/// Returns the table.
pub(super) fn render(run: &RunReport) -> String {
    let mut text = String::from(
        "<section aria-labelledby=\"h-overview\"><h2 id=\"h-overview\">The strategies</h2>\
         <p class=\"soft\">Every strategy has the same buyers, servers and checker. The speed and \
         the latency are those of the fastest run without faults. A speed counts only \
         if nothing was oversold, duplicated or lost.</p><div class=\"card\">\
         <div class=\"scroll\" tabindex=\"0\" \
         role=\"region\" aria-label=\"Table of strategies\"><table class=\"grid\">\
         <caption class=\"unseen\">Strategies compared</caption><thead><tr>",
    );
    for head in ["Strategy", "Promise"] {
        let _ = write!(text, "<th scope=\"col\">{head}</th>");
    }
    for level in &run.levels {
        let _ = write!(text, "<th scope=\"col\">{level} at once</th>");
    }
    for head in ["Buyers/s", "p50 ms", "p99 ms"] {
        let _ = write!(text, "<th scope=\"col\" class=\"num\">{head}</th>");
    }
    text +=
        "<th scope=\"col\">Faults survived</th><th scope=\"col\">Suits</th></tr></thead><tbody>";
    let mut ids: Vec<&str> = run.results.iter().map(|result| result.strategy.as_str()).collect();
    ids.dedup();
    ids.iter().for_each(|id| text += &row(run, id));
    text + "</tbody></table></div></div></section>"
}

fn row(run: &RunReport, id: &str) -> String {
    let results: Vec<&RunResult> = run.results.iter().filter(|one| one.strategy == id).collect();
    let Some(first) = results.first() else { return String::new() };
    let ours = if id.starts_with("doorbuster") { " class=\"ours\"" } else { "" };
    let promise = match first.claim {
        Claim::Safe => "safe",
        Claim::Unsafe => "none",
        Claim::SafeWithoutFaults => "safe without faults",
    };
    let mut row =
        format!("<tr{ours}><th scope=\"row\"><a href=\"#{id}\">{id}</a></th><td>{promise}</td>");
    let calm = |one: &&&RunResult| one.faults == Fault::None;
    for level in &run.levels {
        let worst = worst(results.iter().filter(calm).filter(|one| one.level == *level));
        row += &format!("<td>{}</td>", worst.map_or_else(|| "not run".to_owned(), pill));
    }
    let fastest = results
        .iter()
        .filter(calm)
        .max_by(|a, b| a.throughput_per_second.total_cmp(&b.throughput_per_second));
    let numbers = fastest.map_or_else(Default::default, |one| {
        [
            number(one.throughput_per_second),
            format!("{:.1}", one.latency_ms.p50),
            format!("{:.1}", one.latency_ms.p99),
        ]
    });
    numbers.iter().for_each(|text| row += &format!("<td class=\"num\">{text}</td>"));
    row + &format!("<td>{}</td><td>{}</td></tr>", survived(&results), escape(first.suits))
}

/// Returns the faults that a strategy survived, and the verdicts after the other faults.
fn survived(results: &[&RunResult]) -> String {
    let mut parts = Vec::new();
    for fault in Fault::ALL.into_iter().skip(1) {
        let of_fault = results.iter().filter(|one| one.faults == fault);
        if let Some(worst) = worst(of_fault) {
            parts.push(format!("{} {}", fault.as_str(), pill(worst)));
        }
    }
    if parts.is_empty() { "not run".to_owned() } else { parts.join("<br>") }
}

/// Returns the result with the worst verdict.
fn worst<'a>(results: impl Iterator<Item = &'a &'a RunResult>) -> Option<&'a RunResult> {
    let rank = |verdict| match verdict {
        Verdict::Held => 0,
        Verdict::Undersold => 1,
        Verdict::Lost => 2,
        Verdict::Duplicated => 3,
        Verdict::Oversold => 4,
    };
    results.copied().max_by_key(|result| rank(result.verdict))
}
