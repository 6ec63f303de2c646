//! `lab`: runs the comparison of strategies, and prints the results.

mod direct;
mod text;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use doorbuster_lab::headline::HeadlineOptions;
use doorbuster_lab::incident::{IncidentOptions, IncidentReport};
use doorbuster_lab::run::{RunOptions, RunProgress};
use doorbuster_lab::{headline, incident, registry, report, run as lab_run, worker};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::cli::{ALL, HeadlineArgs, IncidentArgs, LabArgs, LabCommand, LabRunArgs};
use crate::exit::{CommandResult, Failure, Outcome};
use crate::storm::raise_open_files_limit;
use crate::table::{self, grouped};
use crate::{print, signals};

/// The strategy whose lock causes the incident of `lab incident`. If a run with `--out` includes
/// this strategy, the run's report also contains the report of the incident.
const INCIDENT_OF: &str = "redis-lock-unsafe";
/// Approximate duration of the incident with all its variants.
const INCIDENT_TAKES: Duration = Duration::from_secs(15);

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
    prepare_out(args.out.as_deref())?;
    signals::set_on_signal(Arc::clone(&options.stop))?;
    let incident_follows = args.out.is_some() && options.strategies.contains(&INCIDENT_OF);
    let report = lab_run::run(&options, progress(!args.json, incident_follows))?;
    // The result is printed before the incident is reproduced and before the files are written. So
    // the user sees the result even if one of these later steps fails.
    print::report(args.json, &report, || text::run(&report))?;
    if let Some(dir) = &args.out {
        let bar = progress_bar(!args.json && incident_follows);
        bar.set_message("reproducing the incident");
        bar.tick();
        let incident = shown_incident(&options);
        bar.finish_and_clear();
        let shown = incident.as_ref().ok().and_then(Option::as_ref);
        report::write_run(dir, &report, shown)?;
        incident.context("cannot reproduce the incident, so the report does not contain it")?;
    }
    Ok(CommandResult::new(report.agrees()))
}

/// Prepares the directory for the report. If the directory cannot be prepared, the command must
/// fail before it starts the long run.
fn prepare_out(dir: Option<&Path>) -> Result<(), Failure> {
    dir.map_or(Ok(()), report::prepare)
        .map_err(|error| Failure::Settings(format!("--out: {error:#}")))
}

fn shown_incident(options: &RunOptions) -> anyhow::Result<Option<IncidentReport>> {
    let stop = Arc::clone(&options.stop);
    if !options.strategies.contains(&INCIDENT_OF) || stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let (program, seed) = (options.program.clone(), options.seed);
    let variants = incident::VARIANTS.iter().map(|(name, _)| *name).collect();
    incident::run(&IncidentOptions { program, variants, seed, stop }).map(Some)
}

fn options(args: &LabRunArgs) -> Result<RunOptions, Failure> {
    let ids = args.strategies.iter().flat_map(|&id| {
        let all = registry::ENTRIES.iter().map(|entry| entry.id);
        all.filter(move |one| id == ALL || id == *one)
    });
    let (strategies, levels) = (distinct(ids), distinct(args.levels.iter().copied()));
    let faults = distinct(args.faults.iter().flat_map(|choice| choice.faults()));
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let level_words: Vec<String> = levels.iter().map(i64::to_string).collect();
    let words: Vec<&str> = faults.iter().map(|fault| fault.as_str()).collect();
    let seeds = if args.seeds > 1 { format!(" --seeds {}", args.seeds) } else { String::new() };
    let command = format!(
        "doorbuster lab run --strategies {} --buyers {} --stock {} --units {} --levels {} \
         --faults {} --seed {seed}{seeds}",
        args.strategies.join(","),
        args.buyers,
        args.stock,
        args.units,
        level_words.join(","),
        words.join(",")
    );
    Ok(RunOptions {
        program: std::env::current_exe().context("cannot find this program")?,
        strategies,
        buyers: args.buyers,
        stock: args.stock,
        units: args.units,
        levels: levels.iter().map(|level| level.unsigned_abs() as usize).collect(),
        faults,
        seed,
        seeds: args.seeds,
        command,
        stop: Arc::default(),
    })
}

fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(&value) {
            distinct.push(value);
        }
    }
    distinct
}

fn progress_bar(shown: bool) -> ProgressBar {
    let target = match shown && std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::with_template("{msg}").expect("a valid template"));
    bar
}

/// Returns a function that shows the progress of a run. With `incident_follows`, the estimate of
/// the remaining time includes the incident that is reproduced after the run.
fn progress(shown: bool, incident_follows: bool) -> impl FnMut(RunProgress<'_>) {
    let bar = progress_bar(shown);
    let style = ProgressStyle::with_template("{bar:24.cyan/dim} {pos}/{len} {wide_msg}");
    bar.set_style(style.expect("a valid template").progress_chars("━━─"));
    bar.set_message("starting PostgreSQL and Redis");
    bar.tick();
    let after = if incident_follows { INCIDENT_TAKES } else { Duration::ZERO };
    move |done| {
        bar.set_length(done.of as u64);
        bar.set_position(done.runs as u64);
        let minutes = (done.left + after).as_secs().div_ceil(60);
        bar.set_message(format!("{}; about {minutes} min left", done.latest));
        if done.runs == done.of {
            bar.finish_and_clear();
        }
    }
}

fn show_incident(args: &IncidentArgs) -> Outcome {
    let all = incident::VARIANTS.iter().map(|(name, _)| *name);
    let options = IncidentOptions {
        program: std::env::current_exe().context("cannot find this program")?,
        variants: all.filter(|name| args.variant == ALL || args.variant == *name).collect(),
        seed: args.seed,
        stop: Arc::default(),
    };
    prepare_out(args.out.as_deref())?;
    signals::set_on_signal(Arc::clone(&options.stop))?;
    let report = incident::run(&options)?;
    print::report(args.json, &report, || text::incident(&report))?;
    if let Some(dir) = &args.out {
        report::write_incident(dir, &report)?;
    }
    Ok(CommandResult::new(report.is_as_expected()))
}

fn show_headline(args: &HeadlineArgs) -> Outcome {
    let requests = u64::from(args.rate) * u64::from(args.secs);
    if requests > headline::REQUESTS_MAX {
        return Err(Failure::Settings(format!(
            "--rate and --secs: {} requests are too many; at most {} are possible",
            grouped(requests),
            grouped(headline::REQUESTS_MAX)
        )));
    }
    let options = HeadlineOptions {
        program: std::env::current_exe().context("cannot find this program")?,
        rate: args.rate,
        secs: args.secs,
        connections: args.connections.unsigned_abs() as usize,
        stop: Arc::default(),
    };
    prepare_out(args.out.as_deref())?;
    signals::set_on_signal(Arc::clone(&options.stop))?;
    let report = headline::run(&options)?;
    print::report(args.json, &report, || text::headline(&report))?;
    if let Some(dir) = &args.out {
        report::write_headline(dir, &report)?;
    }
    Ok(CommandResult::new(report.ok))
}

#[cfg(test)]
mod tests {
    use super::distinct;

    #[test]
    fn a_repeated_argument_counts_once() {
        assert_eq!(distinct(["all", "crash", "all", "crash", "none"]), ["all", "crash", "none"]);
    }
}
