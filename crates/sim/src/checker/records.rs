//! The checker's own records of tickets, orders, commits, events and waitlists.
use std::sync::Arc;

use doorbuster_core::event::EventType;
use doorbuster_core::{GrantId, ItemId, Millis, OrderState, Phase, TicketId, Units, WaitlistState};
use hashbrown::{HashMap, HashSet};

use crate::names::BUYERS_ALL;
use crate::request::BuyerRequest;

/// The checker's record of a ticket, made when the ticket was issued.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenTicket {
    pub(super) purchase: BuyerRequest,
    pub(super) units: Units,
    pub(super) grant: GrantId,
    pub(super) version: u64,
}

/// The checker's record of an order, made at the commit that created the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeenOrder {
    pub(super) version: u64,
    pub(super) state: OrderState,
    pub(super) pay_by: Millis,
    /// Whether the order was paid after it had expired or was cancelled.
    pub(super) revived: bool,
}

/// The counts of an item at one commit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ItemCounts {
    pub(super) free: Option<u64>,
    pub(super) reserved: u64,
    /// The greatest number of units that one buyer may hold.
    pub(super) limit: u32,
    /// The units that each buyer holds.
    pub(super) held_by: [u32; BUYERS_ALL],
}

/// The state of the store after one commit: sums that the checker computed from the rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommitState {
    pub(super) version: u64,
    /// When the commit happened, in monotonic time.
    pub(super) at: Millis,
    pub(super) items: [ItemCounts; 2],
    pub(super) phases: [Phase; 2],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExpectedEvent {
    pub(super) what: EventType,
    pub(super) about: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct DeliveryLog {
    /// How many of the store's events the checker has checked.
    pub(super) events: usize,
    /// The ordering key of each checked event.
    pub(super) keys: Vec<Arc<str>>,
    /// How many of the store's returned tickets the checker has checked.
    pub(super) resolutions: usize,
    pub(super) due: Vec<ExpectedEvent>,
    /// The events that each endpoint accepted.
    pub(super) delivered: HashSet<(usize, usize), foldhash::fast::FixedState>,
    pub(super) refused: hashbrown::HashMap<(usize, usize), u32, foldhash::fast::FixedState>,
    /// The events that a worker tried to send, each with its endpoint.
    pub(super) tried: HashSet<(usize, usize), foldhash::fast::FixedState>,
    /// The events that a worker had read or tried to send before a failover. Such an event may have
    /// become a dead letter at a position that the new primary does not know.
    pub(super) may_be_dead: HashSet<(usize, usize), foldhash::fast::FixedState>,
}

impl DeliveryLog {
    /// Adds the deliveries from `other`, the log before a failover. Leaves out the events that the
    /// failover lost: `self` does not contain them. `in_memory` has the events that workers still
    /// know by their old positions. If an endpoint refuses such an event, the dead letter has the
    /// old position, at which the store has no event. Later the worker reads the event at its new
    /// position and sends it again.
    pub(super) fn keep_deliveries(&mut self, other: &Self, in_memory: &[(usize, usize)]) {
        let known = |(_, event): &&(usize, usize)| *event < self.events;
        self.delivered.extend(other.delivered.iter().filter(known));
        for (of, count) in other.refused.iter().filter(|(of, _)| known(of)) {
            self.refused.insert(*of, *count);
        }
        self.tried.extend(other.tried.iter().filter(known));
        self.may_be_dead.clone_from(&self.tried);
        self.may_be_dead.extend(in_memory);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WaitingBuyer {
    pub(super) id: TicketId,
    pub(super) item: ItemId,
    /// The numbers of the buyer and of the request key.
    pub(super) who: (u8, u8),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Waitlists {
    /// The waiting buyers. The buyer who joined first is the first.
    pub(super) waiting: Vec<WaitingBuyer>,
    /// The final state of each entry.
    pub(super) ended: HashMap<TicketId, WaitlistState, foldhash::fast::FixedState>,
    /// Orders that an operator cancelled.
    pub(super) cancelled_by_others: HashSet<TicketId, foldhash::fast::FixedState>,
}

impl Waitlists {
    pub(super) fn for_item(&self, item: ItemId) -> impl Iterator<Item = &WaitingBuyer> {
        self.waiting.iter().filter(move |s| s.item == item)
    }
}
