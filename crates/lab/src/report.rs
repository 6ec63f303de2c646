//! Writes the report as three files: `report.html`, which needs no network; `report.md`, for a pull
//! request; and `report.json`.

mod drawing;
mod html;
mod markdown;
mod source;

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::contract::Claim;
use crate::headline::HeadlineReport;
use crate::incident::IncidentReport;
use crate::result::{RunReport, RunResult, Verdict};

/// Creates the directory if it does not exist, and checks that the lab can write files into it.
pub fn prepare(dir: &Path) -> Result<()> {
    // The name of the test file is random, so that no existing file is changed.
    let probe = dir.join(format!(".doorbuster-lab-{:016x}", rand::random::<u64>()));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, ""))
        .and_then(|()| std::fs::remove_file(&probe))
        .with_context(|| format!("cannot write into {}", dir.display()))
}

/// Writes the report of `lab run` into the directory.
pub fn write_run(dir: &Path, run: &RunReport, incident: Option<&IncidentReport>) -> Result<()> {
    write_files(dir, run, &markdown::render_run(run), &html::render_run(run, incident))
}

/// Writes the report of `lab incident` into the directory.
pub fn write_incident(dir: &Path, incident: &IncidentReport) -> Result<()> {
    let text = markdown::render_incident(incident);
    write_files(dir, incident, &text, &html::render_incident(incident))
}

/// Writes the report of `lab headline` into the directory.
pub fn write_headline(dir: &Path, headline: &HeadlineReport) -> Result<()> {
    let text = markdown::render_headline(headline);
    write_files(dir, headline, &text, &html::render_headline(headline))
}

fn write_files(dir: &Path, value: &impl Serialize, markdown: &str, html: &str) -> Result<()> {
    write_file(dir, "report.json", &json(value)?)?;
    write_file(dir, "report.md", markdown)?;
    write_file(dir, "report.html", html)
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn write_file(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn summary(run: &RunReport) -> String {
    let ids = |wanted: &dyn Fn(&RunResult) -> bool| {
        let mut ids: Vec<&str> =
            run.results.iter().filter(|r| wanted(r)).map(|r| r.strategy.as_str()).collect();
        ids.dedup();
        ids
    };
    let all = ids(&|_| true).len();
    let not_held = ids(&|result| result.verdict != Verdict::Held);
    let oversold = ids(&|result| result.verdict == Verdict::Oversold).len();
    // Strategies that held in every run, although one of their runs ended before all buyers had
    // started.
    let mut unfinished = ids(&RunResult::is_unfinished);
    unfinished.retain(|id| !not_held.contains(id));
    let broken = ids(&|result| !result.keeps_promise());
    let strategies = if all == 1 { "strategy" } else { "strategies" };
    let held = all - not_held.len() - unfinished.len();
    let mut text = format!("Of {all} {strategies}, {held} held in every run, {oversold} oversold");
    if not_held.len() > oversold {
        text += &format!(", and {} failed in another way", not_held.len() - oversold);
    }
    text += ". ";
    if !unfinished.is_empty() {
        let count = unfinished.len();
        text += &format!("{count} did not finish in time: {}. ", unfinished.join(", "));
    }
    text += &match broken.len() {
        0 => "No strategy broke its promise.".to_owned(),
        1 => format!("One strategy broke its promise: {}.", broken.join(", ")),
        count => format!("{count} strategies broke their promises: {}.", broken.join(", ")),
    };
    if !run.failures.is_empty() {
        let count = run.failures.len();
        let runs = if count == 1 { "run" } else { "runs" };
        text += &format!(" {count} {runs} failed and did not get a verdict.");
    }
    if run.interrupted {
        text += " The report is incomplete, because the command was interrupted.";
    }
    let best = run
        .results
        .iter()
        .filter(|result| result.verdict == Verdict::Held && result.claim == Claim::Safe)
        .filter(|result| !result.is_unfinished())
        .max_by(|a, b| a.throughput_per_second.total_cmp(&b.throughput_per_second));
    if let Some(best) = best {
        text += &format!(
            " The fastest safe strategy was {} with {} buyers per second.",
            best.strategy,
            number(best.throughput_per_second)
        );
    }
    text
}

/// Returns the number with a comma between groups of three digits.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
