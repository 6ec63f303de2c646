//! Renders `report.md`: the table for a pull request.

use std::fmt::Write;

use super::{number, summary};
use crate::result::RunReport;

/// Returns the whole document.
pub fn render(run: &RunReport) -> String {
    let mut text = format!("# Lab report\n\n{}\n\n", summary(run));
    text += "| strategy | at once | faults | verdict | buyers/s | p50 ms | p99 ms | sold | \
             oversold | unsold | duplicates | lost |\n";
    text += "|---|--:|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    for result in &run.results {
        let mark = if result.agrees { "" } else { " (not as promised)" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {}{mark} | {} | {} | {} | {} | {} | {} | {} | {} |",
            result.strategy,
            result.level,
            result.faults.as_str(),
            result.verdict.as_str(),
            number(result.throughput_per_second),
            result.latency_ms.p50,
            result.latency_ms.p99,
            result.sold,
            result.oversold,
            result.unsold,
            result.duplicate_orders,
            result.lost_orders,
        );
    }
    text += &without_http(run);
    let machine = &run.machine;
    let _ = write!(
        text,
        "\nMachine: {}, {} cores, {} MiB, {}; {}. {} buyers for {} units, {} each; seed {}. \
         It took {} s.\n\n{}.\n\nRepeat:\n\n```sh\n{}\n```\n",
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.system,
        machine.servers.join(", "),
        run.buyers,
        run.stock,
        run.units,
        run.seed,
        run.seconds,
        run.settings.join(". "),
        run.command
    );
    text
}

/// Returns the results of the embedded shape's buyers without HTTP.
fn without_http(run: &RunReport) -> String {
    let results = run.results.iter();
    let direct: Vec<_> =
        results.filter_map(|result| Some((result, result.without_http.as_ref()?))).collect();
    if direct.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\nThe embedded shape over HTTP, and the same buyers without HTTP:\n\n\
         | at once | buyers/s | without HTTP | p99 ms | without HTTP |\n|--:|--:|--:|--:|--:|\n",
    );
    for (result, direct) in direct {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            result.level,
            number(result.throughput_per_second),
            number(direct.throughput_per_second),
            result.latency_ms.p99,
            direct.latency_ms.p99
        );
    }
    text
}
