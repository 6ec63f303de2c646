//! Limits on what buyers ask for before a purchase: challenges, passes, the waiting room. Every answer on these addresses says where the caller stands.
//!
//! Blocks and limits are asked by the handlers, once, of the sale that they serve: nothing is checked of a name that was read in another way than theirs.

use axum::extract::{FromRequestParts, Request};
use axum::response::Response;
use doorbuster_api::problem::Problem;
use doorbuster_core::{BuyerId, Phase};

use super::App;
use super::input::Names;
use super::refusals::BLOCKED;
use super::who::{Buyer, Client};
use crate::catalogue::SaleState;
use crate::gate::{Caller, Limited, Route, Standing};

/// A request on a limited address.
#[derive(Debug)]
pub(crate) struct OnLimited {
    route: Route,
    sale: String,
    buyer: BuyerId,
    client: Client,
}

impl OnLimited {
    /// What a request to this path of the table is, if it is limited and its buyer is known.
    pub(crate) async fn of(path: &str, request: Request) -> (Option<Self>, Request) {
        let route = match path.strip_prefix("/v1/sales/{sale}/") {
            Some("challenges") => Route::Challenge,
            Some("passes") => Route::Pass,
            Some("waiting-room") => Route::Room,
            _ => return (None, request),
        };
        let (mut parts, body) = request.into_parts();
        let names = Names::from_request_parts(&mut parts, &()).await.ok();
        let this = (|| {
            let Names([sale]) = names?;
            let Buyer(buyer) = parts.extensions.get::<Buyer>()?.clone();
            Some(Self { route, sale, buyer, client: *parts.extensions.get::<Client>()? })
        })();
        (this, Request::from_parts(parts, body))
    }

    fn caller(&self) -> Caller<'_> {
        Caller { address: self.client.0, buyer: self.buyer.as_str() }
    }

    /// Says in the answer where the caller stands now.
    pub(crate) fn tell(&self, app: &App, response: &mut Response) {
        let catalogue = app.engine.catalogue();
        let sale = catalogue.sale(&self.sale).filter(|sale| sale.row.phase != Phase::Draft);
        if let Some(sale) = sale
            && !Standing::is_in(response.headers())
        {
            let standing = app.gate.limits.look(self.route, self.caller(), sale);
            standing.insert(sale.limits_of(self.route), response.headers_mut());
        }
    }
}

impl App {
    /// Whether operators let this caller buy.
    ///
    /// # Errors
    /// `403 forbidden`.
    pub(crate) fn not_blocked(&self, client: Client, buyer: &BuyerId) -> Result<(), Problem> {
        match self.gate.blocks.turns_away(client.0, buyer.as_str(), self.engine.now()) {
            true => Err(Problem::forbidden(BLOCKED)),
            false => Ok(()),
        }
    }

    /// Whether a request is neither turned away nor one too many, which uses up one. Each handler of a limited address asks this once, or both parts.
    ///
    /// # Errors
    /// `403` or `429`.
    pub(crate) fn admit(&self, route: Route, client: Client, buyer: &BuyerId, sale: &SaleState) -> Result<(), Problem> {
        self.not_blocked(client, buyer)?;
        self.let_in(route, client, buyer, sale)
    }

    /// Whether a request is within the sale's limits, of which it uses up one.
    ///
    /// # Errors
    /// `429 rate_limited`.
    pub(crate) fn let_in(
        &self,
        route: Route,
        client: Client,
        buyer: &BuyerId,
        sale: &SaleState,
    ) -> Result<(), Problem> {
        let caller = Caller { address: client.0, buyer: buyer.as_str() };
        match self.gate.limits.ask(route, caller, sale) {
            Ok(_) => Ok(()),
            Err(Limited { scope, retry_after_secs, .. }) => Err(Problem::rate_limited(scope, retry_after_secs)),
        }
    }
}
