//! `cargo xtask chaos`: builds the program and runs load on an installation while parts of it fail.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, anyhow, bail, ensure};
use clap::{Args, ValueEnum};
use doorbuster_harness::chaos::{self, ChaosPlan, Fault};
use doorbuster_harness::cluster::Shape;

/// The options of `cargo xtask chaos`.
#[derive(Args)]
pub struct Arguments {
    /// The shape of the installation.
    #[arg(long, value_enum, default_value_t = ShapeName::Cluster)]
    shape: ShapeName,
    /// Number of rounds. Each round injects the next fault of the list [default: one round per
    /// fault].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Seed of the random choices: the same seed causes the same faults [default: a new seed, which
    /// is printed].
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Inject only this fault; may be given several times. `list` shows all faults.
    #[arg(long = "fault", value_name = "NAME")]
    faults: Vec<String>,
    /// Number of buyers in each round.
    #[arg(long, value_name = "N", default_value_t = 600)]
    buyers: u32,
    /// The program that nodes run [default: a program that is built now].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Build the program in the release profile.
    #[arg(long, conflicts_with = "program")]
    release: bool,
    /// Another build of the program. The fault node-roll restarts each node with the other build.
    #[arg(long, value_name = "FILE")]
    next: Option<PathBuf>,
    /// Use nodes with one role each (two serve, one settles, one controls) instead of two nodes
    /// with all roles; shape cluster only.
    #[arg(long)]
    split: bool,
    /// Number of nodes [default: 2].
    #[arg(long, value_name = "N", conflicts_with = "split")]
    nodes: Option<usize>,
    /// Put this many edges in front of the nodes; shape cluster only.
    #[arg(long, value_name = "N", default_value_t = 0)]
    edges: usize,
    /// Change the number of partitions about once a second; shape cluster only.
    #[arg(long)]
    respread: bool,
    /// Keep the data and the logs even if all rounds pass.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShapeName {
    Postgres,
    Cluster,
}

/// Runs the rounds. Fails if a round has a finding.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let shape = match arguments.shape {
        ShapeName::Postgres => Shape::Postgres,
        ShapeName::Cluster => Shape::Cluster,
    };
    if arguments.faults.iter().any(|name| name == "list") {
        for fault in Fault::all_for(shape) {
            println!("{:<21} {}", fault.name(), fault.description());
        }
        return Ok(());
    }
    let program = match &arguments.program {
        Some(program) => std::path::absolute(program)?,
        None => build(arguments.release)?,
    };
    let dir = std::env::temp_dir().join(format!("doorbuster-chaos-{:08x}", std::process::id()));
    let mut plan = ChaosPlan::new(&program, &dir, shape);
    plan.faults =
        arguments.faults.iter().map(|name| fault(name, shape)).collect::<anyhow::Result<_>>()?;
    let once = if plan.faults.is_empty() { plan.rounds } else { plan.faults.len() as u64 };
    plan.rounds = arguments.rounds.unwrap_or(once);
    plan.seed = arguments.seed.unwrap_or(plan.seed);
    plan.buyers = arguments.buyers;
    plan.next = arguments.next.as_deref().map(std::path::absolute).transpose()?;
    if arguments.split {
        ensure!(
            shape == Shape::Cluster,
            "--split needs shape cluster: in shape postgres a node that serves also settles"
        );
        plan.roles = ["api", "api", "settle", "control"].map(str::to_owned).into();
    }
    ensure!(
        shape == Shape::Cluster || !(arguments.respread || arguments.edges > 0),
        "--edges and --respread need shape cluster"
    );
    plan.nodes = arguments.nodes.unwrap_or(plan.nodes);
    (plan.edges, plan.respread) = (arguments.edges, arguments.respread);
    println!("chaos: shape {}, {} rounds, seed {}", shape.as_str(), plan.rounds, plan.seed);
    let result = chaos::run(&plan, |round| println!("{}", round.to_text()));
    let wrong = match &result {
        Ok(rounds) => {
            println!("\n{}", chaos::summary_table(rounds));
            rounds.iter().filter(|round| !round.ok()).count()
        }
        Err(_) => 1,
    };
    if wrong == 0 && !arguments.keep {
        std::fs::remove_dir_all(&dir)
            .with_context(|| format!("cannot remove {}", dir.display()))?;
    } else {
        println!("kept: {}", dir.display());
    }
    let rounds = result?;
    ensure!(wrong == 0, "{wrong} of {} rounds have findings", rounds.len());
    println!("{} rounds: no unit oversold, no answer lost", rounds.len());
    Ok(())
}

fn fault(name: &str, shape: Shape) -> anyhow::Result<Fault> {
    let fault = Fault::parse(name)
        .ok_or_else(|| anyhow!("unknown fault {name}; --fault list lists all faults"))?;
    ensure!(
        Fault::all_for(shape).contains(&fault),
        "the fault {name} cannot happen in shape {}",
        shape.as_str()
    );
    Ok(fault)
}

pub(crate) fn build(release: bool) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "doorbuster"]);
    if release {
        command.arg("--release");
    }
    if !command.status().context("cannot start cargo")?.success() {
        bail!("failed to build doorbuster");
    }
    // This program is in `target/<profile>`.
    let this_program = std::env::current_exe()?;
    let target = this_program
        .parent()
        .and_then(std::path::Path::parent)
        .context("xtask is not in cargo's target directory")?;
    Ok(target.join(if release { "release/doorbuster" } else { "debug/doorbuster" }))
}
