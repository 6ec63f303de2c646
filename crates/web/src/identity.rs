//! Authenticates buyers and operators before the handlers run. A handler gets the identity as an
//! argument.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use doorbuster_api::admin::keys::Role;
use doorbuster_api::problem::Problem;
use doorbuster_core::BuyerId;
use doorbuster_core::gate::pass::Membership;
use doorbuster_store::{FieldChange, NewAction};
use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;

pub(crate) use super::client_address::ClientAddress;

use doorbuster_auth::{
    AuthenticationError, Operator, PAGE_HEADER, VerifiedBuyer, bearer, buyer_token,
};

use super::App;
use super::limits::RETRY_SECS;
use super::reply::HandlerError;

/// The minimum time between two reads of the operators' keys from the store.
const KEYS_REFRESH_MIN: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(crate) struct OperatorKeysRead {
    begun: Option<Instant>,
    /// Whether the read succeeded. `None` while the read runs, and after a read that stopped early
    /// because the client disconnected.
    result: Option<bool>,
}

/// The buyer of a request. The buyer's token was verified before the handler runs.
#[derive(Clone, Debug)]
pub(crate) struct Buyer(pub BuyerId);

/// The buyer's membership from the token, verified before the handler runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuyerMembership(pub Membership);

/// When the buyer's token expires, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenExpiry(pub i64);

/// The operator of a request, verified before the handler runs.
#[derive(Clone, Debug)]
pub(crate) struct OperatorIdentity(pub OperatorRequest);

/// The operator of a request, and other facts about the request that the log of actions records.
#[derive(Clone, Debug)]
pub(crate) struct OperatorRequest {
    /// The id of the operator's key, or of the person who signed in.
    pub id: Arc<str>,
    /// What the operator may do.
    pub role: Role,
    /// The address of the client.
    pub address: String,
    /// The id of the request.
    pub request_id: String,
}

impl OperatorRequest {
    /// Builds an action by this operator, such as `sale.opened` on `sale:spring`.
    pub(crate) fn action(&self, action: &str, kind: &str, name: &str) -> NewAction {
        NewAction {
            by: self.id.to_string(),
            action: action.to_owned(),
            subject: format!("{kind}:{name}"),
            changes: Vec::new(),
            address: Some(self.address.clone()),
            request_id: Some(self.request_id.clone()),
        }
    }

    pub(crate) fn action_because(
        &self,
        action: &str,
        kind: &str,
        name: &str,
        reason: Option<&str>,
    ) -> NewAction {
        let changes = reason.map(|reason| FieldChange::set("/reason", reason));
        NewAction { changes: changes.into_iter().collect(), ..self.action(action, kind, name) }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Requester {
    Buyer(BuyerId),
    Operator,
}

impl App {
    pub(crate) fn denied_problem(&self, denied: AuthenticationError) -> Problem {
        match denied {
            AuthenticationError::Missing => Problem::unauthenticated(
                "send the header Authorization: Bearer with the token or key",
            ),
            AuthenticationError::Bad(why) => {
                self.metrics.denied.add_one();
                Problem::unauthenticated(why)
            }
            AuthenticationError::Unknown => Problem::unavailable(
                "the keys that verify tokens are unavailable; send the request again",
                RETRY_SECS,
            ),
        }
    }

    /// Verifies the request's token, which is in `Authorization` or in the pages' cookie.
    pub(crate) async fn buyer(
        &self,
        headers: &HeaderMap,
        method: &Method,
    ) -> Result<VerifiedBuyer, Problem> {
        let token = token_of(headers, method).map_err(|denied| self.denied_problem(denied))?;
        self.buyer_of_token(token).await
    }

    /// Returns the time of the wall clock in seconds since 1970. The issuers of tokens use the wall
    /// clock, so the expiry of tokens is compared with this time.
    pub(crate) fn token_time_secs(&self) -> i64 {
        self.node.clock().wall().0.div_euclid(1_000)
    }

    pub(crate) async fn buyer_of_token(&self, token: &str) -> Result<VerifiedBuyer, Problem> {
        let now_secs = self.token_time_secs();
        let checked = match self.buyers.check(token, now_secs) {
            Err(AuthenticationError::Unknown) => {
                Box::pin(self.buyers.check_with_fresh_keys(token, now_secs)).await
            }
            checked => checked,
        };
        checked.map_err(|denied| self.denied_problem(denied))
    }

    pub(crate) async fn operator(
        &self,
        headers: &HeaderMap,
        wanted: Role,
    ) -> Result<Operator, Problem> {
        let check =
            || bearer(authorization_values(headers)).and_then(|key| self.operators.check(key));
        let checked = match check() {
            // Another node may have just created the key, so this node reads the keys and checks
            // again.
            Err(AuthenticationError::Bad(_)) if self.refresh_operator_keys().await => check(),
            checked => checked,
        };
        let operator = checked.map_err(|denied| self.denied_problem(denied))?;
        check_role(&operator, wanted)?;
        Ok(operator)
    }

    /// Reads the operators' keys again, because other nodes may have created or deleted keys. Reads
    /// at most once in [`KEYS_REFRESH_MIN`]. If several callers wait when a read begins, all of
    /// them get the result of this read. Returns `false` if the store failed or if there are no
    /// other nodes.
    pub(crate) async fn refresh_operator_keys(&self) -> bool {
        if self.node.layout().is_single_node() {
            return false;
        }
        let arrived = Instant::now();
        let mut last = self.operator_keys_read.lock().await;
        if let Some(begun) = last.begun {
            // A result counts only if its read began after this call. The keys from an earlier read
            // may lack the key that this request needs.
            if let Some(is_read) = last.result.filter(|_| begun > arrived) {
                return is_read;
            }
            tokio::time::sleep(KEYS_REFRESH_MIN.saturating_sub(begun.elapsed())).await;
        }
        let _guard = self.keys.lock().await;
        *last = OperatorKeysRead { begun: Some(Instant::now()), result: None };
        let keys = self.node.store().keys().await.ok();
        let is_read = keys.is_some();
        if let Some(keys) = keys {
            self.operators.replace_keys(keys);
        }
        last.result = Some(is_read);
        is_read
    }

    pub(crate) async fn requester(
        &self,
        headers: &HeaderMap,
        method: &Method,
    ) -> Result<Requester, Problem> {
        let token = token_of(headers, method).map_err(|denied| self.denied_problem(denied))?;
        if self.operators.check(token).is_ok() {
            return Ok(Requester::Operator);
        }
        // A buyer's token contains dots, and an operator's key does not. So the keys are read again
        // only if `token` may be an operator's key.
        if !token.contains('.')
            && self.refresh_operator_keys().await
            && self.operators.check(token).is_ok()
        {
            return Ok(Requester::Operator);
        }
        self.buyer_of_token(token).await.map(|buyer| Requester::Buyer(BuyerId::from(buyer.name)))
    }
}

pub(crate) fn check_role(operator: &Operator, wanted: Role) -> Result<(), Problem> {
    if operator.role >= wanted {
        return Ok(());
    }
    let (has, wants) = (operator.role.as_str(), wanted.as_str());
    Err(Problem::forbidden(format!("this key's role is {has}; {wants} is needed")))
}

fn token_of<'h>(headers: &'h HeaderMap, method: &Method) -> Result<&'h str, AuthenticationError> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let has_header = headers.get(PAGE_HEADER).is_some_and(|value| value == "1");
    let cookies = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    buyer_token(authorization_values(headers), cookies, reads || has_header)
}

fn authorization_values(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes)
}

macro_rules! checked_before {
    ($($kind:ty),*) => {$(
        impl FromRequestParts<Arc<App>> for $kind {
            type Rejection = HandlerError;

            async fn from_request_parts(
                parts: &mut Parts,
                _: &Arc<App>,
            ) -> Result<Self, Self::Rejection> {
                // The route's guard has run before, and has stored the identity in the extensions.
                let found = parts.extensions.get().cloned();
                found.ok_or_else(|| Problem::unauthenticated("authentication required").into())
            }
        }
    )*};
}

checked_before!(Buyer, BuyerMembership, TokenExpiry, OperatorIdentity, Requester, ClientAddress);
