//! Writes the report: `report.html`, which needs no network, `report.md` for a pull request, and
//! `report.json`.

mod drawing;
mod html;
mod markdown;
mod source;

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::incident::IncidentReport;
use crate::result::RunReport;

/// Writes the three files into the directory, which is created if it does not exist.
pub fn write(dir: &Path, run: &RunReport, incident: Option<&IncidentReport>) -> Result<()> {
    write_file(dir, "report.json", &json(run)?)?;
    write_file(dir, "report.md", &markdown::render(run))?;
    write_file(dir, "report.html", &html::render_run(run, incident))
}

/// Writes only the incident, as a page and as JSON.
pub fn write_incident(dir: &Path, incident: &IncidentReport) -> Result<()> {
    write_file(dir, "incident.json", &json(incident)?)?;
    write_file(dir, "report.html", &html::render_incident(incident))
}

/// Writes one value as JSON.
pub fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    write_file(dir, name, &json(value)?)
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn write_file(dir: &Path, name: &str, text: &str) -> Result<()> {
    let path = dir.join(name);
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Returns one paragraph that summarises the run.
fn summary(run: &RunReport) -> String {
    use crate::contract::Claim;
    use crate::result::Verdict;
    let ids = |wanted: &dyn Fn(&crate::result::RunResult) -> bool| {
        let mut ids: Vec<&str> =
            run.results.iter().filter(|r| wanted(r)).map(|r| r.strategy.as_str()).collect();
        ids.dedup();
        ids.len()
    };
    let all = ids(&|_| true);
    let oversold = ids(&|result| result.verdict == Verdict::Oversold);
    let broken = ids(&|result| result.verdict != Verdict::Held);
    let safe = ids(&|result| result.claim == Claim::Safe && !result.agrees);
    let best = run
        .results
        .iter()
        .filter(|result| result.verdict == Verdict::Held && result.claim == Claim::Safe)
        .max_by(|a, b| a.throughput_per_second.total_cmp(&b.throughput_per_second));
    let best = best.map_or(String::new(), |best| {
        format!(
            " The fastest safe strategy was {} with {} buyers per second.",
            best.strategy,
            number(best.throughput_per_second)
        )
    });
    let safe = match safe {
        0 => "Every strategy that claims to be safe kept its promise.".to_owned(),
        count => format!("{count} strategies that claim to be safe did not keep their promise."),
    };
    format!("Of {all} strategies, {oversold} oversold and {broken} broke a promise. {safe}{best}")
}

/// Returns a number with separated thousands.
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
