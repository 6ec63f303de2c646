//! Arguments of `token`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::settings::SettingsArgs;
use super::values;

/// Create a buyer's token, in the same way as the shop does for a signed-in buyer.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster token buyer alice")]
pub struct TokenArgs {
    /// The kind of token.
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// The kind of token.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    Buyer(BuyerArgs),
}

/// Print a token for a buyer.
///
/// The token is signed with the secret in the setting `auth.buyer_secret`. If this setting is
/// missing, the token is signed with the secret that a server generated and stored. In the shape
/// embedded, the data directory contains this secret. In the shapes postgres and cluster, the
/// database contains this secret. This command generates no secret.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster token buyer alice --ttl 15m\n\n\
    The sale page accepts the token in its address: http://127.0.0.1:8080/sale/spring#token=<token>")]
pub struct BuyerArgs {
    /// The buyer's id: 1 to 64 characters of A-Z a-z 0-9 _ . : -
    #[arg(value_parser = values::name)]
    pub name: String,
    /// Write into the token that the buyer is a member.
    #[arg(long)]
    pub member: bool,
    /// Write this level of the buyer into the token, 0 to 255.
    #[arg(long, value_name = "N")]
    pub level: Option<u8>,
    /// How long the token is valid, such as 90s, 15m or 1h30m.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = values::seconds)]
    pub ttl: Duration,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}
