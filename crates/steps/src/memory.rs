//! Decides whether to refuse a request, from a node's memory alone. The decision allocates no heap
//! memory.
use doorbuster_core::gate::DoorRefusal;
use doorbuster_core::gate::shared_limit::Counting;
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::IssuedTicket;
use doorbuster_core::sold_out::{FreeUnits, SoldOut};
use doorbuster_core::{ItemId, Millis, Phase, Units};

/// The greatest age of a node's snapshot of the store, in milliseconds. If a refusal depends on an
/// older snapshot, the node answers [`Refusal::Unavailable`] instead.
pub const MEMORY_AGE_MAX_MS: i64 = 2_000;

/// What a node has in memory about one request and about the item of the request.
pub trait NodeMemory {
    /// Returns the item's counts in the latest snapshot.
    fn free(&self) -> FreeUnits;
    /// Returns the sale's phase in the latest snapshot, and the time at which the sale opens.
    fn phase(&self) -> (Phase, Option<Millis>);
    /// Returns whether the node is stopping, or the sale's slots are being drained.
    fn is_stopping(&self) -> bool;
    /// Returns whether the request may have an order or a queued ticket.
    fn may_hold(&self) -> bool;
    /// Returns the age of the latest snapshot, in milliseconds.
    fn age_ms(&self) -> i64;
}

/// A request that a node answered as queued: its item and its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The item that the buyer requested.
    pub item: ItemId,
    /// The ticket that the request waits for.
    pub ticket: IssuedTicket,
}

/// The reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No units are available now.
    SoldOut(SoldOut),
    /// The request would exceed the limit of units for one buyer.
    LimitReached {
        /// The limit.
        limit: u32,
        /// Units in the buyer's orders or undecided tickets.
        used: u32,
    },
    /// The sale has not started.
    NotStarted {
        /// When the sale opens, if that is known.
        opens_at: Option<Millis>,
    },
    /// The sale is paused.
    Paused,
    /// The sale has ended.
    Ended,
    /// The request key was used before, for another item or another number of units.
    KeyReused,
    /// A queue or a table is full. The client should try again later.
    Overloaded,
    /// The request could not be decided now. The client should send the request again with the same
    /// key.
    Unavailable,
    /// The front door refuses the request.
    AtDoor(DoorRefusal),
}

/// The front door's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorAnswer {
    /// The front door refuses the request.
    Refused(DoorRefusal),
    /// The front door admits the request.
    Open,
    /// The front door cannot decide yet, because it waits for a share of a limit.
    Undecided,
}

/// Refuses a request from memory. Returns `None` if the request must go on to a slot.
///
/// `door` returns the front door's answer. This function does not call `door` if the request may
/// hold an order, or if the sale's phase refuses the request. The argument of `door` tells the
/// front door when to count the request in a shared limit: after the answer if too few units are
/// left for the request, otherwise before the answer.
///
/// The counts are read before the memory of requests. So for each order in the counts, the memory
/// has the order's request. A repeated request that has an order is therefore never answered "sold
/// out".
pub fn refuse(
    memory: &impl NodeMemory,
    units: Units,
    door: impl FnOnce(Counting) -> DoorAnswer,
) -> Option<Refusal> {
    let sold_out = memory.free().refuses(units);
    if may_hold(memory) {
        return None;
    }
    if let Some(refusal) = phase_refusal(memory) {
        return Some(unless_stale(memory.age_ms(), refusal));
    }
    let counting = match sold_out {
        Some(_) => Counting::AfterAnswer,
        None => Counting::BeforeAnswer,
    };
    match door(counting) {
        DoorAnswer::Refused(refusal) => Some(Refusal::AtDoor(refusal)),
        DoorAnswer::Open => Some(unless_stale(memory.age_ms(), Refusal::SoldOut(sold_out?))),
        DoorAnswer::Undecided => None,
    }
}

/// Returns whether the request may have an order or a queued ticket. If so, the node must look for
/// this order or ticket before it refuses the request.
pub fn may_hold(memory: &impl NodeMemory) -> bool {
    memory.may_hold() && enforces(Rule::WinnersInSnapshot)
}

/// Returns the refusal for the sale's phase, if there is one.
pub fn phase_refusal(memory: &impl NodeMemory) -> Option<Refusal> {
    let (phase, opens_at) = memory.phase();
    refusal_for(phase, opens_at, memory.is_stopping())
}

/// Returns the refusal for a sale in this phase, if there is one. The methods of [`NodeMemory`]
/// describe the arguments.
#[must_use]
pub fn refusal_for(phase: Phase, opens_at: Option<Millis>, is_stopping: bool) -> Option<Refusal> {
    match phase {
        _ if is_stopping => Some(Refusal::Unavailable),
        Phase::Open => None,
        Phase::Draft | Phase::Scheduled => Some(Refusal::NotStarted { opens_at }),
        Phase::Paused => Some(Refusal::Paused),
        Phase::Closed => Some(Refusal::Ended),
    }
}

/// Returns `refusal`, or [`Refusal::Unavailable`] if `refusal` depends on the snapshot and the
/// snapshot is too old.
#[must_use]
pub fn unless_stale(age_ms: i64, refusal: Refusal) -> Refusal {
    let is_of_truth = matches!(
        refusal,
        Refusal::SoldOut(_)
            | Refusal::LimitReached { .. }
            | Refusal::NotStarted { .. }
            | Refusal::Paused
            | Refusal::Ended
    );
    match is_of_truth && !is_recent(age_ms) {
        true => Refusal::Unavailable,
        false => refusal,
    }
}

/// Returns whether a node may refuse requests on the basis of a snapshot of this age.
#[must_use]
pub fn is_recent(age_ms: i64) -> bool {
    age_ms <= MEMORY_AGE_MAX_MS || !enforces(Rule::SnapshotAge)
}
