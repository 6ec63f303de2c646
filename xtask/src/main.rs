//! Chores as code: `cargo xtask tidy | licences | events | glyphs | sim | chaos | bench`.

mod bench;
mod chaos;
mod events;
mod glyphs;
mod licences;
mod sim;
mod tidy;

use clap::{Parser, Subcommand};

/// Chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check what a reviewer would nag about: headers, sizes, arrows between crates, forbidden
    /// words, documents that name what exists.
    Tidy,
    /// Check the licences of everything that the program is built from.
    Licences,
    /// Write docs/events.md from the code.
    Events,
    /// Bake the outlines that captchas are lettered with out of a font's files.
    Glyphs(glyphs::Arguments),
    /// Simulate the protocol under faults, from seeds.
    Sim(sim::Arguments),
    /// Break a running installation in mid storm, again and again, and judge what every buyer was
    /// told.
    Chaos(chaos::Arguments),
    /// Compare with peers on this machine, side by side: `bench [NAME…] [--json] [--rounds N]
    /// [--quick]`.
    #[command(disable_help_flag = true)]
    Bench {
        /// What the benches are asked; `--help` tells.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().chore {
        Chore::Tidy => tidy::run(),
        Chore::Licences => licences::run(),
        Chore::Events => events::run(),
        Chore::Glyphs(arguments) => glyphs::run(&arguments),
        Chore::Sim(arguments) => sim::run(&arguments),
        Chore::Chaos(arguments) => chaos::run(&arguments),
        Chore::Bench { arguments } => bench::run(&arguments),
    }
}
