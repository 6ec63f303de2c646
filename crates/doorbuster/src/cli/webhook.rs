//! Arguments of `webhook`.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::server::ServerArgs;
use super::values;

/// Send events to the shop's other systems, and list failed deliveries.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster webhook endpoint add https://shop.example/hooks/doorbuster --type order.paid")]
pub struct WebhookArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// The operation.
    #[command(subcommand)]
    pub command: WebhookCommand,
}

/// An operation on webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Add, list, change and remove endpoints.
    Endpoint {
        /// The operation.
        #[command(subcommand)]
        command: EndpointCommand,
    },
    /// List an endpoint's failed deliveries, with their errors.
    #[command(after_help = "Example:\n  doorbuster webhook deliveries end_8Qm2Zr0aT1kP")]
    Deliveries {
        /// The endpoint's id.
        endpoint: String,
        /// Maximum number of entries.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// Continue after the page that printed this cursor.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Send one event to an endpoint again.
    #[command(
        after_help = "Example:\n  doorbuster webhook redeliver end_8Qm2Zr0aT1kP evt_0000000000000042_f2aa95665c"
    )]
    Redeliver {
        /// The endpoint's id.
        endpoint: String,
        /// The event's id.
        event: String,
    },
    Listen(ListenArgs),
}

/// An operation on endpoints.
#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    Add(NewEndpointArgs),
    /// List the endpoints, with the progress of the deliveries to each endpoint.
    #[command(after_help = "Example:\n  doorbuster webhook endpoint list")]
    List,
    /// Change an endpoint's address or event types, or turn it on or off.
    #[command(
        after_help = "Example:\n  doorbuster webhook endpoint edit end_8Qm2Zr0aT1kP --type '*'"
    )]
    Edit {
        /// The endpoint's id.
        endpoint: String,
        /// The new address; - reads the address from the first line of standard input.
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// An event type that the endpoint gets, in place of its present types. Repeat the option
        /// to give several types.
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// Whether the endpoint gets events.
        #[arg(long, value_name = "BOOL")]
        enabled: Option<bool>,
    },
    /// Give an endpoint a new secret, which is shown only once.
    #[command(
        after_help = "Example:\n  doorbuster webhook endpoint rotate end_8Qm2Zr0aT1kP --overlap 24h"
    )]
    Rotate {
        /// The endpoint's id.
        endpoint: String,
        /// How long messages are also signed with the old secret; use 0s if that secret leaked.
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = values::seconds_or_none)]
        overlap: Duration,
    },
    /// Remove an endpoint and its undelivered events.
    #[command(after_help = "Example:\n  doorbuster webhook endpoint remove end_8Qm2Zr0aT1kP --yes")]
    Remove {
        /// The endpoint's id.
        endpoint: String,
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
    },
}

/// Add an endpoint: a webhook or a broker. A webhook's secret is shown only once.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster webhook endpoint add https://shop.example/hooks/doorbuster --type order.paid --type order.refunded"
)]
pub struct NewEndpointArgs {
    /// The endpoint's address; - reads the address from the first line of standard input. Use - for
    /// a broker: its address contains a password, and other users can see the command line.
    pub address: String,
    /// An event type that the endpoint gets; `*` means all types. Repeat the option to give several
    /// types.
    #[arg(long = "type", value_name = "TYPE", default_value = "*")]
    pub types: Vec<String>,
}

/// Receive webhooks, verify them and print them, for tests.
#[derive(Args)]
#[command(after_help = "Example:
  doorbuster webhook endpoint add http://127.0.0.1:9000/
  doorbuster webhook listen --port 9000 --secret whsec_…")]
pub struct ListenArgs {
    /// The endpoint's secret. While a new secret replaces an old secret, repeat the option to give
    /// both secrets.
    #[arg(long, required = true, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// Port to listen on; 0 chooses a free port.
    #[arg(long, default_value_t = 9000)]
    pub port: u16,
    /// The HTTP status of the answer to a message with a valid signature.
    #[arg(long, default_value_t = 204, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub answer: u16,
}

impl std::fmt::Debug for ListenArgs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ListenArgs")
            .field("address", &self.address)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
