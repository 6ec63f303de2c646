//! `storm`: sends load to a server, shows live progress and prints a report.

pub mod progress;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::Table;
use doorbuster_harness::load::{self, LoadError, LoadPlan, LoadReport, Progress};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::cli::StormArgs;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::table::{self, grouped, number};
use crate::{config, print, signals, token};
use progress::LiveProgress;

/// A line that `storm --relay` prints as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayLine {
    /// The progress so far.
    Progress(Progress),
    /// The final report.
    Report(Box<LoadReport>),
}

/// Runs `storm`.
pub fn run(args: &StormArgs) -> Outcome {
    let url = args.url.text()?;
    raise_open_files_limit();
    let secret = match &args.buyer_secret_file {
        Some(file) => load::read_secret(file).map_err(load_failure)?,
        None => token::buyer_secret(&config::settings(&args.settings)?)?
            .expose_secret()
            .as_bytes()
            .to_vec(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    signals::set_on_signal(Arc::clone(&stop))?;
    let report = run_load(plan(args, url, secret, Arc::clone(&stop)), args, &stop)?;
    let line = RelayLine::Report(Box::new(report));
    let RelayLine::Report(report) = &line else { return Ok(CommandResult::Success) };
    if args.relay {
        print::json(&line)?;
    } else {
        print::report(args.json, report, || report_text(report))?;
    }
    if let Some(why) = setup_error(report).filter(|_| !args.relay) {
        return Err(Failure::Refused(why));
    }
    Ok(CommandResult::new(report.lost_answers == 0 && report.faults.is_empty()))
}

/// Answers that show a wrong setup: the code of each answer, and a hint. If a storm gets only these
/// answers, no request reached a sale.
const SETUP_ERRORS: [(&str, &str); 4] = [
    ("unauthenticated", "is --buyer-secret-file the secret of this server?"),
    ("not_found", "are --sale and --item right, and is --url the address of a Doorbuster server?"),
    ("invalid_request", "is --units within the item's limit?"),
    ("method_not_allowed", "is --url the address of a Doorbuster server?"),
];

fn setup_error(report: &LoadReport) -> Option<String> {
    let hint =
        |kind: &str| SETUP_ERRORS.iter().find(|(code, _)| *code == kind).map(|(_, hint)| *hint);
    let (most, _) = report.answers.iter().max_by_key(|(_, count)| **count)?;
    let all = report.answers.keys().all(|kind| hint(kind).is_some());
    all.then(|| {
        format!(
            "no request reached the sale; the most frequent answer was {most}: {}",
            hint(most).unwrap_or_default()
        )
    })
}

/// Raises this process's soft limit of open files to the hard limit, because each connection is an
/// open file.
pub fn raise_open_files_limit() {
    // An error is ignored, because the check of the load plan reports a limit that is too low.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
}

fn plan(args: &StormArgs, url: &str, secret: Vec<u8>, stop: Arc<AtomicBool>) -> LoadPlan {
    let plan = LoadPlan::new(url, &args.sale, &args.item, args.buyers, secret);
    LoadPlan {
        units: args.units,
        connections: args.connections,
        workers: args.generators,
        rate: args.rate,
        duration: args.duration,
        seed: args.seed.unwrap_or(plan.seed),
        answers: args.answers.clone(),
        stop,
        ..plan
    }
}

fn run_load(plan: LoadPlan, args: &StormArgs, stop: &AtomicBool) -> Result<LoadReport, Failure> {
    if args.relay {
        return load::run(plan, |progress| relay(progress, stop)).map_err(load_failure);
    }
    let shown = !args.json && std::io::stderr().is_terminal();
    let bar = LiveProgress::new(args.buyers, shown);
    load::run(plan, |progress| bar.show(progress)).map_err(load_failure)
}

/// Prints one line of progress. Stops the storm if standard output is closed.
fn relay(progress: &Progress, stop: &AtomicBool) {
    let mut line = serde_json::to_vec(&RelayLine::Progress(progress.clone()))
        .expect("a progress line is valid JSON");
    line.push(b'\n');
    if std::io::stdout().lock().write_all(&line).is_err() {
        stop.store(true, Ordering::Relaxed);
    }
}

fn load_failure(error: LoadError) -> Failure {
    match error {
        LoadError::Plan(text) => Failure::Settings(text),
        other => Failure::Refused(other.to_string()),
    }
}

fn report_text(report: &LoadReport) -> String {
    let mut rows = table::report();
    let connections = format!("over {} keep-alive connections", grouped(report.connections as u64));
    rows.add_row(["Buyers".into(), number(grouped(report.buyers)), connections.as_str().into()]);
    add_answers(&mut rows, report);
    add_speed(&mut rows, report);
    let threads = match report.workers {
        1 => "cores used, with 1 thread".to_owned(),
        threads => format!("cores used, with {threads} threads"),
    };
    let cores = number(format!("{:.2}", report.generator_cores));
    rows.add_row(["Load generator".into(), cores, threads.as_str().into()]);
    let verdict = match (report.lost_answers, report.faults.is_empty()) {
        _ if setup_error(report).is_some() => "No request reached the sale.".to_owned(),
        (0, true) => "Every buyer has a final answer.".to_owned(),
        (0, false) => "Some answers were not valid.".to_owned(),
        (lost, _) => format!("{} got no final answer.", table::counted(lost, "buyer")),
    };
    format!("{rows}\n{verdict}\n")
}

/// Adds a row for each kind of answer. If there were errors or retries, also adds rows for them.
pub fn add_answers(rows: &mut Table, report: &LoadReport) {
    for (index, (kind, count)) in report.answers.iter().enumerate() {
        let name = if index == 0 { "Answers" } else { "" };
        rows.add_row([name.into(), number(grouped(*count)), kind.replace('_', " ").into()]);
    }
    for (kind, count) in &report.faults {
        rows.add_row(["No answer".into(), number(grouped(*count)), kind.replace('_', " ").into()]);
    }
    for (name, count, remark) in [
        ("Lost answers", report.lost_answers, "no final answer came"),
        ("Queued", report.queued, "verdict came later"),
        ("Sent again", report.retries, "after 429 or 5xx, with the same key"),
        ("Broken connections", report.connection_errors, "opened again"),
    ] {
        if count > 0 {
            rows.add_row([name.into(), number(grouped(count)), remark.into()]);
        }
    }
}

/// Adds the rows for the rate and the latency.
pub fn add_speed(rows: &mut Table, report: &LoadReport) {
    let secs = format!("in {:.2} s", report.elapsed().as_secs_f64());
    let rate = grouped(report.answers_per_second.round() as u64);
    rows.add_row(["Answers a second".into(), number(rate), secs.as_str().into()]);
    let latency = &report.latency_ms;
    for (name, ms, remark) in
        [("Latency", latency.p50, "p50"), ("", latency.p99, "p99"), ("", latency.max, "slowest")]
    {
        rows.add_row([name.into(), number(format!("{ms:.1} ms")), remark.into()]);
    }
}
