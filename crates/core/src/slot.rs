//! A slot: a small counter that issues a ticket for one request in one atomic step. [`Slot`] is the
//! reference for every backend. A slot in a node's memory is a [`Slot`] behind a lock.
//!
//! A slot's units are in two counters, A and B. A refill's feed row names the drained counter. A
//! credit always goes to A, because the transaction that writes the credit cannot know which
//! counter is active. The choice of A is safe, because a ticket can use the units of both counters.
mod counters;
mod memory;

use std::sync::Arc;

use hashbrown::HashMap;

use self::counters::Counters;
use self::memory::PackedTicket;

use crate::id::IdKey;
use crate::limits::{SLOT_QUEUE_AGE_MAX_MS, SLOT_QUEUE_MAX, SLOT_RECALLS_MAX, SLOT_REQUESTS_MAX};
use crate::queue::{Queue, QueuedTicket};
use crate::rows::{FeedCause, FeedRow};
use crate::rules::{Rule, enforces};
use crate::spread::Counter;
use crate::ticket::{RequestHash, Ticket};
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, NodeId, RecallId, RequestKey, Seq, TicketN, Token,
    Units,
};

/// A node's request to a slot for units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketRequest {
    /// The ticket's token. The node that sends the request creates it.
    pub token: Token,
    /// The buyer.
    pub buyer: BuyerId,
    /// The request key.
    pub key: RequestKey,
    /// The buyer's hash ([`IdKey::buyer_hash`]).
    pub buyer_hash: u64,
    /// The request's hash ([`IdKey::request_hash`]).
    pub request: RequestHash,
    /// The units.
    pub units: Units,
    /// The item's limit for one buyer.
    pub limit: u32,
    /// The time until which the ticket can become an order (store time).
    pub decide_by: Millis,
    /// The node that sends the request.
    pub node: NodeId,
}

/// What a slot remembers of a ticket. From these values, the ticket's id can be computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuedTicket {
    /// See [`Ticket::token`].
    pub token: Token,
    /// The slot's grant.
    pub grant: GrantId,
    /// See [`Ticket::n`].
    pub n: TicketN,
    /// See [`Ticket::units`].
    pub units: Units,
    /// See [`Ticket::decide_by`].
    pub decide_by: Millis,
}

/// A slot's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TicketAnswer {
    /// The slot deducted the units, remembered the request, and issued and queued a ticket.
    Issued(IssuedTicket),
    /// The request is repeated. The slot answers with the same ticket and deducts nothing.
    Repeated(IssuedTicket),
    /// The buyer used this request key before, for another number of units.
    KeyReused,
    /// The request would exceed the buyer's limit, according to the slot's count.
    LimitReached {
        /// The slot's count of the buyer's units.
        used: u32,
    },
    /// The slot has too few units. The pool, another slot or a ticket in flight may have units.
    Short {
        /// Units that are left in this slot.
        available: u64,
    },
    /// The queue is full, or the oldest ticket in the queue has waited too long.
    Full,
    /// The slot is stopped, or its memory is full, so it issues no tickets for new requests.
    Stopped,
    /// The slot has no epoch yet.
    NoEpoch,
}

/// The contents of `init`: a grant and its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTerms {
    /// The slot's grant from now on.
    pub grant: GrantId,
    /// The epoch of the grant.
    pub epoch: Epoch,
    /// Whether the item's stock is limited. The units of unlimited stock are not counted.
    pub counted: bool,
    /// The units of the slot. All of them go to counter A, which becomes active.
    pub available: u64,
    /// The threshold: a counter with fewer units needs a refill ([`crate::Spread::threshold`]). 0
    /// means that sub-domains are not in use.
    pub threshold: u64,
}

/// A slot's answer to `init` and `apply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// The slot's position in its grant's feed after the call, even if the call changed nothing.
    At(Seq),
    /// The slot's grant or epoch is not the one that the caller named.
    Foreign,
}

/// A slot's answer to a recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecallOutcome {
    /// This call, or an earlier call with the same id, took this many units out of the slot.
    Taken(u64),
    /// The slot has another grant or epoch, or no room to remember the recall. The recall stays
    /// pending in the store.
    Refused,
}

/// The state of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// The slot's grant.
    pub grant: GrantId,
    /// The slot's epoch.
    pub epoch: Epoch,
    /// The units in both counters together. For unlimited stock, the number has no meaning.
    pub available: u64,
    /// The units in the counters A and B. Only their sum is compared with the store.
    pub counters: [u64; 2],
    /// The counter that tickets deduct from.
    pub active: Counter,
    /// Whether the slot may need a refill. A ticket sets this mark if the active counter is too low
    /// before or after the ticket. A refill clears the mark. Units that a recall brings from
    /// another slot also clear it.
    pub mark: bool,
    /// How many rows of the grant's feed the slot has applied.
    pub applied: Seq,
    /// How many tickets the slot has issued under this grant.
    pub n: TicketN,
    /// How many tickets in the slot's queue are not acknowledged.
    pub unacknowledged: usize,
    /// Whether the slot is stopped, for a pause, for the end of the sale, or before its next epoch.
    pub stopped: bool,
    /// Whether the slot's memory of requests or recalls is full. Such a slot needs a new epoch.
    pub sealed: bool,
}

#[derive(Clone, Debug)]
struct SlotMemory {
    grant: GrantId,
    epoch: Epoch,
    counted: bool,
    units: Counters,
    applied: Seq,
    n: u64,
    requests: HashMap<[u8; 16], PackedTicket, foldhash::fast::FixedState>,
    buyers: HashMap<[u8; 8], u32, foldhash::fast::FixedState>,
    recalls: HashMap<RecallId, u64, foldhash::fast::FixedState>,
}

/// The bounds of one slot's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotBounds {
    /// See [`SLOT_QUEUE_MAX`].
    pub queue: usize,
    /// See [`SLOT_REQUESTS_MAX`].
    pub requests: usize,
    /// See [`SLOT_RECALLS_MAX`].
    pub recalls: usize,
}

impl Default for SlotBounds {
    fn default() -> Self {
        Self { queue: SLOT_QUEUE_MAX, requests: SLOT_REQUESTS_MAX, recalls: SLOT_RECALLS_MAX }
    }
}

/// One slot of one item.
#[derive(Clone, Debug)]
pub struct Slot {
    item: ItemId,
    bounds: SlotBounds,
    term: Option<SlotMemory>,
    queue: Queue,
    stopped: bool,
}

impl Slot {
    /// Returns a slot without an epoch. The slot issues no tickets before [`Slot::init`].
    #[must_use]
    pub fn with_bounds(item: ItemId, bounds: SlotBounds) -> Self {
        Self { item, bounds, term: None, queue: Queue::default(), stopped: false }
    }

    /// Accepts a grant with an epoch above the slot's epoch. Tickets of earlier epochs stay queued.
    pub fn init(&mut self, terms: GrantTerms) -> ApplyOutcome {
        let GrantTerms { grant, epoch, counted, available, threshold } = terms;
        if let Some(term) = &self.term
            && epoch <= term.epoch
            && enforces(Rule::InitEpoch)
        {
            return if term.grant == grant && term.epoch == epoch {
                ApplyOutcome::At(term.applied)
            } else {
                ApplyOutcome::Foreign
            };
        }
        self.term = Some(SlotMemory {
            grant,
            epoch,
            counted,
            units: Counters::new(available, threshold),
            applied: Seq(0),
            n: 0,
            requests: HashMap::default(),
            buyers: HashMap::default(),
            recalls: HashMap::default(),
        });
        ApplyOutcome::At(Seq(0))
    }

    /// Issues a ticket. This is one atomic step: either all changes are made, or none.
    pub fn ticket(&mut self, request: &TicketRequest) -> TicketAnswer {
        let Some(term) = &mut self.term else {
            if !enforces(Rule::FailClosed) {
                let available = request.units.to_u64();
                self.init(GrantTerms {
                    grant: GrantId(0),
                    epoch: Epoch(0),
                    counted: true,
                    available,
                    threshold: 0,
                });
                return self.ticket(request);
            }
            return TicketAnswer::NoEpoch;
        };
        let memory = request.request.0.to_be_bytes();
        if let Some(known) = term.requests.get(&memory)
            && enforces(Rule::SlotRemembers)
        {
            let issued = known.unpack(term.grant);
            let same = issued.units == request.units || !enforces(Rule::SlotDigest);
            return if same { TicketAnswer::Repeated(issued) } else { TicketAnswer::KeyReused };
        }
        if (self.stopped && enforces(Rule::SlotStops))
            || term.requests.len() >= self.bounds.requests
        {
            return TicketAnswer::Stopped;
        }
        let buyer = request.buyer_hash.to_be_bytes();
        let used = term.buyers.get(&buyer).copied().unwrap_or(0);
        if used.saturating_add(request.units.get()) > request.limit && enforces(Rule::SlotLimit) {
            return TicketAnswer::LimitReached { used };
        }
        if term.counted
            && !term.units.can_serve(request.units.to_u64())
            && enforces(Rule::SlotEnough)
        {
            return TicketAnswer::Short { available: term.units.sum() };
        }
        // The time from a request until its `decide_by` is the same for every request. So this
        // difference is the age of the oldest ticket.
        let waits_ms = self.queue.oldest().map_or(0, |oldest| request.decide_by.0 - oldest.0);
        let is_full = self.queue.open() >= self.bounds.queue && enforces(Rule::SlotQueueBound);
        if is_full || waits_ms > SLOT_QUEUE_AGE_MAX_MS {
            return TicketAnswer::Full;
        }
        if term.counted {
            term.units.deduct(request.units.to_u64());
        }
        term.n += 1;
        let issued = IssuedTicket {
            token: request.token,
            grant: term.grant,
            n: TicketN(term.n),
            units: request.units,
            decide_by: request.decide_by,
        };
        term.buyers.insert(buyer, used.saturating_add(request.units.get()));
        term.requests.insert(memory, PackedTicket::new(&issued));
        self.queue.push(Arc::new(Ticket {
            token: request.token,
            grant: term.grant,
            n: issued.n,
            item: self.item,
            buyer: request.buyer.clone(),
            key: request.key.clone(),
            units: request.units,
            decide_by: request.decide_by,
            node: request.node,
        }));
        TicketAnswer::Issued(issued)
    }

    /// Applies one feed row if it has the slot's grant and epoch, and is the next row of the feed.
    pub fn apply(&mut self, epoch: Epoch, row: &FeedRow, key: &IdKey) -> ApplyOutcome {
        let Some(term) = &mut self.term else { return ApplyOutcome::Foreign };
        if (term.grant != row.grant || term.epoch != epoch) && enforces(Rule::ApplyEpoch) {
            return ApplyOutcome::Foreign;
        }
        if row.seq.0 != term.applied.0 + 1 && enforces(Rule::ApplySeq) {
            return ApplyOutcome::At(term.applied);
        }
        term.applied = row.seq;
        let counter = if enforces(Rule::RowNamesCounter) { row.counter } else { term.units.active };
        term.units.add(counter, row.units);
        // The mark is cleared even if a counter is still low, because a later ticket sets the mark
        // again.
        let brings = matches!(row.cause, FeedCause::Refill | FeedCause::Recalled) && row.units > 0;
        term.units.mark &= !brings;
        if let Some(buyer) = &row.buyer {
            let hash = key.buyer_hash(buyer.as_str()).to_be_bytes();
            let used = i64::from(term.buyers.get(&hash).copied().unwrap_or(0)) + row.quota_delta;
            match u32::try_from(used) {
                Ok(used) if used > 0 => drop(term.buyers.insert(hash, used)),
                _ => drop(term.buyers.remove(&hash)),
            }
        }
        if row.cause == FeedCause::Returned && enforces(Rule::ForgetOnCredit) {
            term.forget(row, &self.queue, key);
        }
        ApplyOutcome::At(term.applied)
    }

    /// Takes at most `units` units out of the slot, and remembers their number under the recall's
    /// id. A repeated call with the same id takes no further units.
    pub fn recall(
        &mut self,
        id: RecallId,
        grant: GrantId,
        epoch: Epoch,
        units: u64,
    ) -> RecallOutcome {
        let Some(term) = &mut self.term else { return RecallOutcome::Refused };
        if (term.grant != grant || term.epoch != epoch) && enforces(Rule::RecallEpoch) {
            return RecallOutcome::Refused;
        }
        if let Some(&taken) = term.recalls.get(&id)
            && enforces(Rule::RecallMemory)
        {
            return RecallOutcome::Taken(taken);
        }
        if term.recalls.len() >= self.bounds.recalls {
            return RecallOutcome::Refused;
        }
        let taken = term.units.take(units);
        term.recalls.insert(id, taken);
        RecallOutcome::Taken(taken)
    }

    /// Appends to `out` at most `at_most` of the tickets that are not delivered yet.
    pub fn take(&mut self, at_most: usize, out: &mut Vec<QueuedTicket>) {
        self.queue.take(at_most, out);
    }

    /// Marks all unacknowledged tickets as not delivered, so that they are delivered again.
    pub fn redeliver(&mut self) {
        self.queue.redeliver();
    }

    /// Removes a delivered ticket whose verdict is committed.
    pub fn acknowledge(&mut self, at: u64, token: Token) {
        self.queue.acknowledge(at, token);
    }

    /// Stops or resumes the slot. A stopped slot issues no tickets, but answers repeated requests.
    pub fn stop(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Returns how many tickets are not yet delivered.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Returns the state of the slot, or `None` if the slot has no epoch.
    #[must_use]
    pub fn view(&self) -> Option<SlotView> {
        self.term.as_ref().map(|term| SlotView {
            grant: term.grant,
            epoch: term.epoch,
            available: term.units.sum(),
            counters: term.units.units,
            active: term.units.active,
            mark: term.units.mark,
            applied: term.applied,
            n: TicketN(term.n),
            unacknowledged: self.queue.open(),
            stopped: self.stopped,
            sealed: term.requests.len() >= self.bounds.requests
                || term.recalls.len() >= self.bounds.recalls,
        })
    }
}

#[cfg(test)]
mod tests;
