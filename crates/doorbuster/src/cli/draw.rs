//! Arguments of `draw`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::server::AddressArg;
use super::{complete, values};

/// Verify the draw of a sale's waiting room.
#[derive(Debug, Args)]
pub struct DrawArgs {
    /// The operation.
    #[command(subcommand)]
    pub command: DrawCommand,
}

/// An operation on a draw.
#[derive(Debug, Subcommand)]
pub enum DrawCommand {
    Verify(VerifyArgs),
}

/// Check that the seed of a draw matches its commitment, and list the participants in drawn order.
///
/// The command reads the data from files, or from a server that has published the seed. To read the
/// participants from the server, give the operators' key. The command shares no code with the
/// server. The command exits with 1 if the data does not match.
#[derive(Args)]
#[command(after_help = "Examples:
  doorbuster draw verify --seed 0f1e… --commitment sha256:9a8b… --participants buyers.txt
  doorbuster draw verify --url https://shop.example --sale spring --commitment sha256:9a8b… --participants buyers.txt
  doorbuster draw verify --url http://127.0.0.1:8080 --sale spring --key …")]
#[command(group = ArgGroup::new("source").args(["sale", "seed"]).required(true).multiple(true))]
pub struct VerifyArgs {
    /// The seed in hexadecimal, as published after the opening of the sale [default: the seed that
    /// the server shows].
    #[arg(long, value_name = "HEX")]
    pub seed: Option<String>,
    /// The commitment that was published before the opening of the sale. Without --sale, it is
    /// required.
    #[arg(long, value_name = "sha256:HEX")]
    pub commitment: Option<String>,
    /// A file with the participants: one buyer's id per line, or the server's `draw.csv` [default:
    /// read the participants from the server, with --key].
    #[arg(long, value_name = "FILE", required_unless_present = "key")]
    pub participants: Option<PathBuf>,
    /// A file with the published sequence of the participants: one buyer's id per line, or the
    /// server's `draw.csv` with the rank of each buyer. The command compares this sequence with the
    /// drawn order.
    #[arg(long, value_name = "FILE")]
    pub order: Option<PathBuf>,
    /// Read the draw of this sale from the server.
    #[arg(long, value_parser = values::name, add = complete::sales())]
    pub sale: Option<String>,
    /// The item of the draw, if each item of the sale has its own waiting room.
    #[arg(long, value_parser = values::name, add = complete::items())]
    pub item: Option<String>,
    /// Address of the running server.
    #[arg(
        long,
        env = "DOORBUSTER_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub url: AddressArg,
    /// The operators' key, to read the participants from the server.
    #[arg(long, env = "DOORBUSTER_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    pub key: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl std::fmt::Debug for VerifyArgs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("VerifyArgs")
            .field("sale", &self.sale)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
