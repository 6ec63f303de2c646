//! The `doorbuster` program: parses the arguments and runs the command.
//!
//! Exit codes: 0, success; 1, the command was refused, failed or found a problem; 2, the usage or
//! the settings are wrong.

mod audit;
mod block;
mod cli;
mod client;
mod cluster;
mod config;
mod confirm;
mod csv;
mod dead_letter;
mod demo;
mod draw;
mod exit;
mod lab;
mod logs;
mod maintenance;
mod operators;
mod order;
mod page;
mod page_export;
mod passphrase;
mod payment;
mod print;
mod reconcile;
mod sale;
mod serve;
mod signals;
mod storm;
mod table;
mod token;
mod webhook;

use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use cli::{Cli, Command};
use exit::Outcome;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROGRAM: &str = "doorbuster";
/// A shell's completion script sets this environment variable when it runs the program.
const COMPLETE_VARIABLE: &str = "_DOORBUSTER_COMPLETE";

fn main() -> ExitCode {
    clap_complete::CompleteEnv::with_factory(Cli::command)
        .var(COMPLETE_VARIABLE)
        .bin(PROGRAM)
        .complete();
    let matches = Cli::command().get_matches();
    let command = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command;
    let is_typed =
        |matches: &ArgMatches, name| matches.value_source(name) == Some(ValueSource::CommandLine);
    if let (Command::Audit(args), Some((_, matches))) = (&command, matches.subcommand())
        && !args.by_server
        && (is_typed(matches, "url") || is_typed(matches, "key"))
    {
        let why = "--url and --key need --server: without it, `audit` reads the store";
        Cli::command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    exit::exit_code(run(command))
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Storm(args) => storm::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Cluster(args) => cluster::run(args),
        Command::Lab(args) => lab::run(&args),
        Command::Status(args) => operators::status(&args),
        Command::Nodes(args) => operators::nodes(&args),
        Command::Sale(args) => sale::run(args),
        Command::Order(args) => order::run(args),
        Command::Buyer(args) => operators::buyer(&args),
        Command::Waitlist(args) => operators::waitlist(args),
        Command::Code(args) => operators::code(args),
        Command::Key(args) => operators::key(args),
        Command::Actions(args) => operators::actions(&args),
        Command::Block(args) => block::run(args),
        Command::Webhook(args) => webhook::run(args),
        Command::DeadLetter(args) => dead_letter::run(args),
        Command::Draw(args) => draw::run(&args),
        Command::Csv(args) => csv::run(&args),
        Command::Reconcile(args) => reconcile::run(&args),
        Command::Export(args) => page_export::run(&args),
        Command::Backup(args) => maintenance::backup(&args),
        Command::Restore(args) => maintenance::restore(&args),
        Command::Migrate(args) => maintenance::migrate(&args),
        Command::Config(args) => config::run(&args),
        Command::Page(args) => page::run(&args),
        Command::Payment(args) => payment::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Man(args) => man(&args),
        Command::Completions { shell } => completions(shell),
    }
}

fn man(args: &cli::ManArgs) -> Outcome {
    use anyhow::Context;
    let dir = &args.dir;
    let place = || format!("failed to write manual pages into {}", dir.display());
    std::fs::create_dir_all(dir).with_context(place)?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    write_pages(command, dir, &mut pages).with_context(place)?;
    if !args.json {
        return print::line(&format!("{} has the manual pages", dir.display()));
    }
    pages.sort();
    print::json(&serde_json::json!({ "dir": dir.display().to_string(), "pages": pages }))
}

fn write_pages(command: clap::Command, dir: &Path, pages: &mut Vec<String>) -> std::io::Result<()> {
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(subcommand.clone(), dir, pages)?;
    }
    let page = clap_mangen::Man::new(command);
    page.generate_to(dir)?;
    pages.push(page.get_filename());
    Ok(())
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    use anyhow::Context;
    let (shells, name) = (clap_complete::env::Shells::builtins(), shell.to_string());
    let script = shells.completer(&name).with_context(|| format!("no script for {name}"))?;
    let mut text = Vec::new();
    let written =
        script.write_registration(COMPLETE_VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut text);
    written.context("cannot write the script")?;
    print::text(&String::from_utf8_lossy(&text))
}
