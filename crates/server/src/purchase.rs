//! The use case: one request for units, from the first look to its answer.
//!
//! A request is refused from node memory wherever that is allowed ([`Engine::glance`]); what is
//! left asks the item's slot for a ticket and waits for the ticket's verdict. Nothing here needs
//! the caller to stay: once a ticket is cut it is settled whether or not anybody listens, so a
//! dropped future changes nothing.
mod answer;
mod fresh;
mod hear;
mod held;
mod last;
mod limit;
mod park;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::settle::Resolved;
use doorbuster_core::slot::{IssuedTicket, TicketAnswer, TicketRequest};
use doorbuster_core::{
    BuyerId, Phase, RequestKey, SlotKey, TicketId, TicketParts, Token, Units, Verdict,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::catalogue::{ItemState, SaleState};
use crate::engine::Engine;
use crate::waiters::Opened;

pub use answer::{Bought, Refusal};
pub use hear::OpenGrants;
use hear::Silence;
use park::Asker;

/// Seconds after which a refused request that may be sent again should be.
pub(crate) const RETRY_SECS: u32 = 1;

/// A purchase that passed the look from node memory.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// Who.
    pub buyer: BuyerId,
    /// Under which key.
    pub key: RequestKey,
    /// In which sale.
    pub sale: Arc<SaleState>,
    /// What.
    pub item: Arc<ItemState>,
    /// How many.
    pub units: Units,
    /// How long to wait for the verdict.
    pub wait: Duration,
    /// What the front door has against it: told unless the request holds an order.
    pub door: Option<Refusal>,
}

/// Send the same request again.
const UNAVAILABLE: Bought = Bought::Refused(Refusal::Unavailable { retry_after_secs: RETRY_SECS });
/// A bound was met.
const OVERLOADED: Bought = Bought::Refused(Refusal::Overloaded { retry_after_secs: RETRY_SECS });

/// What a request's attempts have in common.
#[derive(Clone, Copy)]
struct Tries {
    /// Until when it waits for a verdict.
    verdict: Instant,
    /// Endings of orders that this node had been told of when the request came.
    told: u64,
    /// Some slot did not answer, or had no epoch: an earlier try may have its ticket, and units may
    /// come back.
    unsure: bool,
}

/// One attempt at the slot.
enum Attempt {
    /// An answer.
    Answer(Bought),
    /// The slot is short, though units may yet be had.
    Short,
    /// The slot has no epoch yet: worth another try when the item's next commit is heard of.
    NotReady,
    /// What the slot refuses for is not decided yet: the same.
    Undecided,
    /// The ticket was returned because its grant is gone, and nobody heard its id: ask again.
    AskAgain,
}

impl Engine {
    /// The refusal that node memory alone allows, in well under a microsecond; `None`: go on with
    /// [`Engine::buy`].
    ///
    /// `door` says what the front door has against the request; it is asked after the phase and
    /// before the stock, and not at all for a request that may hold an order, which is never
    /// refused here. The counts are read before the set of requests that hold one, so that a replay
    /// never hears "sold out".
    #[must_use]
    pub fn glance(
        &self,
        request: (&str, &str),
        sale: &SaleState,
        item: &ItemState,
        units: Units,
        door: impl FnOnce() -> Option<Refusal>,
    ) -> Option<Refusal> {
        let sold_out = item.gauge.free().refuses(units).map(Refusal::SoldOut);
        let (buyer, key) = request;
        if self.may_hold(sale, self.id_key().request_hash(buyer, key)) {
            return None;
        }
        let refusal = self.refusal_of_phase(sale).or_else(door).or(sold_out)?;
        Some(self.if_recent(refusal))
    }

    /// What a node says of the truth it says only from a recent snapshot: others may have sold,
    /// resumed or ended since.
    pub(crate) fn if_recent(&self, refusal: Refusal) -> Refusal {
        let is_of_truth = matches!(
            refusal,
            Refusal::SoldOut(_) | Refusal::NotStarted { .. } | Refusal::Paused | Refusal::Ended
        );
        match is_of_truth && !self.is_recent() {
            true => Refusal::Unavailable { retry_after_secs: RETRY_SECS },
            false => refusal,
        }
    }

    /// Why the sale's phase lets nobody buy, if it does not.
    pub(crate) fn refusal_of_phase(&self, sale: &SaleState) -> Option<Refusal> {
        if sale.is_draining() || self.is_stopping() {
            return Some(Refusal::Unavailable { retry_after_secs: RETRY_SECS });
        }
        match sale.row.phase {
            Phase::Open => None,
            Phase::Draft | Phase::Scheduled => {
                Some(Refusal::NotStarted { opens_at: sale.row.starts_at })
            }
            Phase::Paused => Some(Refusal::Paused),
            Phase::Closed => Some(Refusal::Ended),
        }
    }

    /// Asks for units and waits up to `wait` for the verdict.
    pub async fn buy(&self, purchase: &Purchase) -> Bought {
        let mut request = self.request(purchase);
        let refusal = self.refusal_of_phase(&purchase.sale).or(purchase.door);
        // Whoever is not refused finds an order that this node does not remember when its ticket is
        // settled.
        let is_looked_up = match refusal {
            Some(_) => self.may_hold(&purchase.sale, request.request),
            None => self.holders().holds(request.request),
        };
        if is_looked_up && let Some(bought) = Box::pin(self.held(purchase, request.request)).await {
            return bought;
        }
        if let Some(refusal) = refusal {
            return Bought::Refused(self.if_recent(refusal));
        }
        self.buy_fresh(purchase, &mut request).await
    }

    fn request(&self, purchase: &Purchase) -> TicketRequest {
        let (buyer, key) = (purchase.buyer.as_str(), purchase.key.as_str());
        TicketRequest {
            token: Token(rand::random::<u64>() >> 16),
            buyer: purchase.buyer.clone(),
            key: purchase.key.clone(),
            buyer_hash: self.id_key().buyer_hash(buyer),
            request: self.id_key().request_hash(buyer, key),
            units: purchase.units,
            limit: purchase.item.row.limit,
            decide_by: self.now().plus(DECIDE_WITHIN_MS),
            node: self.node(),
        }
    }

    /// What a slot's answer comes to.
    async fn heed(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        answered: &(SlotKey, TicketAnswer),
        (verdict, entry): (oneshot::Receiver<Resolved>, Opened<'_>),
        tries: &Tries,
    ) -> Attempt {
        let TicketAnswer::Issued(cut) = &answered.1 else {
            drop(entry);
            return Box::pin(self.not_cut(purchase, request, *answered, *tries)).await;
        };
        entry.keep();
        self.wait(purchase, cut, verdict, Asker { is_first: true, until: tries.verdict }).await
    }

    async fn not_cut(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        (slot, answer): (SlotKey, TicketAnswer),
        tries: Tries,
    ) -> Attempt {
        Attempt::Answer(match answer {
            TicketAnswer::Issued(_) => UNAVAILABLE,
            TicketAnswer::Repeated(cut) => return self.again(purchase, &cut, tries).await,
            TicketAnswer::Short { .. } => return Attempt::Short,
            TicketAnswer::KeyReused => {
                return self.refused_by_slot(purchase, request, Refusal::KeyReused, tries).await;
            }
            // The share of an order that ended before this request came is on its way to the slot.
            // Any node may bring it.
            TicketAnswer::LimitReached { .. }
                if purchase.item.work.feed.is_behind(slot, tries.told) =>
            {
                self.control().wake(purchase.item.row.id);
                return match self.remembered(purchase, request).await {
                    Some(bought) => Attempt::Answer(bought),
                    None => Attempt::NotReady,
                };
            }
            TicketAnswer::LimitReached { used } => {
                let refusal = Refusal::LimitReached { limit: purchase.item.row.limit, used };
                return self.refused_by_slot(purchase, request, refusal, tries).await;
            }
            TicketAnswer::Full => OVERLOADED,
            TicketAnswer::NoEpoch => return Attempt::NotReady,
            TicketAnswer::Stopped => UNAVAILABLE,
        })
    }

    /// The verdict of a ticket that was cut for an earlier try.
    async fn again(&self, purchase: &Purchase, cut: &IssuedTicket, tries: Tries) -> Attempt {
        match self.waiters().join(cut.token) {
            Some(verdict) => {
                let asker = Asker { is_first: false, until: tries.verdict };
                self.wait(purchase, cut, verdict, asker).await
            }
            None => self.find(purchase, cut).await,
        }
    }

    /// The verdict of a ticket that nobody on this node waits for any more.
    async fn find(&self, purchase: &Purchase, cut: &IssuedTicket) -> Attempt {
        let id = self.id_of(purchase, cut);
        Attempt::Answer(match self.store().verdict(id).await {
            Ok(Some(resolved)) if resolved.order.is_none() => {
                // It was refused, and this is a new try: the slot has yet to forget the old one.
                self.control().wake(purchase.item.row.id);
                return Attempt::NotReady;
            }
            Ok(Some(resolved)) => self.answer(purchase, resolved, false).await,
            Ok(None) => self.still_queued(purchase, cut),
            Err(_) => UNAVAILABLE,
        })
    }

    async fn wait(
        &self,
        purchase: &Purchase,
        cut: &IssuedTicket,
        verdict: oneshot::Receiver<Resolved>,
        asker: Asker,
    ) -> Attempt {
        // Who does not want to wait gets a place, however quick the settler is.
        let heard = match asker.until > Instant::now() {
            true => self.hear(purchase, cut, verdict, asker).await,
            false => Err(Silence::NotYet),
        };
        match heard {
            Ok(resolved)
                if resolved.verdict == Verdict::Unavailable
                    && asker.is_first
                    && self.now() <= cut.decide_by =>
            {
                Attempt::AskAgain
            }
            // Boxed: whoever waits for a verdict keeps no room for it.
            Ok(resolved) => {
                Attempt::Answer(Box::pin(self.answer(purchase, resolved, asker.is_first)).await)
            }
            Err(Silence::Gone) => Attempt::AskAgain,
            // Not yet, or the settler is gone: the verdict can be asked for.
            Err(Silence::NotYet) => Attempt::Answer(self.still_queued(purchase, cut)),
        }
    }

    async fn answer(&self, purchase: &Purchase, resolved: Resolved, mine: bool) -> Bought {
        match (resolved.verdict, resolved.order) {
            (Verdict::Reserved, Some(order)) if mine => Bought::Created(order),
            (Verdict::Reserved | Verdict::Order(_), Some(order)) => Bought::Replayed(order),
            (Verdict::KeyReused, _) => Bought::Refused(Refusal::KeyReused),
            (Verdict::LimitReached, _) => {
                let (limit, work) = (purchase.item.row.limit, &purchase.item.work);
                let told = work.feed.told();
                let quota =
                    Box::pin(self.store().quota(purchase.item.row.id, purchase.buyer.clone()));
                let used = quota.await;
                if let Ok(used) = used {
                    work.at_limit.learn(
                        self.id_key().buyer_hash(purchase.buyer.as_str()),
                        used,
                        told,
                    );
                }
                let used = used.unwrap_or(limit);
                Bought::Refused(Refusal::LimitReached { limit, used })
            }
            _ => UNAVAILABLE,
        }
    }

    fn id_of(&self, purchase: &Purchase, cut: &IssuedTicket) -> TicketId {
        let (buyer, key) = (purchase.buyer.as_str(), purchase.key.as_str());
        let parts = TicketParts {
            decide_by: cut.decide_by,
            token: cut.token,
            grant: cut.grant,
            n: cut.n,
            units: cut.units,
            request: self.id_key().request_hash(buyer, key).id_bits(),
        };
        self.id_key().sign(&parts, buyer)
    }
}
