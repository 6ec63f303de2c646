//! Arguments of `storm`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use clap::value_parser;
use doorbuster_api::limits::UNITS_MAX;
use doorbuster_harness::load::limits;

use super::server::AddressArg;
use super::settings::SettingsArgs;
use super::{complete, values};

/// Send load to a running server: each of many different buyers tries to buy an item once.
///
/// The command waits for each buyer's final answer: an order, a refusal, or the verdict of a queued
/// request. If the status is 429 or 503, the command repeats the request with the same request key.
/// Exits with 1 if an answer is missing or not valid.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster storm --sale spring --item phone --buyers 10000
  doorbuster storm --url http://shop:8080 --sale spring --item phone --buyers 100000 --rate 5000 \\
      --buyer-secret-file /run/secrets/buyer --answers answers.jsonl
  doorbuster audit --answers answers.jsonl")]
pub struct StormArgs {
    /// Address of the running server: http://host:port.
    #[arg(
        long,
        env = "DOORBUSTER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub url: AddressArg,
    /// The sale to buy in.
    #[arg(long, value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The item to buy.
    #[arg(long, value_parser = values::name, add = complete::items())]
    pub item: String,
    /// Number of different buyers, 1 to 10,000,000.
    #[arg(long, value_name = "N", value_parser = buyers())]
    pub buyers: u32,
    /// Units that each buyer asks for.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = units())]
    pub units: u32,
    /// Number of keep-alive connections, at most one for each buyer.
    #[arg(long, value_name = "N", default_value_t = limits::CONNECTIONS_DEFAULT, value_parser = connections())]
    pub connections: usize,
    /// Threads that send requests, 1 to 64. More threads than cores do not send faster [default:
    /// half of the cores].
    #[arg(long, value_name = "N", value_parser = generators())]
    pub generators: Option<usize>,
    /// Number of buyers that arrive each second [default: as many as the server answers].
    #[arg(long, value_name = "N", value_parser = values::rate)]
    pub rate: Option<f64>,
    /// Let new buyers arrive for this long, such as 30s [default: until all buyers have arrived].
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Two storms with the same seed have the same buyers in the same sequence [default: a new seed
    /// each time].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Sign the buyers' tokens with the secret in this file [default: the secret in the settings].
    #[arg(long, value_name = "FILE")]
    pub buyer_secret_file: Option<PathBuf>,
    /// Write each final answer as one JSON line to this file. `audit --answers` checks such files.
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Print one JSON object instead of a table, and no progress.
    #[arg(long)]
    pub json: bool,
    /// Print progress and the report as JSON lines. The demo runs this command in another process
    /// and reads these lines.
    #[arg(long, hide = true)]
    pub relay: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Returns the parser of the number of buyers.
pub fn buyers() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=limits::BUYERS_MAX.into())
}

/// Returns the parser of the number of units that each buyer asks for.
pub fn units() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=UNITS_MAX.into())
}

/// Returns the parser of the number of connections.
pub fn connections() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=limits::CONNECTIONS_MAX as u64)
}

/// Returns the parser for the flag that sets the number of threads that send requests.
pub fn generators() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=limits::GENERATORS_MAX as u64)
}

/// Returns the parser for the number of units that a demo has on sale.
pub fn stock() -> impl clap::builder::TypedValueParser<Value = u32> {
    value_parser!(u32).range(0..=i64::from(doorbuster_api::limits::STOCK_MAX))
}
