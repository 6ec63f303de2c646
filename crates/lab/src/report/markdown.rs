//! Renders `report.md`: the results as tables, for a pull request.

use std::fmt::Write;

use super::{number, summary};
use crate::headline::HeadlineReport;
use crate::incident::{IncidentReport, VariantReport};
use crate::result::RunReport;

/// Returns the document of `lab run`.
pub fn render_run(run: &RunReport) -> String {
    let mut text = format!("# Lab report\n\n{}\n\n", summary(run));
    text += "| strategy | at once | seed | faults | verdict | buyers | buyers/s | p50 ms | \
             p99 ms | driver | sold | oversold | unsold | duplicates | lost | unexpected | \
             untold |\n";
    text += "|---|--:|--:|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    for result in &run.results {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} % | {} |",
            result.strategy,
            result.level,
            result.seed,
            result.fault_text(),
            result.verdict_text(),
            result.started,
            number(result.throughput_per_second),
            result.latency_ms.p50,
            result.latency_ms.p99,
            result.driver_busy * 100.0,
            result.sold,
        );
        for (_, count) in result.counts() {
            let _ = write!(text, " {count} |");
        }
        text += "\n";
    }
    text += &failures(run);
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

fn failures(run: &RunReport) -> String {
    if run.failures.is_empty() {
        return String::new();
    }
    let mut text = String::from("\nThese runs failed:\n\n");
    for failure in &run.failures {
        let (strategy, level, fault) = (&failure.strategy, failure.level, failure.faults.as_str());
        let (seed, error) = (failure.seed, &failure.error);
        let _ = writeln!(text, "- `{strategy}` at {level}, faults {fault}, seed {seed}: {error}");
    }
    text
}

/// Returns the document of `lab incident`.
pub fn render_incident(incident: &IncidentReport) -> String {
    let mut text = format!(
        "# Lab incident\n\n{}\n\n| variant | verdict | sold | of | oversold | what it \
         shows |\n|---|---|--:|--:|--:|---|\n",
        incident.heading()
    );
    for variant in &incident.variants {
        let VariantReport { strategy, sold, stock, oversold, shows, .. } = variant;
        let verdict = variant.verdict.as_str();
        let _ = writeln!(
            text,
            "| `{strategy}` | {verdict} | {sold} | {stock} | {oversold} | {shows} |"
        );
    }
    text + &format!("\nRepeat:\n\n```sh\n{}\n```\n", incident.command())
}

/// Returns the document of `lab headline`.
pub fn render_headline(report: &HeadlineReport) -> String {
    let machine = &report.machine;
    let audit = if report.audit.ok { "clean" } else { "not clean" };
    let rows = [
        ("requests", number(report.requests as f64)),
        ("answers a second", number(report.answers_per_second)),
        ("requested rate", number(report.rate.into())),
        ("p50 ms", report.latency_ms.p50.to_string()),
        ("p99 ms", report.latency_ms.p99.to_string()),
        ("slowest ms", report.latency_ms.max.to_string()),
        ("orders", number(report.orders as f64)),
        ("units", number(report.stock as f64)),
        ("oversold", number(report.oversold as f64)),
        ("lost answers", number(report.lost_answers as f64)),
        ("generator", format!("{:.0} % of one core", report.generator_busy * 100.0)),
        ("audit", audit.to_owned()),
    ];
    let mut text = format!("# Lab headline\n\n{}", report.heading());
    if !report.ok {
        text += &format!(" {}", report.findings_text());
    }
    text += "\n\n| what | value |\n|---|--:|\n";
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text + &format!(
        "\nMachine: {}, {} cores, {} MiB, {}.\n\nRepeat:\n\n```sh\n{}\n```\n",
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.system,
        report.command()
    )
}

fn without_http(run: &RunReport) -> String {
    let results = run.results.iter();
    let direct: Vec<_> =
        results.filter_map(|result| Some((result, result.without_http.as_ref()?))).collect();
    if direct.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\nThe embedded shape over HTTP, and the same buyers without HTTP:\n\n\
         | at once | seed | buyers/s | without HTTP | p99 ms | without HTTP | verdict without HTTP \
         |\n|--:|--:|--:|--:|--:|--:|---|\n",
    );
    for (result, direct) in direct {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            result.level,
            result.seed,
            number(result.throughput_per_second),
            number(direct.throughput_per_second),
            result.latency_ms.p99,
            direct.latency_ms.p99,
            direct.verdict_text()
        );
    }
    text
}
