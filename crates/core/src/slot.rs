//! A slot: a small counter close to the crowd that pre-deducts for one request in one atomic step.
//!
//! This is the reference that every backend is held against, and (behind a lock) the slot in a
//! node's memory itself.
//!
//! Its units lie in two counters. One is active: tickets deduct from it; recalls take from the
//! other first. A feed row's units go to the counter that it names. Refills name the drained one.
//! Credits name A, always: the transaction that writes one cannot know which is active, and need
//! not, because the sum decides what the slot can serve, and the step flips or merges as it must.
mod counters;
mod memory;

use std::sync::Arc;

use hashbrown::HashMap;

use self::counters::Counters;
use self::memory::PackedTicket;

use crate::id::IdKey;
use crate::limits::{SLOT_QUEUE_AGE_MAX_MS, SLOT_QUEUE_MAX, SLOT_RECALLS_MAX, SLOT_REQUESTS_MAX};
use crate::queue::{Delivery, Queue};
use crate::rows::{FeedCause, FeedRow};
use crate::rules::{Rule, enforces};
use crate::spread::Counter;
use crate::ticket::{RequestHash, Ticket};
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, NodeId, RecallId, RequestKey, Seq, TicketN, Token,
    Units,
};

/// One request for units, as a node puts it to a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketRequest {
    /// Drawn by the node.
    pub token: Token,
    /// Who asks.
    pub buyer: BuyerId,
    /// Under which key.
    pub key: RequestKey,
    /// [`IdKey::buyer_hash`].
    pub buyer_hash: u64,
    /// [`IdKey::request_hash`].
    pub request: RequestHash,
    /// How many.
    pub units: Units,
    /// The item's limit for one buyer.
    pub limit: u32,
    /// The verdict's last instant (store time).
    pub decide_by: Millis,
    /// The asking node.
    pub node: NodeId,
}

/// What a slot remembers of a request: enough to make its ticket's id again.
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
    /// Deducted, remembered and queued.
    Issued(IssuedTicket),
    /// The same request again: its ticket again. Nothing was deducted.
    Repeated(IssuedTicket),
    /// The key was used for other content.
    KeyReused,
    /// The buyer's limit, as far as this slot knows.
    LimitReached {
        /// Units that the slot counts for the buyer.
        used: u32,
    },
    /// Too little here; another slot, the pool or a ticket in flight may have more.
    Short {
        /// What is left here.
        available: u64,
    },
    /// The queue is full, or its oldest ticket waits too long.
    Full,
    /// Stopped for a pause, a close or a roll.
    Stopped,
    /// The slot has no epoch: try later.
    NoEpoch,
}

/// What `init` brings a slot: a grant, and how it is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantTerms {
    /// The slot's grant from now on.
    pub grant: GrantId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Whether the item's stock is counted.
    pub counted: bool,
    /// Units to hand out, in counter A, which is active.
    pub available: u64,
    /// A counter with fewer units asks for a refill ([`crate::Spread::threshold`]). 0: sub-domains
    /// are not in use.
    pub threshold: u64,
}

/// A slot's answer to `init` and `apply`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyOutcome {
    /// The slot is at this position of this grant's feed now (whether or not this call moved it).
    At(Seq),
    /// The slot has another grant or epoch.
    Foreign,
}

/// A slot's answer to a recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecallOutcome {
    /// This many units were taken out, by this call or by an earlier one with the same id.
    Taken(u64),
    /// Another grant or epoch, or the memory of recalls is full. A refusal finishes nothing.
    Refused,
}

/// What a slot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// Its grant.
    pub grant: GrantId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Units it can hand out now, in both counters. Meaningless for unlimited stock.
    pub available: u64,
    /// Its counters, A and B. Only their sum is ever compared with the truth.
    pub counters: [u64; 2],
    /// The counter that tickets deduct from.
    pub active: Counter,
    /// A refill is wanted: a counter was drained since units came last. A hint.
    pub mark: bool,
    /// Feed rows applied.
    pub applied: Seq,
    /// Tickets cut under this grant.
    pub n: TicketN,
    /// Tickets not yet acknowledged.
    pub unacknowledged: usize,
    /// Whether it cuts no tickets for now.
    pub stopped: bool,
    /// Whether its memory of requests or of recalls is full: it must be rolled to a new epoch.
    pub sealed: bool,
}

/// What the slot holds under one grant.
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

/// How much one slot may hold.
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
    /// A slot with no epoch: it cuts nothing until `init`.
    #[must_use]
    pub fn new(item: ItemId) -> Self {
        Self::with_bounds(item, SlotBounds::default())
    }

    /// [`Slot::new`] with other bounds, so that they can be reached in a test.
    #[must_use]
    pub fn with_bounds(item: ItemId, bounds: SlotBounds) -> Self {
        Self { item, bounds, term: None, queue: Queue::default(), stopped: false }
    }

    /// Takes a grant, if its epoch is higher than the slot's. Tickets of earlier epochs stay in the
    /// queue.
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

    /// The atomic step: seen before? limit? enough left? then deduct, remember and queue. Nothing
    /// is written unless all of it is.
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
            let cut = known.unpack(term.grant);
            let same = cut.units == request.units || !enforces(Rule::SlotDigest);
            return if same { TicketAnswer::Repeated(cut) } else { TicketAnswer::KeyReused };
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
        // Both instants are as far behind their tickets' cutting as each other, so their distance
        // is the age of the oldest.
        let waits_ms = self.queue.oldest().map_or(0, |oldest| request.decide_by.0 - oldest.0);
        let is_full = self.queue.len() >= self.bounds.queue && enforces(Rule::SlotQueueBound);
        if is_full || waits_ms > SLOT_QUEUE_AGE_MAX_MS {
            return TicketAnswer::Full;
        }
        if term.counted {
            term.units.deduct(request.units.to_u64());
        }
        term.n += 1;
        let cut = IssuedTicket {
            token: request.token,
            grant: term.grant,
            n: TicketN(term.n),
            units: request.units,
            decide_by: request.decide_by,
        };
        term.buyers.insert(buyer, used.saturating_add(request.units.get()));
        term.requests.insert(memory, PackedTicket::new(&cut));
        self.queue.push(Arc::new(Ticket {
            token: request.token,
            grant: term.grant,
            n: cut.n,
            item: self.item,
            buyer: request.buyer.clone(),
            key: request.key.clone(),
            units: request.units,
            decide_by: request.decide_by,
            node: request.node,
        }));
        TicketAnswer::Issued(cut)
    }

    /// Applies one feed row, in its turn, if grant and epoch are the slot's own.
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
        // Whoever brought units saw the slot as it was: what is still low by then is marked again
        // by the next ticket.
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

    /// Takes at most `units` out, and remembers how many under the recall's id.
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

    /// Delivers up to `at_most` tickets that were not delivered yet.
    pub fn take(&mut self, at_most: usize, out: &mut Vec<Delivery>) {
        self.queue.take(at_most, out);
    }

    /// Makes deliverable again what was delivered and not acknowledged.
    pub fn redeliver(&mut self) {
        self.queue.redeliver();
    }

    /// Forgets a delivered ticket whose verdict is committed.
    pub fn acknowledge(&mut self, at: u64, token: Token) {
        self.queue.acknowledge(at, token);
    }

    /// Stops or resumes cutting tickets. Known requests still get their tickets.
    pub fn stop(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Tickets not yet delivered.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// What the slot says of itself; `None`: no epoch.
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
