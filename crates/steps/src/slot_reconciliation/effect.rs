//! The effects of a round, their results, and the view through which a round reads the node's data.
use doorbuster_core::refill::Portion;
use doorbuster_core::slot::{RecallOutcome, SlotView};
use doorbuster_core::{Grant, GrantId, Recall, RecallId, SlotKey, Units};

use super::Portions;

/// If this node moves recalled units to an item's pool, these units are for another node. So this
/// node takes no units from the pool for this many milliseconds.
pub const POOL_REST_MS: i64 = 300;

/// What a node knows about an item now.
pub trait ItemView {
    /// Returns the slots in the item's spread that this node reaches.
    fn slots(&self) -> Vec<SlotKey>;
    /// Returns whether a slot is in the item's spread.
    fn is_in_spread(&self, slot: SlotKey) -> bool;
    /// Returns whether this node reaches every slot of the item.
    fn reaches_all_slots(&self) -> bool;
    /// Returns how many units a slot gets at a time.
    fn portions(&self) -> Portions;
    /// Returns the item's limit: the largest number of units for one buyer. This number also limits
    /// each request.
    fn limit(&self) -> u32;
    /// Returns the units in the pool that slots may get.
    fn pool(&self) -> u64;
    /// Returns how many milliseconds this node must still wait before it may take units from the
    /// pool.
    fn pool_rest_ms(&self) -> u64;
    /// Makes this node take no units from the pool for [`POOL_REST_MS`], because this node moved
    /// units to the pool for another node.
    fn rest_pool(&mut self);
    /// Returns the demand of the request that has waited longest for units: the request's own slot,
    /// and the number of units.
    fn first_demand(&self) -> Option<(SlotKey, Units)>;
    /// Returns whether this node is the leader.
    fn leads(&self) -> bool;
    /// Returns whether the slots must not issue tickets. This is the case while the item's sale is
    /// being drained, or while the only node that reaches the slots is stopping.
    fn halts(&self) -> bool;
    /// Returns whether this node may resume a stopped slot. `halts` is the result of
    /// [`ItemView::halts`] in this round.
    fn may_resume(&mut self, halts: bool) -> bool;
}

/// A slot that this node reaches, and its open grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSlot {
    /// The grant as it was read, with the units that this round has added to it.
    pub grant: Grant,
    /// The slot's state when the slot was last read.
    pub view: SlotView,
    /// Whether the slot accepted its grant in this round.
    pub is_new: bool,
}

impl OpenSlot {
    /// Returns how many rows of the grant's feed the slot had not applied when the slot was read.
    /// Does not count rows that were added after the grant was read.
    #[must_use]
    pub fn rows_on_their_way(&self) -> u64 {
        self.grant.feed_len.0.saturating_sub(self.view.applied.0)
    }
}

/// A slot to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotToStart {
    /// The slot.
    pub slot: SlotKey,
    /// The slot's open grant, if there is one.
    pub open: Option<Grant>,
}

/// Units that go from the pool to a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refill {
    /// The grant.
    pub grant: GrantId,
    /// The grant's slot.
    pub slot: SlotKey,
    /// The units.
    pub portion: Portion,
}

/// Why the item's next round begins only after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// A slot that is no longer in the item's spread is not drained yet.
    Drain,
    /// This node takes no units from the pool for this many milliseconds, so that another node can
    /// take them.
    PoolRest(u64),
    /// Wait a moment, so that another node can sell the units that this node gave it.
    GiveWay,
}

/// The next action of the driver. If the store does not answer, the driver drops this round, and a
/// later round performs the remaining effects. If a slot does not answer, the round goes on with
/// the other slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the item's grants. The result is [`Input::Grants`].
    ReadGrants,
    /// Read the pending recalls. The result is [`Input::Recalls`].
    ReadRecalls,
    /// Start these slots ([`crate::slot_start`]). The result is [`Input::Started`].
    StartSlots {
        /// The slots.
        slots: Vec<SlotToStart>,
        /// The threshold that each slot gets with its grant.
        threshold: u64,
    },
    /// Drain the slot of this grant ([`crate::slot_drain`]). The result is [`Input::Drained`].
    DrainSlot(Grant),
    /// Take the recalled units out of a slot. The result is [`Input::Taken`].
    TakeUnits {
        /// The slot's grant.
        from: Grant,
        /// The recall.
        recall: Recall,
    },
    /// Finish a recall in the store, which moves the recalled units. The result is
    /// [`Input::Moved`].
    FinishRecall {
        /// The recall.
        recall: RecallId,
        /// The units that the slot gave.
        units: u64,
    },
    /// Send these slots their missing feed rows ([`crate::feed`]), and read the slots again. The
    /// result is [`Input::Fed`].
    Feed(Vec<OpenSlot>),
    /// Move units from the pool to slots: each slot gets the units of its refill. The result is
    /// [`Input::Refilled`].
    Distribute {
        /// The units that were in the pool when the server computed `refills`.
        pool: u64,
        /// The refills of the slots.
        refills: Vec<Refill>,
    },
    /// Move units from the pool to one slot, because the oldest waiting request lacks these units.
    /// The result is [`Input::Refilled`].
    Gather(Refill),
    /// Begin a recall from one grant to another. The result is [`Input::RecallBegun`].
    BeginRecall {
        /// The grant that gives units.
        from: GrantId,
        /// The grant that gets units.
        into: GrantId,
        /// The largest number of units.
        units: u64,
    },
    /// Reconcile the item again after a pause. The result is [`Input::Done`].
    RunAgain(Pause),
    /// Store in the node's memory how many units each slot has, and up to which position the slot
    /// has applied its feed ([`super::Round::slots`]). The result is [`Input::Done`].
    Record,
    /// Stop or resume a slot. The result is [`Input::Done`].
    Stop {
        /// The slot.
        slot: SlotKey,
        /// Whether the slot must not issue tickets.
        stopped: bool,
    },
    /// The round has ended.
    Finish,
}

/// The result of an effect.
#[derive(Clone, Debug)]
pub enum Input {
    /// The item's grants.
    Grants(Vec<Grant>),
    /// The pending recalls of all items.
    Recalls(Vec<Recall>),
    /// The slots that have their open grants. Slots that did not answer are left out.
    Started(Vec<OpenSlot>),
    /// The drain of the slot has ended. The value is true if the slot has no open grant any more.
    Drained(bool),
    /// The slot's answer to the recall. `None` means that the slot did not answer.
    Taken(Option<RecallOutcome>),
    /// The number of units that the store moved for the recall.
    Moved(u64),
    /// The slots, read again.
    Fed {
        /// The slots that answered.
        fed: Vec<OpenSlot>,
        /// The grants of the slots that did not answer.
        missed: Vec<GrantId>,
    },
    /// The units that each grant got.
    Refilled(Vec<(GrantId, u64)>),
    /// The new recall. `None` means that no recall began, because the grant has no units to recall.
    RecallBegun(Option<Recall>),
    /// The effect was performed.
    Done,
}
