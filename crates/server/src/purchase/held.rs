//! The order that a request holds already: looked up where this node remembers one, or cannot know.
use doorbuster_core::{Phase, RequestHash};
use doorbuster_store::StoreError;

use super::{Bought, Purchase, Refusal, UNAVAILABLE};
use crate::catalogue::SaleState;
use crate::engine::Engine;

impl Engine {
    /// Whether the request may hold an order, as far as this node knows.
    pub(super) fn may_hold(&self, sale: &SaleState, request: RequestHash) -> bool {
        self.holders().may_hold(request) || (sale.row.phase == Phase::Closed && sale.is_long_over(self.now()))
    }

    /// What a request hears that may hold an order; `None`: it holds none. Of those that this node does not remember a few are looked up at a time.
    pub(super) async fn held(&self, purchase: &Purchase, request: RequestHash) -> Option<Bought> {
        let _place = match self.holders().holds(request) {
            true => None,
            false => match self.holders().look_up() {
                Some(place) => Some(place),
                None => return Some(UNAVAILABLE),
            },
        };
        self.replay(purchase).await.transpose().map(|bought| bought.unwrap_or(UNAVAILABLE))
    }

    /// The order that the request holds.
    async fn replay(&self, purchase: &Purchase) -> Result<Option<Bought>, StoreError> {
        let order = self.store().order_of(purchase.buyer.clone(), purchase.key.clone()).await?;
        Ok(order.map(|order| match order.item == purchase.item.row.id && order.units == purchase.units {
            true => Bought::Replayed(order),
            false => Bought::Refused(Refusal::KeyReused),
        }))
    }
}
