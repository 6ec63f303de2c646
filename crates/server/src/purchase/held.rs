//! What a request hears that was here before: the order that it holds, looked up where this node
//! remembers one or cannot know, or the place in the queue that it was given.
use doorbuster_core::slot::IssuedTicket;
use doorbuster_core::{Order, Phase, RequestHash};

use super::park::{Asker, Until};
use super::{Attempt, Bought, Purchase, Refusal, UNAVAILABLE};
use crate::catalogue::SaleState;
use crate::engine::Engine;
use crate::holders::{Queued, Unread};

impl Purchase {
    /// What the request hears whose key this order has.
    pub(super) fn shown(&self, order: Order) -> Bought {
        match order.item == self.item.row.id && order.units == self.units {
            true => Bought::Replayed(order),
            false => Bought::Refused(Refusal::KeyReused),
        }
    }
}

impl Engine {
    /// Whether the request may hold an order, or a place in the queue, as far as this node knows.
    pub(super) fn may_hold(&self, sale: &SaleState, request: RequestHash) -> bool {
        let holders = self.holders();
        holders.may_hold(request)
            || holders.undecided.has(request)
            || (sale.row.phase == Phase::Closed && sale.is_long_over(self.now()))
    }

    /// What a request hears that may hold an order; `None`: it holds none. Those that this node
    /// remembers are shown it in turn, of the others a few are looked up at a time.
    pub(super) async fn held(&self, purchase: &Purchase, request: RequestHash) -> Option<Bought> {
        let is_remembered = self.holders().holds(request);
        if !is_remembered
            && let Some(queued) = self.holders().undecided.told(request, self.now())
            && let Some(bought) = self.as_told(purchase, request, queued).await
        {
            return Some(bought);
        }
        let order = self.store().order_of(purchase.buyer.clone(), purchase.key.clone());
        let found = if is_remembered {
            let buyer = self.id_key().buyer_hash(purchase.buyer.as_str());
            self.holders().lanes.order(buyer, request, order).await
        } else {
            let Some(_place) = self.holders().look_up() else { return Some(UNAVAILABLE) };
            order.await.map_err(Unread::Store)
        };
        match found {
            Ok(Some(order)) => Some(purchase.shown(order)),
            Ok(None) => None,
            Err(Unread::Busy) => Some(UNAVAILABLE),
            Err(Unread::Store(error)) => {
                tracing::debug!(%error, "a request that is sent again could not be looked for");
                Some(UNAVAILABLE)
            }
        }
    }

    /// The answer to a request whose verdict is not out. What it was admitted on may have ended
    /// since: it hears the same again.
    pub(super) fn still_queued(&self, purchase: &Purchase, cut: &IssuedTicket) -> Bought {
        let request = self.id_key().request_hash(purchase.buyer.as_str(), purchase.key.as_str());
        let queued = Queued { item: purchase.item.row.id, cut: *cut };
        self.holders().undecided.tell(request, queued, self.now());
        Bought::Queued { id: self.id_of(purchase, cut), decide_by: cut.decide_by }
    }

    /// What a request hears that was told it is queued; `None`: it was refused since, and this is a
    /// new try.
    async fn as_told(
        &self,
        purchase: &Purchase,
        request: RequestHash,
        queued: Queued,
    ) -> Option<Bought> {
        let Queued { item, cut } = queued;
        let attempt = match self.waiters().join(cut.token) {
            Some(verdict) => {
                let asker =
                    Asker { is_first: false, until: Until::from_now(purchase.wait).verdict };
                self.wait(purchase, &cut, verdict, asker).await
            }
            None => self.find(purchase, &cut).await,
        };
        let is_same = item == purchase.item.row.id && cut.units == purchase.units;
        match attempt {
            Attempt::Answer(Bought::Queued { .. } | Bought::Replayed(_)) if !is_same => {
                Some(Bought::Refused(Refusal::KeyReused))
            }
            Attempt::Answer(bought) => Some(bought),
            Attempt::Short | Attempt::NotReady | Attempt::Undecided | Attempt::AskAgain => {
                self.holders().undecided.forget(request);
                None
            }
        }
    }
}
