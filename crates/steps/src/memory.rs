//! Decides from a node's memory alone whether to refuse a request. The decision allocates no heap
//! memory.
use doorbuster_core::gate::DoorRefusal;
use doorbuster_core::gate::shared_limit::Counting;
use doorbuster_core::rules::{Rule, enforces};
use doorbuster_core::slot::IssuedTicket;
use doorbuster_core::sold_out::{FreeUnits, SoldOut};
use doorbuster_core::{ItemId, Millis, Phase, Units};

/// The greatest age of a node's snapshot of the store, in milliseconds. With an older snapshot, the
/// node answers [`Refusal::Unavailable`] instead of a refusal that depends on the snapshot.
pub const MEMORY_AGE_MAX_MS: i64 = 2_000;

/// What a node has in memory about one request and its item.
pub trait NodeMemory {
    /// Returns the item's counts in the latest snapshot.
    fn free(&self) -> FreeUnits;
    /// Returns the sale's phase in the latest snapshot, and when the sale opens.
    fn phase(&self) -> (Phase, Option<Millis>);
    /// Returns whether the node is stopping, or the sale's slots are being drained.
    fn is_stopping(&self) -> bool;
    /// Returns whether an order or a queued ticket may exist for the request.
    fn may_hold(&self) -> bool;
    /// Returns the age of the latest snapshot, in milliseconds.
    fn age_ms(&self) -> i64;
}

/// The item and the ticket of a request that a node answered as queued.
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
        /// Units that the buyer holds or has requested.
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
    /// The request key was used for another request.
    KeyReused,
    /// A queue or a table is full. The client should try again later.
    Overloaded,
    /// The client should send the same request with the same key again.
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
    /// The front door waits for a share of a limit.
    Undecided,
}

/// Refuses a request from memory. Returns `None` if the request must go on to a slot.
///
/// `door` returns the front door's answer. It is not called if the request may hold an order, or if
/// the sale's phase refuses the request. Its argument says when the front door counts the request
/// in a shared limit: before or after the answer. If the stock refuses the request, the front door
/// counts the request after the answer.
///
/// The counts are read before the memory of requests. So the memory has the request of each counted
/// order, and a repeated request with an order never gets "sold out".
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

/// Returns whether an order or a queued ticket may exist for the request. The node must then look
/// it up before it refuses the request.
pub fn may_hold(memory: &impl NodeMemory) -> bool {
    memory.may_hold() && enforces(Rule::WinnersInSnapshot)
}

/// Returns the refusal for the sale's phase, if there is one.
pub fn phase_refusal(memory: &impl NodeMemory) -> Option<Refusal> {
    let (phase, opens_at) = memory.phase();
    refusal_for(phase, opens_at, memory.is_stopping())
}

/// Returns the refusal for a sale in this phase, if any. [`NodeMemory`] describes the arguments.
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

/// Returns `refusal`. But if `refusal` depends on the store's state and the snapshot is too old,
/// returns [`Refusal::Unavailable`].
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

/// Returns whether a snapshot of this age may refuse requests.
#[must_use]
pub fn is_recent(age_ms: i64) -> bool {
    age_ms <= MEMORY_AGE_MAX_MS || !enforces(Rule::SnapshotAge)
}
