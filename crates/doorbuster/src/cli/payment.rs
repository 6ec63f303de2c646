//! Arguments of `payment`.

use clap::{Args, Subcommand};

use super::server::ServerArgs;
use super::settings::SettingsArgs;

/// Send a payment message to the server, as the built-in payment provider (the sandbox) does.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  doorbuster payment trigger ord_… --amount 10.00")]
pub struct PaymentArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: PaymentCommand,
}

/// An operation on payments.
#[derive(Debug, Subcommand)]
pub enum PaymentCommand {
    Trigger(TriggerArgs),
}

/// Tell the server that an order was paid, or that a payment failed. The command works only if the
/// sandbox is the payment provider.
///
/// The message is signed with the secret in the setting `payment.webhook_secret`. If this setting
/// is missing, the message is signed with the secret that a server generated and stored. In the
/// shape embedded, the data directory contains this secret. In the shapes postgres and cluster, the
/// database contains this secret.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster payment trigger ord_…
  doorbuster payment trigger ord_… --failed
  doorbuster payment trigger ord_… --amount 9.99     a payment of the wrong amount")]
pub struct TriggerArgs {
    /// The order's id.
    pub order: String,
    /// Report a failed payment.
    #[arg(long)]
    pub failed: bool,
    /// The amount that was paid, in the order's currency [default: the order's amount].
    #[arg(long, value_name = "AMOUNT")]
    pub amount: Option<String>,
    #[command(flatten)]
    pub settings: SettingsArgs,
}
