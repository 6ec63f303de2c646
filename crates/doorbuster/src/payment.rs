//! `payment trigger`: sends a message about a payment to the server, in the same way as the sandbox
//! provider. So an operator can test a payment without a browser.

use std::time::SystemTime;

use anyhow::Context;
use doorbuster_api::payment::PaymentEventResult;
use doorbuster_api::value::Currency;
use doorbuster_base::signing::{self, SigningKey};
use doorbuster_secrets::{self as secrets, SecretsError};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::cli::{PaymentArgs, PaymentCommand, TriggerArgs, values};
use crate::client::{self, Client, ClientError, Path};
use crate::exit::{Failure, Outcome};
use crate::{config, table};

/// Runs `payment`.
pub fn run(args: &PaymentArgs) -> Outcome {
    let client = Client::new(&args.server)?;
    let PaymentCommand::Trigger(trigger) = &args.command;
    let settings = config::settings(&trigger.settings)?;
    client::block_on(async {
        let secret = secrets::webhook_secret(&settings).await.map_err(|error| match error {
            SecretsError::Missing { .. } => Failure::Settings(error.to_string()),
            other => Failure::Refused(other.to_string()),
        })?;
        let key = SigningKey::parse(secret.expose_secret())
            .context("payment.webhook_secret has the wrong format")?;
        send(&client, trigger, key).await
    })
}

async fn send(client: &Client, args: &TriggerArgs, key: SigningKey) -> Outcome {
    let order: Value = client.get(Path::admin(&["orders", &args.order])).await?.read()?;
    let amount = &order["amount"];
    let currency = amount["currency"].as_str().ok_or_else(|| {
        Failure::Refused(format!("{} was never reserved, so it cannot be paid", args.order))
    })?;
    let amount = match &args.amount {
        None => amount.clone(),
        Some(text) => {
            let amount = values::money(&format!("{text}{currency}"));
            let places = Currency::parse(currency).map_or(0, Currency::decimals);
            json!(amount.map_err(|_| {
                Failure::Settings(format!(
                    "--amount {text} is not an amount in {currency}, which has {places} decimal \
                     places"
                ))
            })?)
        }
    };
    let kind = if args.failed { "payment.failed" } else { "payment.captured" };
    let payment = format!("pay_{:016x}", rand::random::<u64>());
    let body = json!({
        "type": kind,
        "data": {"payment": payment, "order": args.order, "amount": amount},
    })
    .to_string();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("the system clock is before 1970")?;
    let at_secs = i64::try_from(now.as_secs()).context("the system clock is out of range")?;
    let id = format!("msg_{payment}");
    let signature = signing::sign(&id, at_secs, body.as_bytes(), &[key]);
    let headers = [
        (signing::ID_HEADER, id),
        (signing::TIMESTAMP_HEADER, at_secs.to_string()),
        (signing::SIGNATURE_HEADER, signature),
    ];
    let path = Path::new(&["v1", "payments", "sandbox", "webhook"]);
    let result = client.post_with_headers(path, headers, body).await;
    match result {
        // For this request, the server checks the message's signature and not the operators' key.
        Err(ClientError::Problem(problem))
            if problem.code == "unauthenticated" && !problem.wants_json =>
        {
            Err(Failure::Refused(format!(
                "the server refused the signature of the message: {}; use the same webhook secret \
                 as the server: pass the server's data directory with --data-dir or \
                 DOORBUSTER_DATA_DIR, or set payment.webhook_secret ({})",
                problem.detail, problem.code
            )))
        }
        result => client.print_result(result, |taken: &PaymentEventResult| {
            sentence(taken, args, &payment, &amount)
        }),
    }
}

fn sentence(
    taken: &PaymentEventResult,
    args: &TriggerArgs,
    payment: &str,
    amount: &Value,
) -> String {
    let amount = serde_json::from_value(amount.clone())
        .map_or_else(|_| amount.to_string(), |amount| table::money(&amount));
    let outcome = json!(taken)["outcome"].as_str().unwrap_or_default().to_owned();
    let what = if args.failed { "failed" } else { "arrived" };
    format!("Payment {payment} of {amount} {what}. The server answered: {outcome}.\n")
}
