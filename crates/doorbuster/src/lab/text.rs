//! The lab's results as text.

use comfy_table::Cell;
use doorbuster_lab::headline::HeadlineReport;
use doorbuster_lab::incident::IncidentReport;
use doorbuster_lab::{RunReport, RunResult};

use crate::table::{self, grouped, number};

/// Returns the table of a run, and the remarks about this table.
pub fn run(report: &RunReport) -> String {
    let names =
        ["strategy", "level", "seed", "faults", "verdict", "buyers/s", "p50 ms", "p99 ms", "sold"];
    let counts = report.results.first().map(|result| result.counts().map(|(name, _)| name));
    let names = names.into_iter().chain(counts.into_iter().flatten()).chain(["errors"]);
    let mut rows = table::with_header(&names.collect::<Vec<_>>());
    for result in &report.results {
        let mut cells = vec![
            Cell::new(&result.strategy),
            number(result.level),
            number(result.seed),
            Cell::new(result.fault_text()),
            Cell::new(result.verdict_text()),
            number(grouped(result.throughput_per_second as u64)),
            number(format!("{:.1}", result.latency_ms.p50)),
            number(format!("{:.1}", result.latency_ms.p99)),
            number(grouped(result.sold.unsigned_abs())),
        ];
        let counts = result.counts().map(|(_, count)| number(grouped(count.unsigned_abs())));
        cells.extend(counts);
        cells.push(number(grouped(result.errors)));
        rows.add_row(cells);
        if let Some(direct) = &result.without_http {
            rows.add_row(vec![
                Cell::new("  without HTTP"),
                number(result.level),
                number(result.seed),
                Cell::new(result.faults.as_str()),
                Cell::new(direct.verdict_text()),
                number(grouped(direct.throughput_per_second as u64)),
                number(format!("{:.2}", direct.latency_ms.p50)),
                number(format!("{:.2}", direct.latency_ms.p99)),
                number(grouped(direct.sold.unsigned_abs())),
            ]);
        }
    }
    format!("{rows}\n{}Seed {}. Repeat: {}\n", remarks(report), report.seed, report.command)
}

fn remarks(report: &RunReport) -> String {
    let mut text = String::new();
    for failure in &report.failures {
        let (strategy, level, fault) = (&failure.strategy, failure.level, failure.faults.as_str());
        let seed = failure.seed;
        text += &format!(
            "{strategy} with {level} concurrent buyers, seed {seed}, faults {fault}, failed: {}\n",
            failure.error
        );
    }
    if report.interrupted {
        text += "The run was interrupted. The table has only the results so far.\n";
    }
    let count = |wanted: fn(&RunResult) -> bool| {
        report.results.iter().filter(|result| wanted(result)).count()
    };
    let unfinished = count(RunResult::is_unfinished);
    if unfinished > 0 {
        text += &format!(
            "{} ended before all buyers had started, although units were left.\n",
            table::counted(unfinished as u64, "run")
        );
    }
    let busy = count(RunResult::is_driver_busy);
    if busy > 0 {
        text += &format!(
            "In {}, the sender of the requests used more than 90 % of its core, so the \
             strategies may be faster than measured.\n",
            table::counted(busy as u64, "run")
        );
    }
    if report.agrees() {
        text += "Every verdict agrees with what the strategy promises.\n";
    }
    text
}

const EVENTS_SHOWN: usize = 30;

/// Returns what happened in each variant, event by event.
pub fn incident(report: &IncidentReport) -> String {
    let mut text = String::new();
    for variant in &report.variants {
        text += &format!("{}\n  {}\n", variant.strategy, variant.shows);
        for event in variant.failure_excerpt(EVENTS_SHOWN) {
            text += &format!("  {:>6} ms  {:<10} {}\n", event.at_ms, event.actor, event.event);
        }
        text += &format!(
            "  Sold {} of {} bottles; oversold {}; verdict: {}.\n\n",
            variant.sold,
            variant.stock,
            variant.oversold,
            variant.verdict.as_str()
        );
    }
    text + &format!("Seed {}.\n", report.seed)
}

/// Returns the table of `lab headline`, and a line with the result below the table.
pub fn headline(report: &HeadlineReport) -> String {
    let mut rows = table::report();
    let requested = format!("{} requested", grouped(report.rate.into()));
    let latency = &report.latency_ms;
    let cost = format!("{:.0} %", report.generator_busy * 100.0);
    let cells = [
        (
            "Requests",
            grouped(report.requests),
            format!("in {} s, over {} connections", report.secs, report.connections),
        ),
        ("Answers a second", grouped(report.answers_per_second as u64), requested),
        ("Latency", format!("{:.1} ms", latency.p50), "p50".to_owned()),
        ("", format!("{:.1} ms", latency.p99), "p99".to_owned()),
        ("", format!("{:.1} ms", latency.max), "slowest".to_owned()),
        ("Orders", grouped(report.orders), format!("of {} units", report.stock)),
        ("Oversold", grouped(report.oversold.unsigned_abs()), String::new()),
        ("Lost answers", grouped(report.lost_answers), String::new()),
        ("Generator", cost, "of one core".to_owned()),
    ];
    for (name, value, remark) in cells {
        rows.add_row([name.into(), number(value), Cell::new(remark)]);
    }
    format!("{rows}\n{} {}\n", report.heading(), report.findings_text())
}
