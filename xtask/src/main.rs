//! The repository's tasks. `cargo xtask --help` lists them.

mod bench;
mod chaos;
mod dist;
mod events;
mod glyphs;
mod grafana;
mod lab;
mod licences;
mod logs;
#[cfg(test)]
mod packaging_tests;
mod sheet;
mod sim;
mod soak;
mod tidy;

use clap::{Parser, Subcommand};

/// A simulated sale allocates many small values, which is faster with this allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check the repository's rules: file headers, sizes, crate dependencies, wording, and names in
    /// documents.
    Tidy,
    /// Check the licences of every dependency.
    Licences,
    /// Write docs/events.md from the code.
    Events,
    /// Write docs/logs.md from the code.
    Logs,
    /// Write packaging/grafana/doorbuster.json from the guide's tables of metrics.
    Grafana,
    /// Write the outlines of captcha characters from font files.
    Glyphs(glyphs::Arguments),
    /// Take a picture of every state of the pages, and put the pictures on sheets.
    Sheet,
    /// Simulate the protocol under faults, from seeds.
    Sim(sim::Arguments),
    /// Run load on an installation, break parts of it, and check every answer.
    Chaos(chaos::Arguments),
    /// Run every safe strategy of the lab with many seeds. No run may oversell.
    Lab(lab::Arguments),
    /// Make the files of a release: archive, Debian package, bill of materials, checksums.
    Dist(dist::Arguments),
    /// Run an installation for hours under mixed traffic, and check that memory, files, data and
    /// logs do not grow too fast.
    Soak(soak::Arguments),
    /// Compare Doorbuster with other programs on this machine: `bench [NAME…] [--json] [--rounds N]
    /// [--quick]`.
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of the benches; see `--help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::Tidy => tidy::run(),
        Chore::Licences => licences::run(),
        Chore::Events => events::run(),
        Chore::Logs => logs::run(),
        Chore::Grafana => grafana::run(),
        Chore::Glyphs(arguments) => glyphs::run(&arguments),
        Chore::Sheet => sheet::run(),
        Chore::Sim(arguments) => sim::run(&arguments),
        Chore::Chaos(arguments) => chaos::run(&arguments),
        Chore::Lab(arguments) => lab::run(&arguments),
        Chore::Dist(arguments) => dist::run(&arguments),
        Chore::Soak(arguments) => soak::run(&arguments),
        Chore::Bench { arguments } => bench::run(&arguments),
    }
}
