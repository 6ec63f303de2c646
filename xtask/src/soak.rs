//! `cargo xtask soak`: runs an installation for hours under mixed traffic, and measures how fast
//! memory, open files, data and logs grow.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use doorbuster_harness::soak::{self, SoakPlan};

use crate::chaos;

/// The options of `cargo xtask soak`.
#[derive(Args)]
pub struct Arguments {
    /// How many hours traffic runs.
    #[arg(long, value_name = "H", default_value_t = 6.0, conflicts_with = "minutes")]
    hours: f64,
    /// How many minutes traffic runs.
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Number of buyers of each sale.
    #[arg(long, value_name = "N", default_value_t = 400)]
    buyers: u32,
    /// The program that nodes run [default: a program that is built now, in the release profile].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Keep the data and the logs.
    #[arg(long)]
    keep: bool,
}

/// Runs the traffic, and prints how fast each measured value grows. Fails if a value grows too
/// fast.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let secs = arguments.minutes.map_or(arguments.hours * 3_600.0, |minutes| minutes * 60.0);
    ensure!(secs.is_finite() && secs >= 10.0, "a run takes at least ten seconds");
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => chaos::build(true)?,
    };
    let dir = std::env::temp_dir().join(format!("doorbuster-soak-{:08x}", std::process::id()));
    let mut plan = SoakPlan::new(&program, &dir, Duration::from_secs_f64(secs));
    plan.buyers = arguments.buyers;
    println!("soak: {secs:.0} s, {} buyers a sale", plan.buyers);
    let report = soak::run(&plan, |line| println!("{line}"));
    let is_good = report.as_ref().is_ok_and(soak::SoakReport::ok);
    if is_good && !arguments.keep {
        std::fs::remove_dir_all(&dir)
            .with_context(|| format!("cannot remove {}", dir.display()))?;
    } else {
        println!("kept: {}", dir.display());
    }
    let report = report?;
    println!("\n{}", report.to_text());
    ensure!(report.ok(), "the run failed; the report names the reasons");
    Ok(())
}
