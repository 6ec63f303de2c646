//! Limits on what buyers ask for before a purchase: challenges, passes, the waiting room. Every answer on these addresses says where the caller stands.

use axum::extract::Request;
use axum::response::Response;
use doorbuster_api::problem::Problem;
use doorbuster_core::{BuyerId, Phase};

use super::App;
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
    pub(crate) fn of(path: &str, request: &Request) -> Option<Self> {
        let route = match path.strip_prefix("/v1/sales/{sale}/")? {
            "challenges" => Route::Challenge,
            "passes" => Route::Pass,
            "waiting-room" => Route::Room,
            _ => return None,
        };
        let sale = request.uri().path().split('/').nth(3)?.to_owned();
        let Buyer(buyer) = request.extensions().get::<Buyer>()?.clone();
        Some(Self { route, sale, buyer, client: *request.extensions().get::<Client>()? })
    }

    fn caller(&self) -> Caller<'_> {
        Caller { address: self.client.0, buyer: self.buyer.as_str() }
    }

    /// Whether it is let in to its handler. Whoever asks for a pass is asked more before, and so there: [`App::let_in`].
    ///
    /// # Errors
    /// `403` or `429`.
    pub(crate) fn enter(&self, app: &App) -> Result<(), Problem> {
        let catalogue = app.engine.catalogue();
        match catalogue.sale(&self.sale) {
            Some(sale) if self.route != Route::Pass && sale.row.phase != Phase::Draft => {
                app.not_blocked(self.client, &self.buyer)?;
                app.let_in(self.route, self.client, &self.buyer, sale)
            }
            _ => Ok(()),
        }
    }

    /// Says in the answer where the caller stands now.
    pub(crate) fn tell(&self, app: &App, response: &mut Response) {
        let catalogue = app.engine.catalogue();
        let sale = catalogue.sale(&self.sale).filter(|sale| sale.row.phase != Phase::Draft);
        if let Some(sale) = sale
            && !Standing::is_in(response.headers())
        {
            let standing = app.gate.limits.look(self.route, self.caller(), sale);
            standing.insert(&sale.limits, response.headers_mut());
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
