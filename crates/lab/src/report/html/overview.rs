//! The first table of the report: one row for each strategy.

use std::fmt::Write;

use super::{escape, number, pill};
use crate::contract::Claim;
use crate::fault::Fault;
use crate::result::{RunReport, RunResult, Verdict};

pub(super) fn render(run: &RunReport) -> String {
    let mut text = String::from(
        "<section aria-labelledby=\"h-overview\"><h2 id=\"h-overview\">The strategies</h2>\
         <p class=\"soft\">Every strategy has the same buyers, servers and checker. The speed and \
         the latency are from the fastest run that had no fault and in which the checker found no \
         problem.</p>\
         <div class=\"card\"><div class=\"scroll\" tabindex=\"0\" \
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
        .filter(|one| one.verdict == Verdict::Held)
        .max_by(|a, b| a.throughput_per_second.total_cmp(&b.throughput_per_second));
    let none = || ["–", "–", "–"].map(str::to_owned);
    let numbers = fastest.map_or_else(none, |one| {
        [
            number(one.throughput_per_second),
            format!("{:.1}", one.latency_ms.p50),
            format!("{:.1}", one.latency_ms.p99),
        ]
    });
    numbers.iter().for_each(|text| row += &format!("<td class=\"num\">{text}</td>"));
    row + &format!("<td>{}</td><td>{}</td></tr>", survived(&results), escape(first.suits))
}

/// For each fault, returns the worst verdict, or says that the fault did not affect the strategy.
fn survived(results: &[&RunResult]) -> String {
    let mut parts = Vec::new();
    for fault in Fault::ALL.into_iter().skip(1) {
        let of_fault = || results.iter().filter(|one| one.faults == fault);
        // If the fault did not affect a run, the run's verdict does not show whether the strategy
        // survives the fault.
        if let Some(worst) = worst(of_fault().filter(|one| one.applies)) {
            parts.push(format!("{} {}", fault.as_str(), pill(worst)));
        } else if let Some(unaffected) = worst(of_fault()) {
            let broken = if unaffected.keeps_promise() { String::new() } else { pill(unaffected) };
            parts.push(format!("{} not affected {broken}", fault.as_str()));
        }
    }
    if parts.is_empty() { "not run".to_owned() } else { parts.join("<br>") }
}

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

#[cfg(test)]
mod tests {
    use super::super::super::tests::{result, run};
    use super::*;

    #[test]
    fn a_speed_counts_only_if_the_run_held() {
        let mut fast = result("unsafe-update");
        (fast.verdict, fast.throughput_per_second) = (Verdict::Oversold, 9_876.0);
        let text = row(&run(vec![fast.clone()]), "unsafe-update");
        assert!(!text.contains("9,876") && text.matches("–").count() == 3, "{text}");
        let mut slow = result("unsafe-update");
        slow.throughput_per_second = 123.0;
        let text = row(&run(vec![fast, slow]), "unsafe-update");
        assert!(text.contains(">123<") && !text.contains("9,876"), "{text}");
    }

    #[test]
    fn a_fault_without_an_effect_was_not_survived() {
        let mut unaffected = result("redis-lua");
        (unaffected.faults, unaffected.applies) = (Fault::Slow, false);
        assert_eq!(survived(&[&unaffected]).trim_end(), "slow not affected");
        let mut affected = result("redis-lua");
        affected.faults = Fault::Slow;
        let text = survived(&[&unaffected, &affected]);
        assert!(text.contains("held") && !text.contains("not affected"), "{text}");
    }
}
