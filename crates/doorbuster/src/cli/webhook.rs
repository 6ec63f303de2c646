//! `webhook`: who is told what happens, from a shell, and a receiver to try it out.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::server::ServerArgs;
use super::values;

/// Tell the shop's other systems what happens, and see what they did not take.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  export DOORBUSTER_ADMIN_KEY=…
  doorbuster webhook endpoint add https://shop.example/hooks/doorbuster --type order.paid")]
pub struct WebhookArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: WebhookCommand,
}

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Add, list, change and remove endpoints.
    Endpoint {
        /// What to do.
        #[command(subcommand)]
        command: EndpointCommand,
    },
    /// List what an endpoint did not take at once, and why.
    #[command(after_help = "Example:\n  doorbuster webhook deliveries end_8Qm2Zr0aT1kP")]
    Deliveries {
        /// The endpoint's id.
        endpoint: String,
        /// Most entries wanted.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
        limit: u32,
        /// Read on where another list ended.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Tell an endpoint of one event once more.
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

/// What to do with endpoints.
#[derive(Debug, Subcommand)]
pub enum EndpointCommand {
    Add(NewEndpointArgs),
    /// List the endpoints, and how far each one is.
    #[command(after_help = "Example:\n  doorbuster webhook endpoint list")]
    List,
    /// Change where an endpoint is, what it is told of, or whether it is told anything.
    #[command(
        after_help = "Example:\n  doorbuster webhook endpoint edit end_8Qm2Zr0aT1kP --type '*'"
    )]
    Edit {
        /// The endpoint's id.
        endpoint: String,
        /// Where it is from now on; -: as the first line of standard input says.
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        /// What it is told of from now on; may be repeated.
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// Whether it is told anything.
        #[arg(long, value_name = "BOOL")]
        enabled: Option<bool>,
    },
    /// Give an endpoint a new secret, which is shown this once.
    #[command(
        after_help = "Example:\n  doorbuster webhook endpoint rotate end_8Qm2Zr0aT1kP --overlap 24h"
    )]
    Rotate {
        /// The endpoint's id.
        endpoint: String,
        /// For how long the old secret signs as well; 0s for one that leaked.
        #[arg(long, default_value = "24h", value_name = "TIME", value_parser = values::duration_or_none)]
        overlap: Duration,
    },
    /// Remove an endpoint, with everything that it was not told.
    #[command(after_help = "Example:\n  doorbuster webhook endpoint remove end_8Qm2Zr0aT1kP")]
    Remove {
        /// The endpoint's id.
        endpoint: String,
    },
}

/// Add an endpoint, a webhook or a broker; a webhook's secret is shown this once.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  doorbuster webhook endpoint add https://shop.example/hooks/doorbuster --type order.paid --type order.refunded"
)]
pub struct NewEndpointArgs {
    /// Where it is; -: the first line of standard input says it, since others see the command line,
    /// and a broker's address has a password.
    pub address: String,
    /// What it is told of; may be repeated. Without it: of everything.
    #[arg(long = "type", value_name = "TYPE", default_value = "*")]
    pub types: Vec<String>,
}

/// Receive messages, verify them, print them. For trying out.
#[derive(Args)]
#[command(after_help = "Example:
  doorbuster webhook endpoint add http://127.0.0.1:9000/
  doorbuster webhook listen --port 9000 --secret whsec_…")]
pub struct ListenArgs {
    /// The endpoint's secret; may be repeated while it is replaced.
    #[arg(long, required = true, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub address: IpAddr,
    /// Port to listen on; 0: a free one.
    #[arg(long, default_value_t = 9000)]
    pub port: u16,
    /// Answer this status to what is genuine, to see what follows.
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
