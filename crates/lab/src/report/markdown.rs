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
    let machine = &run.machine;
    let _ = write!(
        text,
        "\nMachine: {}, {} cores, {} MiB, {}; {}. {} buyers for {} units, {} each; seed {}. \
         It took {} s.\n\nRepeat:\n\n```sh\n{}\n```\n",
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
        run.command
    );
    text
}
