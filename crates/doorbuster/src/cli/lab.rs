//! Arguments of `lab`.

use std::path::PathBuf;

use clap::builder::RangedI64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use doorbuster_lab::{Fault, headline, incident, limits, registry};

use super::settings::SettingsArgs;

/// Compare every known way to deduct stock, on real servers.
///
/// Starts a private PostgreSQL and a private Redis, gives every strategy the same buyers, and
/// checks all results with the same checker. The Debian packages postgresql and redis-server must
/// be installed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster lab list
  doorbuster lab run --strategies conditional-update,redis-lua --levels 1,64
  doorbuster lab run --faults all --out report
  doorbuster lab incident
  doorbuster lab headline")]
pub struct LabArgs {
    /// The operation.
    #[command(subcommand)]
    pub command: LabCommand,
}

/// An operation of the lab.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// List every strategy, with its id, its promise and its source.
    #[command(after_help = "Example:\n  doorbuster lab list --json")]
    List {
        /// Print one JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    Run(LabRunArgs),
    Incident(IncidentArgs),
    Headline(HeadlineArgs),
    /// Serve one strategy. `run` starts this process.
    #[command(hide = true)]
    Worker,
    /// Sell without HTTP. `run` starts this command as a process of its own.
    #[command(hide = true)]
    Direct(SettingsArgs),
}

/// The largest `--seed`. A run may use 10,000 consecutive seeds from `--seed` on, and all of these
/// seeds must fit into 64 bits.
const SEED_MAX: u64 = u64::MAX - 10_000;

/// Run strategies against the same buyers, and judge each strategy.
///
/// Exits with 0 if every run has a verdict and no verdict contradicts the strategy's promise. A
/// strategy that is called "safe" promises correct sales in every run. A strategy that is called
/// "safe without faults" promises correct sales only in runs without faults. An unsafe strategy
/// promises nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster lab run
  doorbuster lab run --strategies redis-lock,redis-lock-fenced --faults slow
  doorbuster lab run --strategies all --faults all --out report")]
pub struct LabRunArgs {
    /// Ids of strategies, or all.
    #[arg(long, value_name = "IDS", value_delimiter = ',', default_value = "all", value_parser = strategy)]
    pub strategies: Vec<&'static str>,
    /// Number of buyers of each run, 1 to 1,000,000. A run with a fault has fewer buyers, who
    /// arrive over a longer time.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = RangedI64ValueParser::<i64>::new().range(limits::BUYERS))]
    pub buyers: i64,
    /// Units on sale, 0 to 1,000,000.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = RangedI64ValueParser::<i64>::new().range(limits::STOCK))]
    pub stock: i64,
    /// Units that each buyer asks for, 1 to 10,000.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedI64ValueParser::<i64>::new().range(limits::UNITS))]
    pub units: i64,
    /// Numbers of concurrent buyers, each 1 to 1,024. Each strategy runs with each number.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,16,64,256", value_parser = RangedI64ValueParser::<i64>::new().range(limits::LEVEL))]
    pub levels: Vec<i64>,
    /// The faults during the sale. Each strategy runs with each fault.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "none")]
    pub faults: Vec<FaultChoice>,
    /// The seed. It determines the order of the buyers and the times of the faults [default: a new
    /// seed each time].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    pub seed: Option<u64>,
    /// Number of consecutive seeds, 1 to 10,000. Each run is repeated with each seed; --seed is the
    /// first seed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub seeds: u32,
    /// Write report.html, report.md and report.json into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON object instead of a table, and no progress.
    #[arg(long)]
    pub json: bool,
}

/// Reproduce an incident in which a lock expired before its holder had finished. Compare this lock
/// with safer variants.
///
/// Three servers sell 100 bottles under a lock that lasts 60 ms. A call under the lock sometimes
/// takes 90 ms. Exits with 1 if the verdict of a safe variant is not `held`, or if the unsafe lock
/// does not oversell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster lab incident
  doorbuster lab incident --variant redis-lock-unsafe --seed 7")]
pub struct IncidentArgs {
    /// A variant, or all.
    #[arg(long, value_name = "ID", default_value = "all", value_parser = incident_variant)]
    pub variant: &'static str,
    /// The seed. It determines which calls under the lock take 90 ms.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write report.html, report.md and report.json into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON object instead of the report.
    #[arg(long)]
    pub json: bool,
}

/// Run a sale at a fixed rate against one Doorbuster process, and check the result.
///
/// 10,000 units are on sale. The independent auditor checks the store afterwards. Exits with 0 only
/// if all four conditions are true: every unit that could be sold was sold once; every request got
/// the answer "reserved" or "sold out"; every order in the store was reported in an answer; the
/// audit found no fault. The result also says whether the process reached the rate. --rate times
/// --secs must be at most 10,000,000 requests.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster lab headline
  doorbuster lab headline --rate 20000 --secs 5 --json")]
pub struct HeadlineArgs {
    /// Requests a second, 1 to 1,000,000.
    #[arg(long, value_name = "N", default_value_t = 120_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Seconds, 1 to 600.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub secs: u32,
    /// Keep-alive connections, 1 to 10,000.
    #[arg(long, value_name = "N", default_value_t = headline::CONNECTIONS as i64, value_parser = RangedI64ValueParser::<i64>::new().range(1..=10_000))]
    pub connections: i64,
    /// Write report.html, report.md and report.json into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// A choice of faults: none, one kind, or each kind in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FaultChoice {
    /// No fault.
    None,
    /// Processes that deduct units are killed and started again.
    Crash,
    /// One database connection in ten is slow.
    Slow,
    /// Redis restarts empty or with an old snapshot.
    Restart,
    /// Each strategy runs first without a fault, and then once with each of the faults above.
    All,
}

impl FaultChoice {
    /// Returns the faults that this choice stands for.
    pub fn faults(self) -> Vec<Fault> {
        match self {
            Self::None => vec![Fault::None],
            Self::Crash => vec![Fault::Crash],
            Self::Slow => vec![Fault::Slow],
            Self::Restart => vec![Fault::Restart],
            Self::All => Fault::ALL.to_vec(),
        }
    }
}

/// The argument that selects every strategy or every variant.
pub const ALL: &str = "all";

fn strategy(id: &str) -> Result<&'static str, String> {
    if id == ALL {
        return Ok(ALL);
    }
    let entry = registry::find(id).ok_or("there is no such strategy; see doorbuster lab list")?;
    Ok(entry.id)
}

fn incident_variant(id: &str) -> Result<&'static str, String> {
    if id == ALL {
        return Ok(ALL);
    }
    let names: Vec<&str> = incident::VARIANTS.iter().map(|(name, _)| *name).collect();
    incident::variant(id).ok_or_else(|| format!("the variants are {}", names.join(", ")))
}
