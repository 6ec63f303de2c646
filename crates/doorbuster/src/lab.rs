//! `lab`: runs the comparison of strategies, and prints the results.

mod direct;

use std::io::IsTerminal;

use anyhow::Context;
use comfy_table::Cell;
use doorbuster_lab::headline::{HeadlineOptions, HeadlineReport};
use doorbuster_lab::incident::{IncidentOptions, IncidentReport};
use doorbuster_lab::run::{RunOptions, RunProgress};
use doorbuster_lab::{RunReport, headline, incident, registry, report, run as lab_run, worker};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::cli::{ALL, HeadlineArgs, IncidentArgs, LabArgs, LabCommand, LabRunArgs};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::print;
use crate::storm::raise_open_files_limit;
use crate::table::{self, grouped, number};

/// Runs `lab`.
pub fn run(args: &LabArgs) -> Outcome {
    raise_open_files_limit();
    match &args.command {
        LabCommand::List { json } => list(*json),
        LabCommand::Run(args) => compare(args),
        LabCommand::Incident(args) => show_incident(args),
        LabCommand::Headline(args) => show_headline(args),
        LabCommand::Worker => {
            worker::run()?;
            Ok(CommandResult::Success)
        }
        LabCommand::Direct(args) => direct::run(args),
    }
}

fn list(json: bool) -> Outcome {
    if json {
        return print::json(&json!({ "strategies": registry::ENTRIES }));
    }
    let mut rows = table::with_header(&["id", "what it is", "claim", "source"]);
    for entry in &registry::ENTRIES {
        rows.add_row([entry.id, entry.title, entry.claim.as_str(), entry.source]);
    }
    print::text(&format!("{rows}\n"))
}

fn compare(args: &LabRunArgs) -> Outcome {
    let options = options(args)?;
    let report = lab_run::run(&options, progress(!args.json))?;
    if let Some(dir) = &args.out {
        let incident = shown_incident(&options)?;
        report::write(dir, &report, incident.as_ref())?;
    }
    if args.json {
        print::json(&report)?;
    } else {
        print::text(&report_text(&report))?;
    }
    Ok(CommandResult::new(report.agrees()))
}

/// The incident report, if the run includes the unsafe lock.
fn shown_incident(options: &RunOptions) -> anyhow::Result<Option<IncidentReport>> {
    if !options.strategies.contains(&"redis-lock-unsafe") {
        return Ok(None);
    }
    let (program, seed) = (options.program.clone(), options.seed);
    let variants = vec!["redis-lock-unsafe", "redis-lock-fenced"];
    incident::run(&IncidentOptions { program, variants, seed }).map(Some)
}

fn options(args: &LabRunArgs) -> Result<RunOptions, Failure> {
    let mut strategies = Vec::new();
    for &id in &args.strategies {
        let all = registry::ENTRIES.iter().map(|entry| entry.id);
        strategies.extend(all.filter(|one| id == ALL || id == *one));
    }
    let mut faults: Vec<_> = args.faults.iter().flat_map(|choice| choice.faults()).collect();
    faults.dedup();
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let levels: Vec<String> = args.levels.iter().map(i64::to_string).collect();
    let words: Vec<&str> = faults.iter().map(|fault| fault.as_str()).collect();
    let seeds = if args.seeds > 1 { format!(" --seeds {}", args.seeds) } else { String::new() };
    let command = format!(
        "doorbuster lab run --strategies {} --buyers {} --stock {} --units {} --levels {} \
         --faults {} --seed {seed}{seeds}",
        args.strategies.join(","),
        args.buyers,
        args.stock,
        args.units,
        levels.join(","),
        words.join(",")
    );
    Ok(RunOptions {
        program: std::env::current_exe().context("cannot find this program")?,
        strategies,
        buyers: args.buyers,
        stock: args.stock,
        units: args.units,
        levels: args.levels.iter().map(|level| level.unsigned_abs() as usize).collect(),
        faults,
        seed,
        seeds: args.seeds,
        command,
    })
}

/// Shows each result and the estimated remaining time.
fn progress(shown: bool) -> impl FnMut(RunProgress<'_>) {
    let target = match shown && std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = ProgressStyle::with_template("{bar:24.cyan/dim} {pos}/{len} {wide_msg}");
    bar.set_style(style.expect("a valid template").progress_chars("━━─"));
    bar.set_message("starting PostgreSQL and Redis");
    bar.tick();
    move |done| {
        bar.set_length(done.of as u64);
        bar.set_position(done.runs as u64);
        let (latest, minutes) = (done.latest, done.left.as_secs().div_ceil(60));
        bar.set_message(format!(
            "{} at {}: {}; about {minutes} min left",
            latest.strategy,
            latest.level,
            latest.verdict.as_str()
        ));
        if done.runs == done.of {
            bar.finish_and_clear();
        }
    }
}

fn report_text(report: &RunReport) -> String {
    let names = ["strategy", "level", "faults", "verdict", "buyers/s", "p50 ms", "p99 ms"];
    let more = ["sold", "oversold", "unsold", "duplicates", "lost", "errors"];
    let mut rows = table::with_header(&[&names[..], &more[..]].concat());
    for result in &report.results {
        let mark = if result.agrees { "" } else { " (!)" };
        let counts = [
            result.sold,
            result.oversold,
            result.unsold,
            result.duplicate_orders,
            result.lost_orders,
        ];
        let mut cells = vec![
            Cell::new(&result.strategy),
            number(result.level),
            Cell::new(result.faults.as_str()),
            Cell::new(format!("{}{mark}", result.verdict.as_str())),
            number(grouped(result.throughput_per_second as u64)),
            number(format!("{:.1}", result.latency_ms.p50)),
            number(format!("{:.1}", result.latency_ms.p99)),
        ];
        cells.extend(counts.iter().map(|count| number(grouped(count.unsigned_abs()))));
        cells.push(number(grouped(result.errors)));
        rows.add_row(cells);
        if let Some(direct) = &result.without_http {
            rows.add_row(vec![
                Cell::new("  without HTTP"),
                number(result.level),
                Cell::new(result.faults.as_str()),
                Cell::new(direct.verdict.as_str()),
                number(grouped(direct.throughput_per_second as u64)),
                number(format!("{:.2}", direct.latency_ms.p50)),
                number(format!("{:.2}", direct.latency_ms.p99)),
                number(grouped(direct.sold.unsigned_abs())),
            ]);
        }
    }
    let verdict = if report.agrees() {
        "Every verdict agrees with what the strategy promises."
    } else {
        "A verdict marked (!) does not agree with what the strategy promises."
    };
    format!("{rows}\n{verdict}\nSeed {}. Repeat: {}\n", report.seed, report.command)
}

fn show_incident(args: &IncidentArgs) -> Outcome {
    let all = incident::VARIANTS.iter().map(|(name, _)| *name);
    let options = IncidentOptions {
        program: std::env::current_exe().context("cannot find this program")?,
        variants: all.filter(|name| args.variant == ALL || args.variant == *name).collect(),
        seed: args.seed,
    };
    let report = incident::run(&options)?;
    if let Some(dir) = &args.out {
        report::write_incident(dir, &report)?;
    }
    if args.json {
        print::json(&report)?;
    } else {
        print::text(&incident_text(&report))?;
    }
    Ok(CommandResult::new(report.is_as_expected()))
}

/// The number of events that the report shows for each variant.
const EVENTS_SHOWN: usize = 30;

fn incident_text(report: &IncidentReport) -> String {
    let mut text = String::new();
    for variant in &report.variants {
        text += &format!("{}\n  {}\n", variant.strategy, variant.shows);
        for event in variant.failure_excerpt(EVENTS_SHOWN) {
            text += &format!("  {:>6} ms  {:<10} {}\n", event.at_ms, event.actor, event.event);
        }
        text += &format!(
            "  Sold {} of {} bottles; oversold {}.\n\n",
            variant.sold, variant.stock, variant.oversold
        );
    }
    text + &format!("Seed {}.\n", report.seed)
}

fn show_headline(args: &HeadlineArgs) -> Outcome {
    let options = HeadlineOptions {
        program: std::env::current_exe().context("cannot find this program")?,
        rate: args.rate,
        secs: args.secs,
        connections: args.connections.unsigned_abs() as usize,
    };
    let report = headline::run(&options)?;
    if let Some(dir) = &args.out {
        report::write_json(dir, "headline.json", &report)?;
    }
    if args.json {
        print::json(&report)?;
    } else {
        print::text(&headline_text(&report))?;
    }
    Ok(CommandResult::new(report.ok))
}

fn headline_text(report: &HeadlineReport) -> String {
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
    let verdict = match (report.ok, report.rate_reached) {
        (false, _) => "The checks failed.",
        (true, true) => "The checks passed at the requested rate; the audit is clean.",
        (true, false) => "The checks passed and the audit is clean. The rate was not reached.",
    };
    format!("{rows}\n{verdict}\n")
}
