//! The text output of a demo: a table and a line with the verdict.

use comfy_table::Table;
use doorbuster_api::report::DemoReport;

use super::outcome::DemoOutcome;
use crate::storm::{add_answers, add_speed};
use crate::table::{self, grouped, number};

/// Returns the table and the verdict as text.
pub fn render(outcome: &DemoOutcome, report: &DemoReport, faults: &[String]) -> String {
    let mut rows = table::report();
    let connections =
        format!("over {} keep-alive connections", grouped(outcome.storm.connections as u64));
    rows.add_row(["Buyers".into(), number(grouped(report.buyers)), connections.as_str().into()]);
    add_answers(&mut rows, &outcome.storm);
    let (each, of) = (
        format!("of {} each", table::units(report.units_each.into())),
        format!("of {}", grouped(report.stock)),
    );
    rows.add_row(["Orders".into(), number(grouped(report.orders)), each.as_str().into()]);
    rows.add_row(["Units sold".into(), number(grouped(report.units_sold)), of.as_str().into()]);
    rows.add_row(["Units left".into(), number(grouped(report.units_left)), "".into()]);
    let of = format!("of {} requests", grouped(outcome.storm.requests));
    rows.add_row([
        "Reached the store".into(),
        number(grouped(report.reached_store)),
        of.as_str().into(),
    ]);
    add_speed(&mut rows, &outcome.storm);
    add_server_time(&mut rows, report);
    let checked = format!(
        "{} orders, {} answers checked",
        grouped(outcome.audit.orders_checked),
        grouped(outcome.audit.answers_checked)
    );
    let found = match report.audit.findings.len() {
        0 => "clean".to_owned(),
        found => format!("{} found", grouped(found as u64)),
    };
    rows.add_row(["Audit".into(), number(found), checked.as_str().into()]);
    let debug = if cfg!(debug_assertions) {
        "This is a debug build. Its speed is not meaningful.\n"
    } else {
        ""
    };
    format!("{rows}\n{debug}{}\n", verdict(report, faults))
}

/// Adds a row with the processor time that the servers used. The processor time of the load
/// generator is not included.
fn add_server_time(rows: &mut Table, report: &DemoReport) {
    let answers = report.answers.values().sum::<u64>() as f64;
    if answers > 0.0 && report.server_cpu_ms > 0.0 {
        let each = number(format!("{:.1} µs", report.server_cpu_ms * 1_000.0 / answers));
        let rate = grouped((answers * 1_000.0 / report.server_cpu_ms).round() as u64);
        let per_core = format!("per answer: {rate} answers a second per core");
        rows.add_row(["Server's time".into(), each, per_core.as_str().into()]);
    }
}

fn verdict(report: &DemoReport, faults: &[String]) -> String {
    if !faults.is_empty() {
        return format!("The results do not match.\n  {}", faults.join("\n  "));
    }
    let orders = if report.orders == 1 { "order" } else { "orders" };
    let left = match report.units_left {
        0 => String::new(),
        left => format!(", {} left", grouped(left)),
    };
    format!(
        "{} {orders} of {} each. {} of {} units sold{left}. Nothing oversold, nothing lost.",
        grouped(report.orders),
        grouped(report.units_each.into()),
        grouped(report.units_sold),
        grouped(report.stock)
    )
}
