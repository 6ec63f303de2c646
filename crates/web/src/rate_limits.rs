//! Rate limits of buyers' requests. The responses to these requests and to purchases have headers
//! with the caller's rate-limit status. The status says how many more requests the sale's limits
//! allow. If the response is about no sale, the status shows the default limits.
//!
//! Each handler itself checks blocks and limits once, for the sale that it has parsed from the
//! request. A check outside the handler would have to parse the sale's name a second time, and
//! could get a different result.

use std::sync::LazyLock;

use axum::extract::{FromRequestParts, Request};
use axum::response::Response;
use doorbuster_api::admin::front_door::Limits;
use doorbuster_api::problem::Problem;
use doorbuster_core::{BuyerId, Phase};
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::sale_limits::{LimitRules, Route};
use doorbuster_gate::{Caller, LimitCheck, RateLimitExceeded, RateLimitStatus};
use http::HeaderMap;

use super::App;
use super::identity::{Buyer, ClientAddress};
use super::path_names::PathNames;
use super::refusals::BLOCKED;

#[derive(Debug)]
pub(crate) struct LimitedRequest {
    route: Route,
    sale: Option<String>,
    buyer: Option<BuyerId>,
    client: ClientAddress,
}

/// The sale that a response is about. A handler puts it into the response's extensions if the
/// request's path does not contain the sale.
#[derive(Clone, Debug)]
pub(crate) struct ResponseSale(pub String);

impl LimitedRequest {
    /// Reads from the request what its rate-limit status depends on. Returns this data and the
    /// request. The data is `None` if the path has no limit. `path` is the path in the endpoint
    /// table.
    pub(crate) async fn from_request(path: &str, request: Request) -> (Option<Self>, Request) {
        let route = match path {
            "/v1/sales/{sale}/challenges" => Route::Challenge,
            "/v1/sales/{sale}/passes" => Route::Pass,
            "/v1/sales/{sale}/waiting-room" => Route::Room,
            // A request to join a waitlist counts like a purchase, because it requests units.
            "/v1/sales/{sale}/items/{item}/waitlist" => Route::Purchase,
            "/v1/orders/{order}/checkout" | "/v1/linked-orders/{order}/checkout" => Route::Checkout,
            _ => return (None, request),
        };
        let (mut parts, body) = request.into_parts();
        let sale = match route {
            Route::Checkout => None,
            Route::Purchase => PathNames::from_request_parts(&mut parts, &())
                .await
                .ok()
                .map(|PathNames([sale, _])| sale),
            _ => PathNames::from_request_parts(&mut parts, &())
                .await
                .ok()
                .map(|PathNames([sale])| sale),
        };
        let buyer = parts.extensions.get::<Buyer>().map(|Buyer(buyer)| buyer.clone());
        let this = parts.extensions.get::<ClientAddress>().map(|client| Self {
            route,
            sale,
            buyer,
            client: *client,
        });
        (this, Request::from_parts(parts, body))
    }

    pub(crate) fn add_status_headers(&self, app: &App, response: &mut Response) {
        let buyer = self.buyer.as_ref().map_or("", BuyerId::as_str);
        let caller = self.client.caller(buyer);
        let response_sale = response.extensions_mut().remove::<ResponseSale>();
        let sale =
            response_sale.as_ref().map(|ResponseSale(sale)| sale.as_str()).or(self.sale.as_deref());
        app.add_rate_limit_status(self.route, caller, sale, response.headers_mut());
    }
}

/// The default limits, for the status in responses that are about no sale.
static DEFAULT_RULES: LazyLock<[LimitRules; 3]> = LazyLock::new(|| {
    let limits = Limits::default();
    [
        LimitRules::new(&limits),
        LimitRules::for_challenges(&limits),
        LimitRules::for_checkouts(&limits),
    ]
});

impl App {
    /// If the headers of a response have no rate-limit status yet, adds the caller's status to
    /// them. If the buyer is not known, the status shows the buyer's limit as unused.
    pub(super) fn add_rate_limit_status(
        &self,
        route: Route,
        caller: Caller<'_>,
        sale: Option<&str>,
        headers: &mut HeaderMap,
    ) {
        if RateLimitStatus::is_present(headers) {
            return;
        }
        let catalogue = self.node.catalogue();
        let sale = sale
            .and_then(|sale| catalogue.sale(sale))
            .filter(|sale| sale.row.phase != Phase::Draft);
        match sale {
            Some(sale) => self
                .gate
                .limits
                .rate_limit_status(route, caller, sale)
                .insert(sale.limits_of(route), headers),
            None => {
                let [plain, challenges, checkouts] = &*DEFAULT_RULES;
                let rules = match route {
                    Route::Challenge => challenges,
                    Route::Checkout => checkouts,
                    Route::Purchase | Route::Pass | Route::Room => plain,
                };
                RateLimitStatus::unused(rules).insert(rules, headers);
            }
        }
    }

    /// Fails with `403 forbidden`.
    pub(crate) fn ensure_not_blocked(
        &self,
        client: ClientAddress,
        buyer: &BuyerId,
    ) -> Result<(), Problem> {
        match self.gate.blocks.is_blocked(client.addresses(), buyer.as_str(), self.node.now()) {
            true => Err(Problem::forbidden(BLOCKED)),
            false => Ok(()),
        }
    }

    /// Checks blocks and rate limits. Fails with `403` or `429`. A handler of a path with limits
    /// calls either this function, or both `ensure_not_blocked` and `check_rate_limit`.
    ///
    /// The console shows operators the refusals of a buyer for each item. This function does not
    /// know the item, so it records a refusal only if the sale has a single item.
    pub(crate) async fn admit(
        &self,
        route: Route,
        client: ClientAddress,
        buyer: &BuyerId,
        sale: &SaleState,
    ) -> Result<(), Problem> {
        let admitted = match self.ensure_not_blocked(client, buyer) {
            Ok(()) => self.check_rate_limit(route, client, buyer, sale).await,
            blocked => blocked,
        };
        if let (Err(refused), [item]) = (&admitted, &sale.items[..]) {
            self.node.note_refusal(item, buyer.as_str(), refused.code(), self.node.now());
        }
        admitted
    }

    /// Counts the request, and fails with `429 rate_limited` if the request is over a limit. If
    /// nodes share the limits and this node has no share left, waits for a new share.
    pub(crate) async fn check_rate_limit(
        &self,
        route: Route,
        client: ClientAddress,
        buyer: &BuyerId,
        sale: &SaleState,
    ) -> Result<(), Problem> {
        let caller = client.caller(buyer.as_str());
        let limited = (route, route.counting());
        match self.gate.limits.acquire_shared(limited, caller, sale).await {
            Ok(_) => Ok(()),
            Err(RateLimitExceeded { scope, retry_after_secs, .. }) => {
                Err(Problem::rate_limited(scope, retry_after_secs))
            }
        }
    }

    /// Counts the request and returns `true` if it is within the limits. Returns `false` if it is
    /// over a limit, or if it would have to wait for a share of a limit.
    pub(crate) fn is_within_limits_now(
        &self,
        route: Route,
        client: ClientAddress,
        buyer: &BuyerId,
        sale: &SaleState,
    ) -> bool {
        let limits = &self.gate.limits;
        match limits.acquire((route, route.counting()), client.caller(buyer.as_str()), sale) {
            Ok(LimitCheck::Counted(_)) => true,
            Ok(LimitCheck::Pending(pending)) => {
                limits.withdraw(*pending, sale);
                false
            }
            Err(_) => false,
        }
    }
}
