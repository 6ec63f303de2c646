//! `cargo xtask bench`: measures the server and other programs in one run on this machine, and
//! reports the ratios of their results.
//!
//! Each figure starts its own instances of all programs, and checks the results of their work. If a
//! result is wrong, the figure shows the reason instead of a number.

mod attack;
mod config;
mod disk;
mod door_requests;
mod figure;
mod figures;
mod limits;
mod naive;
mod passes;
mod peer;
mod process;
mod resp;
mod server;
mod sockets;
mod table;
mod temp_dir;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::config::BenchConfig;

/// Compares Doorbuster with other programs on this machine, side by side, and prints one table.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    max_term_width = 100,
    after_help = "Example:\n  cargo xtask bench R1 R2 --rounds 7"
)]
struct Cli {
    /// Figures to measure, such as R1 [default: all figures].
    names: Vec<String>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Number of measured rounds, without the warm-up round.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// Run one short round of each figure, to test the benches themselves. The values do not show
    /// how fast the server is.
    #[arg(long)]
    quick: bool,
    /// Measure memory and growth with ten million buyers instead of one million.
    #[arg(long, conflicts_with = "quick")]
    large: bool,
    /// The server to measure [default: the server that was built beside this program].
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Directory for data; it must be on a disk.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure, in this process, only the memory of a slot with this many requests, and print the
    /// result.
    #[arg(long, hide = true, value_name = "REQUESTS")]
    slot_alone: Option<u32>,
    #[command(flatten)]
    naive: naive::NaiveArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Measures the figures and prints them. Returns whether every floor is met.
fn run(cli: &Cli) -> Result<bool> {
    if let Some(requests) = cli.slot_alone {
        println!("{}", figures::slot_alone(requests)?);
        return Ok(true);
    }
    if cli.naive.naive.is_some() {
        naive::serve(&cli.naive)?;
        return Ok(true);
    }
    let wanted = figures::choose(&cli.names)?;
    // The measurements open ten thousand connections. Each connection needs one file descriptor in
    // this process and one in the server.
    rlimit::increase_nofile_limit(u64::MAX).context("cannot raise the limit of open files")?;
    let config = BenchConfig::new(cli)?;
    let mut found = Vec::new();
    for group in wanted {
        found.extend(group.measure(&config));
    }
    let machine = config.machine();
    if cli.json {
        println!("{:#}", table::json(&machine, &found));
    } else {
        println!("{}", table::text(&machine, &found));
    }
    Ok(found.iter().all(|figure| figure.status().meets_floor()))
}
