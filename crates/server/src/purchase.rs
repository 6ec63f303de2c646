//! Handles one purchase, from its first check to its answer.
//!
//! The node refuses a request from memory if the rules allow it ([`Engine::refuse_from_memory`]).
//! Otherwise the node asks the item's slot for a ticket and waits for the ticket's verdict. The
//! caller may drop the future at any time, because an issued ticket is settled in any case.
mod final_answer;
mod limit;
mod new_request;
mod outcome;
mod park;
mod replay;
mod request_memory;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::slot::{IssuedTicket, TicketAnswer, TicketRequest};
use doorbuster_core::{BuyerId, RequestKey, SlotKey, TicketId, TicketParts, Token, Units, Verdict};
use doorbuster_steps::memory;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::catalogue::{ItemState, SaleState};
use crate::engine::Engine;
use crate::waiters::WaiterGuard;

pub use outcome::{DoorAnswer, PurchaseOutcome, Refusal, StockAnswer};
use park::VerdictWait;
use request_memory::RequestMemory;
use verdict::NoVerdict;
pub use verdict::OpenGrants;

/// The number of seconds after which a client should send a refused request again.
pub(crate) const RETRY_SECS: u32 = 1;

/// A purchase that node memory did not refuse.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// The buyer.
    pub buyer: BuyerId,
    /// The request key.
    pub key: RequestKey,
    /// The sale.
    pub sale: Arc<SaleState>,
    /// The item.
    pub item: Arc<ItemState>,
    /// The units that the buyer requests.
    pub units: Units,
    /// How long the request waits for the verdict.
    pub wait: Duration,
    /// The refusal of the sale's front door. It does not apply to a request that holds an order.
    pub door: Option<Refusal>,
}

/// The answer to a request that the client should send again.
const UNAVAILABLE: PurchaseOutcome =
    PurchaseOutcome::Refused(Refusal::Unavailable { retry_after_secs: RETRY_SECS });
/// The answer to a request when a queue, a table or another limit of the server is full.
const OVERLOADED: PurchaseOutcome =
    PurchaseOutcome::Refused(Refusal::Overloaded { retry_after_secs: RETRY_SECS });

/// The state that all attempts of one request share.
#[derive(Clone, Copy)]
struct AttemptContext {
    /// The end of the wait for a verdict.
    verdict: Instant,
    /// The number of ended orders that this node knew of when the request arrived.
    endings: u64,
    /// Whether a slot did not answer or had no epoch. If so, an earlier attempt of this request may
    /// have a ticket there, and units may come back.
    is_uncertain: bool,
}

/// The result of one attempt at the slot.
enum Attempt {
    /// The final answer.
    Answer(PurchaseOutcome),
    /// The slot has too few units, but more may come.
    Short,
    /// The slot has no epoch yet. The request tries again after the item's next commit.
    NotReady,
    /// The slot refused for a reason that the store has not decided yet. The request tries again
    /// after the item's next commit.
    Undecided,
    /// The ticket was returned because its grant is closed. Its id was never published, so the
    /// request needs a new ticket.
    Retry,
}

impl Engine {
    /// Refuses a request from node memory alone, in well under a microsecond. `None`: the caller
    /// continues with [`Engine::buy`].
    ///
    /// `door` returns the front door's answer. It runs after the check of the phase and before the
    /// check of the stock. Its argument says whether the stock would refuse the request. A request
    /// that may hold an order is never refused here, so `door` does not run for such a request. The
    /// counts are read before the set of requests that hold an order. So a replay never gets "sold
    /// out".
    #[must_use]
    pub fn refuse_from_memory(
        &self,
        ticket_request: (&str, &str),
        sale: &SaleState,
        item: &ItemState,
        units: Units,
        door: impl FnOnce(StockAnswer) -> DoorAnswer,
    ) -> Option<Refusal> {
        let (buyer, key) = ticket_request;
        let request = self.id_key().request_hash(buyer, key);
        memory::refuse(&RequestMemory { engine: self, sale, item, request }, units, door)
    }

    /// Returns `refusal`. If it depends on the store's state and the node's snapshot is old,
    /// returns [`Refusal::Unavailable`], because units may have returned, or the phase may have
    /// changed.
    pub(crate) fn unless_stale(&self, refusal: Refusal) -> Refusal {
        let is_of_truth = matches!(
            refusal,
            Refusal::SoldOut(_) | Refusal::NotStarted { .. } | Refusal::Paused | Refusal::Ended
        );
        match is_of_truth && !self.is_memory_recent() {
            true => Refusal::Unavailable { retry_after_secs: RETRY_SECS },
            false => refusal,
        }
    }

    /// Returns the refusal for the sale's phase, if there is one.
    pub(crate) fn phase_refusal(&self, sale: &SaleState) -> Option<Refusal> {
        let is_stopping = sale.is_draining() || self.is_stopping();
        memory::refusal_for(sale.row.phase, sale.row.starts_at, is_stopping).map(Refusal::from)
    }

    /// Requests units and waits up to `purchase.wait` for the verdict.
    pub async fn buy(&self, purchase: &Purchase) -> PurchaseOutcome {
        let mut request = self.ticket_request(purchase);
        let refusal = self.phase_refusal(&purchase.sale).or(purchase.door);
        // A request that memory does not refuse may hold an order that this node does not remember.
        // The settler finds that order when it settles the request's ticket.
        let is_looked_up = match refusal {
            Some(_) => self.may_hold(&purchase.sale, request.request),
            None => self.holders().holds(request.request),
        };
        if is_looked_up
            && let Some(bought) = Box::pin(self.held_order(purchase, request.request)).await
        {
            return bought;
        }
        if let Some(refusal) = refusal {
            return PurchaseOutcome::Refused(self.unless_stale(refusal));
        }
        self.buy_new(purchase, &mut request).await
    }

    /// Returns the purchase's item as it is now. Its spread may have changed while the request
    /// waited.
    fn current_item(&self, purchase: &Purchase) -> Arc<ItemState> {
        let catalogue = self.catalogue();
        catalogue.item_by_id(purchase.item.row.id).unwrap_or(&purchase.item).clone()
    }

    fn ticket_request(&self, purchase: &Purchase) -> TicketRequest {
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

    /// Turns a slot's answer into the result of the attempt.
    async fn handle_answer(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        answered: &(SlotKey, TicketAnswer),
        (verdict, entry): (oneshot::Receiver<TicketVerdict>, WaiterGuard<'_>),
        context: &AttemptContext,
    ) -> Attempt {
        let TicketAnswer::Issued(ticket) = &answered.1 else {
            drop(entry);
            return Box::pin(self.handle_unissued(purchase, request, *answered, *context)).await;
        };
        entry.keep();
        self.await_verdict(
            purchase,
            ticket,
            verdict,
            VerdictWait {
                is_first: true,
                may_publish: !context.is_uncertain,
                until: context.verdict,
            },
        )
        .await
    }

    async fn handle_unissued(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        (slot, answer_verdict): (SlotKey, TicketAnswer),
        context: AttemptContext,
    ) -> Attempt {
        Attempt::Answer(match answer_verdict {
            TicketAnswer::Issued(_) => UNAVAILABLE,
            TicketAnswer::Repeated(ticket) => {
                return self.join_earlier_ticket(purchase, &ticket, context).await;
            }
            TicketAnswer::Short { .. } => return Attempt::Short,
            TicketAnswer::KeyReused => {
                return self.refused_by_slot(purchase, request, Refusal::KeyReused, context).await;
            }
            // An order of the buyer may have ended before this request arrived, and the slot may
            // not know the lower quota yet. Any node may deliver the feed row with this quota.
            TicketAnswer::LimitReached { .. }
                if purchase.item.work.feed.is_behind(slot, context.endings) =>
            {
                self.control().wake(purchase.item.row.id);
                return match self.find_remembered(purchase, request).await {
                    Some(bought) => Attempt::Answer(bought),
                    None => Attempt::NotReady,
                };
            }
            TicketAnswer::LimitReached { used } => {
                let refusal = Refusal::LimitReached { limit: purchase.item.row.limit, used };
                return self.refused_by_slot(purchase, request, refusal, context).await;
            }
            TicketAnswer::Full => OVERLOADED,
            TicketAnswer::NoEpoch => return Attempt::NotReady,
            // The sale continues. The slot is leaving the spread or gets its next epoch. So a later
            // attempt can succeed.
            TicketAnswer::Stopped if self.phase_refusal(&purchase.sale).is_none() => {
                return Attempt::NotReady;
            }
            TicketAnswer::Stopped => UNAVAILABLE,
        })
    }

    /// Returns the verdict of a ticket that was issued for an earlier attempt.
    async fn join_earlier_ticket(
        &self,
        purchase: &Purchase,
        ticket: &IssuedTicket,
        context: AttemptContext,
    ) -> Attempt {
        let may_publish = !context.is_uncertain;
        match self.waiters().join(ticket.token) {
            Some(verdict) => {
                let until = context.verdict;
                let verdict_wait = VerdictWait { is_first: false, may_publish, until };
                self.await_verdict(purchase, ticket, verdict, verdict_wait).await
            }
            None => self.find_verdict(purchase, ticket, may_publish).await,
        }
    }

    /// Returns the verdict of a ticket that no request on this node waits for. For `may_publish`,
    /// see [`VerdictWait`].
    async fn find_verdict(
        &self,
        purchase: &Purchase,
        ticket: &IssuedTicket,
        may_publish: bool,
    ) -> Attempt {
        let id = self.ticket_id(purchase, ticket);
        Attempt::Answer(match self.store().verdict(id).await {
            Ok(Some(resolved)) if resolved.order.is_none() => {
                // The store returned the ticket, so this is a new attempt. The slot still remembers
                // the old ticket.
                self.control().wake(purchase.item.row.id);
                return Attempt::NotReady;
            }
            Ok(Some(resolved)) => self.answer_verdict(purchase, resolved, false).await,
            Ok(None) if may_publish => self.answer_queued(purchase, ticket),
            Ok(None) => UNAVAILABLE,
            Err(_) => UNAVAILABLE,
        })
    }

    async fn await_verdict(
        &self,
        purchase: &Purchase,
        ticket: &IssuedTicket,
        verdict: oneshot::Receiver<TicketVerdict>,
        verdict_wait: VerdictWait,
    ) -> Attempt {
        // A request with no time to wait is queued, even if the settler is quick.
        let received = match verdict_wait.until > Instant::now() {
            true => self.receive_verdict(purchase, ticket, verdict, verdict_wait).await,
            false => Err(NoVerdict::Pending),
        };
        match received {
            // A refusal may be from before this request, so it starts a new attempt. The slot still
            // remembers the old ticket.
            Ok(resolved) if !verdict_wait.is_first && resolved.order.is_none() => {
                self.control().wake(purchase.item.row.id);
                Attempt::NotReady
            }
            Ok(resolved)
                if resolved.verdict == Verdict::Unavailable
                    && verdict_wait.is_first
                    && self.now() <= ticket.decide_by =>
            {
                Attempt::Retry
            }
            // The future is boxed, so that the future of a waiting request stays small.
            Ok(resolved) => Attempt::Answer(
                Box::pin(self.answer_verdict(purchase, resolved, verdict_wait.is_first)).await,
            ),
            Err(NoVerdict::GrantClosed) => Attempt::Retry,
            // The verdict of an earlier ticket may be forced, and this node does not get it then.
            Err(NoVerdict::Pending) if !verdict_wait.is_first => {
                Box::pin(self.find_verdict(purchase, ticket, verdict_wait.may_publish)).await
            }
            // There is no verdict yet, or the settler has stopped. The buyer can read the verdict
            // later.
            Err(NoVerdict::Pending) if verdict_wait.may_publish => {
                Attempt::Answer(self.answer_queued(purchase, ticket))
            }
            Err(NoVerdict::Pending) => Attempt::Answer(UNAVAILABLE),
        }
    }

    async fn answer_verdict(
        &self,
        purchase: &Purchase,
        resolved: TicketVerdict,
        mine: bool,
    ) -> PurchaseOutcome {
        match (resolved.verdict, resolved.order) {
            (Verdict::Reserved, Some(order)) if mine => PurchaseOutcome::Created(order),
            (Verdict::Reserved | Verdict::Order(_), Some(order)) => {
                PurchaseOutcome::Replayed(order)
            }
            (Verdict::KeyReused, _) => PurchaseOutcome::Refused(Refusal::KeyReused),
            (Verdict::LimitReached, _) => {
                let (limit, work) = (purchase.item.row.limit, &purchase.item.work);
                let endings = work.feed.endings();
                let quota =
                    Box::pin(self.store().quota(purchase.item.row.id, purchase.buyer.clone()));
                let used = quota.await;
                if let Ok(used) = used {
                    work.at_limit.learn(
                        self.id_key().buyer_hash(purchase.buyer.as_str()),
                        used,
                        endings,
                    );
                }
                let used = used.unwrap_or(limit);
                PurchaseOutcome::Refused(Refusal::LimitReached { limit, used })
            }
            _ => UNAVAILABLE,
        }
    }

    fn ticket_id(&self, purchase: &Purchase, ticket: &IssuedTicket) -> TicketId {
        let (buyer, key) = (purchase.buyer.as_str(), purchase.key.as_str());
        let parts = TicketParts {
            decide_by: ticket.decide_by,
            token: ticket.token,
            grant: ticket.grant,
            n: ticket.n,
            units: ticket.units,
            request: self.id_key().request_hash(buyer, key).id_bits(),
        };
        self.id_key().sign(&parts, buyer)
    }
}
