//! `webhook`: who is told what happens, over the admin API; and a receiver to try it out.

mod listen;

use std::time::Duration;

use anyhow::Context;
use comfy_table::Cell;
use doorbuster_api::admin::webhooks::{
    CreatedWebhookEndpoint, DeliveryList, NewWebhookEndpoint, Redelivery, SecretRotation,
    WebhookEndpoint, WebhookEndpointList, WebhookEndpointPatch,
};

use crate::cli::{EndpointCommand, NewEndpointArgs, WebhookArgs, WebhookCommand};
use crate::client::{self, Client, Path};
use crate::exit::Outcome;
use crate::{print, table};

const ENDPOINTS: [&str; 3] = ["v1", "admin", "webhook-endpoints"];

/// Runs `webhook`.
pub fn run(args: WebhookArgs) -> Outcome {
    let command = match args.command {
        // It talks to nobody's server, and needs no key.
        WebhookCommand::Listen(listen) => return listen::run(&listen, args.shop.json),
        command => command,
    };
    let client = Client::new(&args.shop)?;
    client::block_on(async {
        match command {
            WebhookCommand::Endpoint { command } => endpoint(&client, command).await,
            WebhookCommand::Deliveries { endpoint, limit, cursor } => {
                let limit = limit.to_string();
                let mut pairs = vec![("limit", limit.as_str())];
                pairs.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
                client.tell(
                    client.get(Path(&under(&endpoint, "deliveries"), &pairs)).await,
                    deliveries,
                )
            }
            WebhookCommand::Redeliver { endpoint, event } => {
                let path = under(&endpoint, "deliveries");
                let asked = client.post_json(Path::of(&path), &Redelivery { event }).await;
                client.tell(asked, |again: &Redelivery| {
                    format!("{} will be told once more.\n", again.event)
                })
            }
            WebhookCommand::Listen(_) => unreachable!("seen to above"),
        }
    })
}

fn under<'a>(endpoint: &'a str, what: &'a str) -> [&'a str; 5] {
    [ENDPOINTS[0], ENDPOINTS[1], ENDPOINTS[2], endpoint, what]
}

fn one(endpoint: &str) -> [&str; 4] {
    [ENDPOINTS[0], ENDPOINTS[1], ENDPOINTS[2], endpoint]
}

async fn endpoint(client: &Client, command: EndpointCommand) -> Outcome {
    match command {
        EndpointCommand::Add(NewEndpointArgs { address, types }) => {
            let body = NewWebhookEndpoint { url: written(address)?, types, enabled: true };
            client.tell(client.post_json(Path::of(&ENDPOINTS), &body).await, shown_once)
        }
        EndpointCommand::List => client.tell(client.get(Path::of(&ENDPOINTS)).await, list),
        EndpointCommand::Edit { endpoint, to, types, enabled } => {
            let url = to.map(written).transpose()?;
            let patch =
                WebhookEndpointPatch { url, types: (!types.is_empty()).then_some(types), enabled };
            let asked = client.patch_json(Path::of(&one(&endpoint)), &patch).await;
            client.tell(asked, |endpoint: &WebhookEndpoint| {
                let told =
                    if endpoint.enabled { endpoint.types.join(", ") } else { "nothing".to_owned() };
                format!("{} at {} is told of {told}.\n", endpoint.id, endpoint.url)
            })
        }
        EndpointCommand::Rotate { endpoint, overlap } => {
            let body = SecretRotation { overlap_secs: secs(overlap) };
            client.tell(
                client.post_json(Path::of(&under(&endpoint, "rotate-secret")), &body).await,
                shown_once,
            )
        }
        EndpointCommand::Remove { endpoint } => {
            client.delete(Path::of(&one(&endpoint))).await?;
            if client.wants_json() {
                print::line("{}")
            } else {
                print::line(&format!("{endpoint} is gone."))
            }
        }
    }
}

/// The server says what is too long.
fn secs(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// An address as it was written; of `-` the first line of standard input, since passwords are seen in lists of processes.
fn written(address: String) -> anyhow::Result<String> {
    if address != "-" {
        return Ok(address);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("standard input cannot be read")?;
    Ok(line.trim().to_owned())
}

fn shown_once(endpoint: &CreatedWebhookEndpoint) -> String {
    let mut text =
        format!("{} at {} is told of {}.\n", endpoint.id, endpoint.url, endpoint.types.join(", "));
    if let Some(secret) = &endpoint.secret {
        text += &format!("Its secret, shown this once: {secret}\n");
    }
    text
}

fn list(list: &WebhookEndpointList) -> String {
    if list.endpoints.is_empty() {
        return "Nobody is told anything.\n".into();
    }
    let mut rows = table::with_header(&[
        "endpoint",
        "address",
        "types",
        "enabled",
        "waiting",
        "failing",
        "dead",
        "waits since",
    ]);
    for endpoint in &list.endpoints {
        let cells = [
            endpoint.id.clone(),
            endpoint.url.clone(),
            endpoint.types.join(", "),
            if endpoint.enabled { "yes" } else { "no" }.to_owned(),
            table::grouped(endpoint.waiting),
            table::grouped(endpoint.failing),
            table::grouped(endpoint.dead),
            table::or_dash(endpoint.oldest_waiting_at),
        ];
        rows.add_row(cells.map(Cell::new));
    }
    format!("{rows}\n")
}

fn deliveries(list: &DeliveryList) -> String {
    if list.deliveries.is_empty() {
        return "It took everything at once.\n".into();
    }
    let mut rows = table::with_header(&[
        "event",
        "type",
        "about",
        "state",
        "tries",
        "next try",
        "error",
        "dead letter",
    ]);
    for delivery in &list.deliveries {
        let cells = [
            delivery.event.clone(),
            table::or_dash(delivery.what.as_deref()),
            delivery.about.clone(),
            delivery.state.as_str().to_owned(),
            delivery.tries.to_string(),
            table::or_dash(delivery.next_try_at),
            table::or_dash(delivery.error.as_deref()),
            table::or_dash(delivery.dead_letter.as_deref()),
        ];
        rows.add_row(cells.map(Cell::new));
    }
    table::with_more(&rows, list.next_cursor.as_deref())
}
