//! The report page of `lab headline`.

use super::{facts, number, page, verdict};
use crate::headline::HeadlineReport;

/// Returns the page.
pub fn render(report: &HeadlineReport) -> String {
    let text = format!(
        "Buyers sent {} requests a second for {} s. They got {} answers a second. {} of {} units \
         were sold. {}",
        number(report.rate.into()),
        report.secs,
        number(report.answers_per_second),
        number(report.orders as f64),
        number(report.stock as f64),
        report.findings_text()
    );
    let machine = &report.machine;
    let rows = [
        ("Requests", number(report.requests as f64)),
        ("Not sent", number(report.not_sent as f64)),
        ("Connections", number(report.connections as f64)),
        ("Latency p50", format!("{:.1} ms", report.latency_ms.p50)),
        ("Latency p99", format!("{:.1} ms", report.latency_ms.p99)),
        ("Slowest answer", format!("{:.1} ms", report.latency_ms.max)),
        ("Oversold", number(report.oversold as f64)),
        ("Lost answers", number(report.lost_answers as f64)),
        ("Generator", format!("{:.0} % of one core", report.generator_busy * 100.0)),
        ("Audit", if report.audit.ok { "clean".to_owned() } else { "not clean".to_owned() }),
        ("Machine", format!("{}, {} cores", machine.processor, machine.cores)),
        ("Memory", format!("{} MiB", number(machine.memory_mib as f64))),
        ("System", machine.system.clone()),
        ("Repeat", report.command()),
    ];
    page("Lab headline", &(verdict(report.ok, report.heading(), &text) + &facts(&rows)), "")
}
