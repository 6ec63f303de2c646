//! `webhook`: manages webhook endpoints over the admin API, and runs a receiver for tests.

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
use crate::confirm::confirm;
use crate::exit::Outcome;
use crate::table;

/// Runs `webhook`.
pub fn run(args: WebhookArgs) -> Outcome {
    let command = match args.command {
        // The receiver calls no server and needs no key.
        WebhookCommand::Listen(listen) => return listen::run(&listen, args.server.json),
        command => command,
    };
    let client = Client::new(&args.server)?;
    client::block_on(async {
        match command {
            WebhookCommand::Endpoint { command } => endpoint(&client, command).await,
            WebhookCommand::Deliveries { endpoint, limit, cursor } => {
                let parts = ["webhook-endpoints", &endpoint, "deliveries"];
                let path = Path::admin(&parts).with("limit", Some(limit)).with("cursor", cursor);
                client.print_result(client.get(path).await, deliveries)
            }
            WebhookCommand::Redeliver { endpoint, event } => {
                let path = ["webhook-endpoints", &endpoint, "deliveries"];
                let result = client.post_json(Path::admin(&path), &Redelivery { event }).await;
                client.print_result(result, |again: &Redelivery| {
                    format!("{} will be sent again.\n", again.event)
                })
            }
            WebhookCommand::Listen(_) => unreachable!("handled above"),
        }
    })
}

async fn endpoint(client: &Client, command: EndpointCommand) -> Outcome {
    match command {
        EndpointCommand::Add(NewEndpointArgs { address, types }) => {
            let body = NewWebhookEndpoint { url: read_address(address)?, types, enabled: true };
            let result = client.post_json(Path::admin(&["webhook-endpoints"]), &body).await;
            client.print_result(result, created_text)
        }
        EndpointCommand::List => {
            client.print_result(client.get(Path::admin(&["webhook-endpoints"])).await, list)
        }
        EndpointCommand::Edit { endpoint, to, types, enabled } => {
            let url = to.map(read_address).transpose()?;
            let patch =
                WebhookEndpointPatch { url, types: (!types.is_empty()).then_some(types), enabled };
            let path = ["webhook-endpoints", &endpoint];
            let result = client.patch_json(Path::admin(&path), &patch).await;
            client.print_result(result, |endpoint: &WebhookEndpoint| {
                let types =
                    if endpoint.enabled { endpoint.types.join(", ") } else { "nothing".to_owned() };
                format!("{} at {} gets {types}.\n", endpoint.id, endpoint.url)
            })
        }
        EndpointCommand::Rotate { endpoint, overlap } => {
            let body = SecretRotation { overlap_secs: whole_secs(overlap) };
            let path = ["webhook-endpoints", &endpoint, "rotate-secret"];
            let result = client.post_json(Path::admin(&path), &body).await;
            let now_secs = jiff::Timestamp::now().as_second();
            client.print_result(result, |endpoint: &CreatedWebhookEndpoint| {
                created_text(endpoint) + &overlap_text(body.overlap_secs, now_secs)
            })
        }
        EndpointCommand::Remove { endpoint, yes } => {
            let lost = "its undelivered events and its dead letters will be lost";
            confirm(yes, &format!("{endpoint} will be removed, and {lost}"))?;
            client.delete(Path::admin(&["webhook-endpoints", &endpoint])).await?;
            client.print_done(&format!("{endpoint} is removed."))
        }
    }
}

/// A duration of more than `u32::MAX` seconds becomes `u32::MAX`, which the server refuses.
fn whole_secs(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// `-` stands for the first line of standard input. Use `-` if the address contains a password,
/// because other users can see the arguments of a process.
fn read_address(address: String) -> anyhow::Result<String> {
    if address != "-" {
        return Ok(address);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("cannot read standard input")?;
    Ok(line.trim().to_owned())
}

fn created_text(endpoint: &CreatedWebhookEndpoint) -> String {
    let mut text =
        format!("{} at {} gets {}.\n", endpoint.id, endpoint.url, endpoint.types.join(", "));
    if let Some(secret) = &endpoint.secret {
        text += &format!("Secret, shown only once: {secret}\n");
    }
    text
}

fn overlap_text(overlap_secs: u32, now_secs: i64) -> String {
    let until = jiff::Timestamp::from_second(now_secs.saturating_add(overlap_secs.into()));
    match until {
        Ok(until) if overlap_secs > 0 => {
            format!("Until {until}, messages also have a signature by the earlier secret.\n")
        }
        _ => "The earlier secret does not sign messages any more.\n".to_owned(),
    }
}

fn list(list: &WebhookEndpointList) -> String {
    let header =
        ["endpoint", "address", "types", "enabled", "waiting", "failing", "dead", "waits since"];
    let rows = list.endpoints.iter().map(|endpoint| {
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
        cells.map(Cell::new)
    });
    table::list("There are no endpoints.\n", &header, rows, None)
}

fn deliveries(list: &DeliveryList) -> String {
    let header = ["event", "type", "about", "state", "tries", "next try", "error", "dead letter"];
    let rows = list.deliveries.iter().map(|delivery| {
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
        cells.map(Cell::new)
    });
    table::list(
        "The endpoint has no failed deliveries.\n",
        &header,
        rows,
        list.next_cursor.as_deref(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_overlap_of_two_secrets_is_shown() {
        assert!(overlap_text(86_400, 0).starts_with("Until 1970-01-02T00:00:00Z, "));
        assert!(overlap_text(0, 0).contains("does not sign"));
    }
}
