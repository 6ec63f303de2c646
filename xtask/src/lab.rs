//! `cargo xtask lab`: runs every safe strategy of the lab with many seeds. No run may oversell.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::Value;

use crate::chaos;

/// The size of each run: the number of buyers, of units on sale, and of buyers who buy at the same
/// time. There are more buyers than units, so each run must sell the whole stock.
const SIZE: [&str; 6] = ["--buyers", "120", "--stock", "40", "--levels", "32"];

/// The options of `cargo xtask lab`.
#[derive(Args)]
pub struct Arguments {
    /// Number of seeds.
    #[arg(long, value_name = "N", default_value_t = 200)]
    seeds: u32,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    first: u32,
    /// The program to test [default: a program that is built now, in the release profile].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Runs the strategies and prints in how many runs they kept their promise. Fails if a run broke a
/// promise.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => chaos::build(true)?,
    };
    let list = lab(&program, &["list".to_owned()])?;
    let strategies = list["strategies"].as_array().context("the list has no strategies")?;
    let safe = strategies.iter().filter(|strategy| strategy["claim"] == "safe");
    let ids: Vec<&str> = safe.filter_map(|strategy| strategy["id"].as_str()).collect();
    println!("lab: {} safe strategies, {} seeds", ids.len(), arguments.seeds);
    let (first, seeds) = (arguments.first.to_string(), arguments.seeds.to_string());
    let ids = ids.join(",");
    let words = ["run", "--strategies", &ids, "--seed", &first, "--seeds", &seeds];
    let words: Vec<String> = words.iter().chain(&SIZE).map(|&word| word.to_owned()).collect();
    let report = lab(&program, &words)?;
    let results = report["results"].as_array().context("the report has no results")?;
    let is_broken = |result: &&Value| {
        let direct = &result["without_http"];
        let sold_all = |one: &Value| one["verdict"] == "held" && one["sold"] == 40;
        !sold_all(result) || !(direct.is_null() || sold_all(direct))
    };
    let broken: Vec<&Value> = results.iter().filter(is_broken).collect();
    let failures = report["failures"].as_array().context("the report has no failures")?;
    for one in broken.iter().copied().chain(failures) {
        println!("{one}");
    }
    let held = results.len() - broken.len();
    let seconds = report["seconds"].as_f64().unwrap_or_default();
    println!(
        "{held} of {} runs kept their promise, {} failures, {seconds:.0} s",
        results.len(),
        failures.len()
    );
    ensure!(report["interrupted"] == false, "the run was interrupted");
    ensure!(broken.is_empty() && failures.is_empty(), "a safe strategy broke its promise");
    Ok(())
}

fn lab(program: &Path, words: &[String]) -> anyhow::Result<Value> {
    let mut command = Command::new(program);
    command.arg("lab").args(words).arg("--json").stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    serde_json::from_slice(&output.stdout).context("the program printed no report")
}
