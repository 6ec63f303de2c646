//! Who asks: the checks in front of handlers, and what handlers are told.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use doorbuster_api::admin::keys::Role;
use doorbuster_api::problem::Problem;
use doorbuster_core::BuyerId;
use doorbuster_core::gate::pass::Standing;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

pub(crate) use super::client::Client;

use super::App;
use super::limits::RETRY_SECS;
use super::reply::Refused;
use crate::auth::{BuyerName, Denied, Operator, Shopper, bearer};

/// Shortest pause between two readings of the operators' keys.
const KEYS_EVERY: Duration = Duration::from_millis(20);

/// The buyer of a request, checked in front of the handler.
#[derive(Clone, Debug)]
pub(crate) struct Buyer(pub BuyerId);

/// What the shop says of the buyer of a request, checked in front of the handler.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known(pub Standing);

/// The operator of a request, checked in front of the handler.
#[derive(Clone, Debug)]
pub(crate) struct By(pub Operator);

/// Either of them.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    Buyer(BuyerId),
    Operator,
}

impl App {
    /// The problem of somebody who is not let in.
    pub(crate) fn denied(&self, denied: Denied) -> Problem {
        match denied {
            Denied::Missing => {
                Problem::unauthenticated("send Authorization: Bearer, and the token or key")
            }
            Denied::Bad(why) => {
                self.metrics.denied.add_one();
                Problem::unauthenticated(why)
            }
            Denied::Unknown => {
                Problem::unavailable("the keys that tokens are checked with are away", RETRY_SECS)
            }
        }
    }

    /// The buyer that the headers present.
    pub(crate) async fn buyer(&self, headers: &HeaderMap) -> Result<Shopper, Problem> {
        let token = bearer(presented(headers)).map_err(|denied| self.denied(denied))?;
        self.buyer_of(token).await
    }

    /// The buyer that a token names.
    pub(crate) async fn buyer_of(&self, token: &str) -> Result<Shopper, Problem> {
        let now_secs = self.engine.now().0.div_euclid(1_000);
        let checked = match self.buyers.check(token, now_secs) {
            Err(Denied::Unknown) => Box::pin(self.buyers.check_again(token, now_secs)).await,
            checked => checked,
        };
        checked.map_err(|denied| self.denied(denied))
    }

    /// The operator that the headers present, if the role is enough.
    pub(crate) async fn operator(
        &self,
        headers: &HeaderMap,
        wanted: Role,
    ) -> Result<Operator, Problem> {
        let check = || bearer(presented(headers)).and_then(|key| self.operators.check(key));
        let checked = match check() {
            // Another node may have made it just now.
            Err(Denied::Bad(_)) if self.know_keys_again().await => check(),
            checked => checked,
        };
        let operator = checked.map_err(|denied| self.denied(denied))?;
        if operator.role < wanted {
            let (has, wants) = (operator.role.as_str(), wanted.as_str());
            return Err(Problem::forbidden(format!("this key's role is {has}; {wants} is needed")));
        }
        Ok(operator)
    }

    /// Reads the operators' keys again, which other nodes may have made or deleted; not too often. False: it was not done.
    pub(crate) async fn know_keys_again(&self) -> bool {
        if self.engine.layout().is_alone() {
            return false;
        }
        let _alone = self.keys.lock().await;
        let mut read = self.keys_read.lock().await;
        if read.is_some_and(|at| at.elapsed() < KEYS_EVERY) {
            return true;
        }
        let Ok(keys) = self.engine.store().keys().await else { return false };
        self.operators.know(keys);
        *read = Some(Instant::now());
        true
    }

    /// An operator, or else a buyer.
    pub(crate) async fn asker(&self, headers: &HeaderMap) -> Result<Asker, Problem> {
        let token = bearer(presented(headers)).map_err(|denied| self.denied(denied))?;
        if self.operators.check(token).is_ok() {
            return Ok(Asker::Operator);
        }
        // A buyer's token has dots, a key has none.
        if !token.contains('.')
            && self.know_keys_again().await
            && self.operators.check(token).is_ok()
        {
            return Ok(Asker::Operator);
        }
        self.buyer_of(token).await.map(|shopper| Asker::Buyer(owned(shopper.name)))
    }
}

/// Every `Authorization` that was sent.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes)
}

/// The name as the engine takes it.
pub(crate) fn owned(name: BuyerName) -> BuyerId {
    BuyerId::new(name.as_str()).expect("the contract and the core have the same rule for names")
}

macro_rules! checked_before {
    ($($kind:ty),*) => {$(
        impl FromRequestParts<Arc<App>> for $kind {
            type Rejection = Refused;

            async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Self::Rejection> {
                // The guard of the route put it there; without one nobody is let in.
                let found = parts.extensions.get().cloned();
                found.ok_or_else(|| Problem::unauthenticated("nobody was asked who this is").into())
            }
        }
    )*};
}

checked_before!(Buyer, Known, By, Asker, Client);
