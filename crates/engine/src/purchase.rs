//! Handles one purchase request, from its first check to its result.
//!
//! [`refuse_from_memory`] tries to refuse the request from the node's memory. If the memory gives
//! no refusal, [`Purchases::buy`] runs the steps of [`doorbuster_steps::purchase`], and performs
//! their effects with the slots and the store.
//!
//! [`Purchases`] owns the number of parked requests. It has a handle of the slots, which issue its
//! tickets. It calls the store and the memory of its [`Node`]. The handlers of requests call
//! [`Purchases`].
mod outcome;
mod park;
mod reads;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use doorbuster_core::gate::shared_limit::Counting;
use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::slot::{IssuedTicket, TicketAnswer, TicketRequest};
use doorbuster_core::{
    BuyerId, Millis, Order, RequestHash, RequestKey, SlotKey, TicketId, TicketParts, Token, Units,
};
use doorbuster_slots::Slots;
use doorbuster_steps::memory::{self, Queued};
use doorbuster_steps::purchase::{
    Attempt, Effect, GRANT_CHECK_AFTER_MS, GRANTS_READ_INTERVAL_MS, Input, Outcome,
    SLOT_QUERY_MAX_MS,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::catalogue::{Catalogue, ItemState, SaleState};
use crate::node::Node;
use crate::waiters::{TicketInfo, WaiterGuard};

pub use doorbuster_core::gate::DoorRefusal;
pub use doorbuster_steps::memory::{DoorAnswer, Refusal};
pub use outcome::{PurchaseOutcome, answer_kind};
use park::{ItemSignals, ParkedPermit, UnitDemandEntry};
use view::RequestView;

/// If a request was refused for a temporary reason, the client should repeat it after this many
/// seconds.
pub const RETRY_SECS: u32 = 1;

const SLOT_QUERY_MAX: Duration = Duration::from_millis(SLOT_QUERY_MAX_MS);
const GRANT_CHECK_AFTER: Duration = Duration::from_millis(GRANT_CHECK_AFTER_MS);
const GRANTS_READ_INTERVAL: Duration = Duration::from_millis(GRANTS_READ_INTERVAL_MS);

/// The input for the steps if a slot cannot be reached.
const UNREACHABLE: Input = Input::Slot(TicketAnswer::NoEpoch);

/// A purchase request that the node could not refuse from its memory.
#[derive(Clone, Debug)]
pub struct Purchase {
    /// The buyer.
    pub buyer: BuyerId,
    /// The request key.
    pub key: RequestKey,
    /// The keyed hash of the buyer and the request key.
    pub request: RequestHash,
    /// The sale.
    pub sale: Arc<SaleState>,
    /// The item.
    pub item: Arc<ItemState>,
    /// The units that the buyer requests.
    pub units: Units,
    /// How long the request waits for its verdict before it is answered as queued.
    pub wait: Duration,
    /// The refusal by the sale's front door, if the front door refuses the request. This refusal
    /// has no effect if the request already holds an order or has a queued ticket.
    pub door: Option<DoorRefusal>,
}

/// The part of a node that handles purchases.
pub struct Purchases {
    node: Arc<Node>,
    slots: Slots,
    pub(crate) parked: AtomicUsize,
}

/// Returns the refusal of a request, if the node's memory alone shows that the node must refuse it.
/// This takes well under a microsecond. If the result is `None`, the caller must call
/// [`Purchases::buy`]. For `door`, see [`memory::refuse`].
#[must_use]
pub fn refuse_from_memory(
    node: &Node,
    request: RequestHash,
    sale: &SaleState,
    item: &ItemState,
    units: Units,
    door: impl FnOnce(Counting) -> DoorAnswer,
) -> Option<Refusal> {
    let view = RequestView { node, sale, item, request, ticket: () };
    memory::refuse(&view, units, door)
}

/// Returns the refusal if the sale's phase does not allow purchases now.
pub fn phase_refusal(node: &Node, sale: &SaleState) -> Option<Refusal> {
    let is_stopping = sale.is_draining() || node.lifecycle().is_stopping();
    memory::refusal_for(sale.row.phase, sale.row.starts_at, is_stopping)
}

impl Purchases {
    pub(crate) fn new(node: Arc<Node>, slots: Slots) -> Self {
        Self { node, slots, parked: AtomicUsize::new(0) }
    }

    /// Returns the number of parked requests.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parked.load(Ordering::Acquire)
    }

    /// Requests units, and waits for the verdict for at most `purchase.wait`. The caller may drop
    /// the future at any time, because a ticket that was already issued is settled in any case.
    pub async fn buy(&self, purchase: &Purchase) -> PurchaseOutcome {
        let mut driver = Driver::new(self, purchase);
        let (mut steps, mut effect) = driver.start();
        loop {
            // The futures of rare effects are boxed. Otherwise they would enlarge the future of
            // every waiting request.
            let input = match effect {
                Effect::AskSlot { slot, is_bounded: false } => driver.ask_slot(slot).await,
                Effect::AskSlot { slot, is_bounded: true } => {
                    let answer = Box::pin(timeout(SLOT_QUERY_MAX, driver.ask_slot(slot)));
                    answer.await.unwrap_or(UNREACHABLE)
                }
                Effect::FindTicket(slot) => Box::pin(driver.find_ticket(slot)).await,
                Effect::AwaitVerdict { ticket, is_mine, may_be_lost } => {
                    driver.await_verdict(&ticket, is_mine, may_be_lost).await
                }
                Effect::ReadVerdict(ticket) => Box::pin(driver.read_verdict(&ticket)).await,
                Effect::ReadQuota => Box::pin(driver.read_quota()).await,
                Effect::ConfirmRefusal => Box::pin(driver.confirm_refusal()).await,
                Effect::LookUpOrder => Input::LookedUp(Box::pin(driver.look_up_order()).await),
                Effect::Park { why, until, waits } => {
                    Box::pin(driver.park(why, until, waits)).await
                }
                Effect::RenewToken => driver.renew_token(),
                Effect::Wake => driver.wake_item(),
                Effect::SuspectLoss => driver.suspect_loss(),
                Effect::RememberOrder => driver.remember_order(),
                Effect::RememberQueued(ticket) => driver.remember_queued(ticket),
                Effect::ForgetQueued(ticket) => driver.forget_queued(&ticket),
                Effect::Answer(outcome) => return driver.answer(outcome),
            };
            effect = driver.next(&mut steps, input);
        }
    }
}

fn decide_by(node: &Node) -> Millis {
    node.now().plus(DECIDE_WITHIN_MS)
}

struct Driver<'a> {
    purchases: &'a Purchases,
    purchase: &'a Purchase,
    request: TicketRequest,
    begun: Instant,
    /// The request's entry in the node's list of waiting requests. The entry is created before a
    /// slot is asked for a ticket, because the ticket's verdict may come before the slot's
    /// response.
    waiter: Option<(oneshot::Receiver<TicketVerdict>, WaiterGuard<'a>)>,
    /// The signals that end the request's wait while it is parked. Created before the node asks a
    /// slot, so that the request misses no signal.
    signals: Option<ItemSignals<'a>>,
    parked: Option<ParkedPermit<'a>>,
    demand: Option<UnitDemandEntry<'a>>,
    order: Option<Order>,
}

impl<'a> Driver<'a> {
    fn new(purchases: &'a Purchases, purchase: &'a Purchase) -> Self {
        let request = TicketRequest {
            token: random_token(),
            buyer: purchase.buyer.clone(),
            key: purchase.key.clone(),
            buyer_hash: purchases.node.id_key().buyer_hash(purchase.buyer.as_str()),
            request: purchase.request,
            units: purchase.units,
            limit: purchase.item.row.limit,
            decide_by: decide_by(&purchases.node),
            node: purchases.node.id(),
        };
        Self {
            purchases,
            purchase,
            request,
            begun: Instant::now(),
            waiter: None,
            signals: Some(ItemSignals::for_item(&purchase.item)),
            parked: None,
            demand: None,
            order: None,
        }
    }

    fn start(&self) -> (Attempt, Effect) {
        let Purchase { item, units, door, .. } = self.purchase;
        let wanted = (item.row.id, *units, item.row.limit);
        let catalogue = self.purchases.node.catalogue();
        Attempt::start(wanted, *door, Millis(0), &mut self.view(&catalogue))
    }

    fn next(&mut self, steps: &mut Attempt, input: Input) -> Effect {
        let now = Millis(i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX));
        let catalogue = self.purchases.node.catalogue();
        let effect = steps.next(input, now, &mut self.view(&catalogue));
        // The request needs its entry in the list of waiting requests only during two steps: the
        // node asks a slot for a ticket, or waits for the verdict of the request's own ticket.
        if !matches!(effect, Effect::AskSlot { .. } | Effect::AwaitVerdict { is_mine: true, .. }) {
            self.waiter = None;
        }
        effect
    }

    /// Returns what the node's memory knows about this request. Uses the newest catalogue, because
    /// the item's spread and the sale's phase may have changed while the request waited.
    fn view<'b>(&'b self, catalogue: &'b Catalogue) -> RequestView<'b, &'b TicketRequest> {
        let Purchase { item, sale, .. } = self.purchase;
        RequestView {
            node: &self.purchases.node,
            sale: catalogue.sale(&item.sale).unwrap_or(sale),
            item: catalogue.item_by_id(item.row.id).unwrap_or(item),
            request: self.request.request,
            ticket: &self.request,
        }
    }

    async fn ask_slot(&mut self, slot: SlotKey) -> Input {
        if self.waiter.is_none() {
            let TicketRequest { token, ref buyer, units, decide_by, .. } = self.request;
            let (item, buyer) = (self.purchase.item.row.id, buyer.clone());
            let info = TicketInfo { item, buyer, units, decide_by };
            self.waiter = Some(self.purchases.node.waiters().register(token, info));
        }
        let answer = self.purchases.slots.ticket(slot, &self.request).await;
        answer.map_or(UNREACHABLE, Input::Slot)
    }

    /// Asks the slot whether it has already issued a ticket for this request. This call uses the
    /// limit 0, so that the slot issues no new ticket.
    async fn find_ticket(&self, slot: SlotKey) -> Input {
        let known = TicketRequest { limit: 0, ..self.request.clone() };
        match timeout(SLOT_QUERY_MAX, self.purchases.slots.ticket(slot, &known)).await {
            Ok(Ok(answer)) => Input::Slot(answer),
            Ok(Err(_)) | Err(_) => UNREACHABLE,
        }
    }

    async fn await_verdict(
        &mut self,
        ticket: &IssuedTicket,
        is_mine: bool,
        may_be_lost: bool,
    ) -> Input {
        // The request now has a ticket, so it no longer needs units.
        (self.parked, self.demand) = (None, None);
        let verdict = match self.waiter.take() {
            Some((verdict, entry)) if is_mine => {
                entry.keep();
                Some(verdict)
            }
            _ => self.purchases.node.waiters().join(ticket.token),
        };
        let Some(mut verdict) = verdict else { return Input::NotWaiting };
        let deadline = self.begun + self.purchase.wait;
        // A request that must not wait is always answered with `Queued`, even if its verdict has
        // already arrived.
        if deadline <= Instant::now() {
            return Input::Elapsed;
        }
        let mut until = match may_be_lost {
            true => deadline.min(Instant::now() + GRANT_CHECK_AFTER),
            false => deadline,
        };
        loop {
            match timeout_at(until, &mut verdict).await {
                Ok(Ok(resolved)) => return self.take_verdict(resolved),
                // The settler has stopped.
                Ok(Err(_)) => return Input::Elapsed,
                Err(_) if until == deadline => return Input::Elapsed,
                Err(_) => {}
            }
            if Box::pin(self.is_grant_closed(ticket)).await {
                // The verdict may have arrived while the grants were read.
                let received = verdict.try_recv();
                return received.map_or(Input::GrantClosed, |resolved| self.take_verdict(resolved));
            }
            until = deadline.min(Instant::now() + GRANTS_READ_INTERVAL);
        }
    }

    fn take_verdict(&mut self, resolved: TicketVerdict) -> Input {
        self.order = resolved.order;
        Input::Verdict(resolved.verdict)
    }

    fn renew_token(&mut self) -> Input {
        self.purchases.node.meter().retried.add_one();
        self.request.token = random_token();
        self.request.decide_by = decide_by(&self.purchases.node);
        Input::Done
    }

    fn wake_item(&self) -> Input {
        self.purchases.node.control().wake(self.purchase.item.row.id);
        Input::Done
    }

    fn suspect_loss(&self) -> Input {
        self.purchases.node.control().suspect_loss();
        Input::Done
    }

    fn remember_order(&self) -> Input {
        self.purchases.node.holders().insert(self.request.request.low_64_bits());
        Input::Done
    }

    fn remember_queued(&self, ticket: IssuedTicket) -> Input {
        let queued = Queued { item: self.purchase.item.row.id, ticket };
        let (request, now) = (self.request.request, self.purchases.node.now());
        self.purchases.node.holders().queued_requests.remember(request, queued, now);
        Input::Done
    }

    fn forget_queued(&self, ticket: &IssuedTicket) -> Input {
        self.purchases.node.holders().queued_requests.forget(self.request.request, ticket.token);
        Input::Done
    }

    fn answer(&mut self, outcome: Outcome) -> PurchaseOutcome {
        match (outcome, self.order.take()) {
            (Outcome::Created, Some(order)) => PurchaseOutcome::Created(order),
            (Outcome::Replayed, Some(order)) => PurchaseOutcome::Replayed(order),
            (Outcome::Created | Outcome::Replayed, None) => {
                PurchaseOutcome::Refused(Refusal::Unavailable)
            }
            (Outcome::Queued(ticket), _) => {
                PurchaseOutcome::Queued { id: self.ticket_id(&ticket), decide_by: ticket.decide_by }
            }
            (Outcome::Refused(refusal), _) => PurchaseOutcome::Refused(refusal),
        }
    }

    fn ticket_id(&self, ticket: &IssuedTicket) -> TicketId {
        let IssuedTicket { token, grant, n, units, decide_by } = *ticket;
        let request = self.request.request.id_bits();
        let parts = TicketParts { decide_by, token, grant, n, units, request };
        self.purchases.node.id_key().sign(&parts, self.purchase.buyer.as_str())
    }
}

fn random_token() -> Token {
    Token(rand::random::<u64>() >> 16)
}
