//! `token buyer`: prints a token for a buyer. The command signs the token in the same way as the
//! shop.

use std::time::SystemTime;

use anyhow::Context;
use doorbuster_auth::{NewToken, token};
use doorbuster_config::{BuyerKeys, Settings};
use doorbuster_secrets::{self as secrets, SecretsError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::cli::{BuyerArgs, TokenArgs, TokenCommand};
use crate::exit::{Failure, Outcome};
use crate::{client, config, print};

/// Runs `token`.
pub fn run(args: &TokenArgs) -> Outcome {
    let TokenCommand::Buyer(args) = &args.command;
    buyer(args)
}

fn buyer(args: &BuyerArgs) -> Outcome {
    let settings = config::settings(&args.settings)?;
    let secret = buyer_secret(&settings)?;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .context("the system clock is before 1970")?;
    let now_secs = i64::try_from(now.as_secs()).context("the system clock is out of range")?;
    let claims = NewToken {
        iss: settings.auth.issuer.as_deref(),
        aud: settings.auth.audience.as_deref(),
        member: args.member,
        level: args.level,
        ..NewToken::new(&args.name, now_secs, args.ttl)
    };
    let signed = token(secret.expose_secret().as_bytes(), &claims);
    if !args.json {
        return print::line(&signed);
    }
    let ends_secs = now_secs.saturating_add(i64::try_from(args.ttl.as_secs()).unwrap_or(i64::MAX));
    let expires_at =
        jiff::Timestamp::from_second(ends_secs).context("the token would be valid for too long")?;
    print::json(&json!({ "token": signed, "buyer": args.name, "expires_at": expires_at }))
}

/// Returns the secret that signs buyers' tokens: the configured secret, or else the secret that a
/// server generated and stored.
pub fn buyer_secret(settings: &Settings) -> Result<SecretString, Failure> {
    if let Some(BuyerKeys::JwksFile(_) | BuyerKeys::JwksUrl(_)) = settings.auth.buyers {
        let text = "auth.buyer_jwks: the server checks tokens with the shop's public keys, so only \
                    the shop can sign a token";
        return Err(Failure::Settings(text.into()));
    }
    let secret = client::block_on(async { Ok(secrets::buyer_secret(settings).await) })?;
    secret.map_err(|error| match error {
        SecretsError::Missing { .. } => Failure::Settings(error.to_string()),
        other => Failure::Refused(other.to_string()),
    })
}
