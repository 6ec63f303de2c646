//! The waiting room, without input or output: the ranks of its visitors, their admissions, and what
//! each visitor sees. Rows, times and stock come in as arguments.
//!
//! - Ranks start at 1. Visitors who came before the sale opened get their ranks from the draw.
//!   Later visitors get the next ranks, in the order of their arrival.
//! - Ranks are admitted in ascending order, each once. So the last admitted rank shows which ranks
//!   were admitted: this rank and all lower ranks.
//! - A visitor who leaves keeps the rank. When the room admits that rank, it stores an admission
//!   that has already ended.
//! - If a visitor comes again after the admission has lapsed, the visitor gets the last rank.
mod admission_estimate;
mod division;

pub use admission_estimate::{PaceEstimator, WaitEstimate};
pub use division::{RoomDemand, divide_admissions};

use crate::value::Millis;

/// The largest number of visitors of one room. A full room refuses new visitors.
pub const VISITORS_MAX: u64 = 4_000_000;
/// The largest number of a sale's open admissions: those that are neither used nor lapsed. While a
/// sale has so many open admissions, no visitor is admitted.
pub const OPEN_ADMISSIONS_MAX: u64 = 5_000;
/// At first, the room does not know how many units a buyer takes. It expects a buyer to take the
/// smaller of two numbers: the buyer's limit, and the free units divided by this constant. The
/// result is at least 1 unit.
const FIRST_BUYERS_MIN: u64 = 8;
/// After this many buyers have used their admissions, the room computes how many units these buyers
/// hold on average. From then on, the room expects the next buyer to take that average.
const USED_SAMPLE_MIN: u64 = 8;
/// The value of [`QueuePosition::until`] for a visitor who left before the admission.
pub const LEFT: Millis = Millis(0);
/// While other visitors wait, an admission at first lasts only this long, in milliseconds. If the
/// visitor gets a challenge or a pass in this time, the admission is extended to its full time. So
/// the admission of a visitor who has gone away ends soon.
pub const IDLE_TURN_MS: i64 = 30_000;
/// The longest time that an automatic waiting room stays open after it was last needed, in
/// milliseconds. A room is needed while visitors wait, or while more buyers arrive than the room
/// admits.
pub const KEEP_OPEN_MS: i64 = 30_000;

/// Returns how long an admission lasts at first, in milliseconds. This is `for_ms`, but at most
/// [`IDLE_TURN_MS`] while other visitors wait.
#[must_use]
pub fn first_turn_ms(for_ms: i64, others_wait: bool) -> i64 {
    if others_wait { for_ms.min(IDLE_TURN_MS) } else { for_ms }
}

/// A visitor gets the full admission by doing something in its short first part. Returns the end of
/// the full admission. Returns `None` if the admission has ended, or if it already has its full
/// length.
#[must_use]
pub fn extended_end(
    admitted_at: Millis,
    until: Millis,
    for_ms: i64,
    now: Millis,
) -> Option<Millis> {
    let whole = admitted_at.plus(for_ms);
    (now < until && until < whole).then_some(whole)
}

/// The largest number of admissions in one step of the tests.
#[cfg(test)]
const STEP_ADMISSIONS_MAX: u64 = 500;

/// The progress of a waiting room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomProgress {
    /// How many visitors joined.
    pub entered: u64,
    /// How many of the visitors take part in the draw: those who joined before the sale opened.
    /// `None` until the sale opens.
    pub participants: Option<u64>,
    /// How many ranks were admitted.
    pub admitted: u64,
}

/// The result of joining the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedVisitor {
    /// The sale has not opened, so the visitor takes part in the draw. The value is the number of
    /// visitors who have joined, including this one.
    InDraw(u64),
    /// The visitor gets this rank.
    Ranked(u64),
}

impl RoomProgress {
    /// Closes the draw, because the sale has opened. Returns false if the draw was closed before.
    pub fn close_draw(&mut self) -> bool {
        let open = self.participants.is_none();
        self.participants.get_or_insert(self.entered);
        open
    }

    /// Adds a visitor who joins for the first time, or whose admission has lapsed. Returns `None`
    /// if the room is full.
    pub fn add_visitor(&mut self) -> Option<AddedVisitor> {
        if self.entered >= VISITORS_MAX {
            return None;
        }
        self.entered += 1;
        Some(match self.participants {
            None => AddedVisitor::InDraw(self.entered),
            Some(_) => AddedVisitor::Ranked(self.entered),
        })
    }

    /// Returns how many ranks are not admitted yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.entered - self.admitted
    }

    /// Admits the next `count` ranks, or all waiting ranks if there are fewer. Returns the number
    /// of admitted ranks before this call and after it.
    pub fn admit(&mut self, count: u64) -> (u64, u64) {
        let before = self.admitted;
        self.admitted = (before + count).min(self.entered);
        (before, self.admitted)
    }
}

/// The stock and the admissions, read in one snapshot of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomSupply {
    /// Free units; `None` for unlimited stock.
    pub free: Option<u64>,
    /// Units that one buyer may hold.
    pub limit: u64,
    /// Admissions that are neither used nor lapsed.
    pub open: u64,
    /// Admissions that were used and have not lapsed.
    pub used: u64,
    /// The units that the buyers of these used admissions hold.
    pub used_units: u64,
}

impl RoomSupply {
    /// Returns how many units the server expects the next admitted buyer to take, at least 1.
    #[must_use]
    pub fn units_per_buyer(&self) -> u64 {
        let share = match self.used {
            used if used >= USED_SAMPLE_MIN => self.used_units.div_ceil(used),
            _ => self.limit.min(self.free.unwrap_or(u64::MAX) / FIRST_BUYERS_MIN),
        };
        share.clamp(1, self.limit.max(1))
    }

    /// Returns how many ranks to admit in this step, at most `admissions_max`. Each admitted buyer
    /// is expected to take [`Self::units_per_buyer`] units. The room admits no further buyer when
    /// the admitted buyers are expected to take all free units.
    #[must_use]
    pub fn admissions(&self, progress: &RoomProgress, admissions_max: u64) -> u64 {
        if progress.participants.is_none() {
            return 0;
        }
        let room = OPEN_ADMISSIONS_MAX
            .saturating_sub(self.open)
            .min(admissions_max)
            .min(progress.waiting());
        let Some(free) = self.free else { return room };
        let share = self.units_per_buyer();
        // If buyers took more than expected, the open admissions may need more units than are free.
        let unclaimed = free.saturating_sub(self.open.saturating_mul(share));
        room.min(unclaimed.div_ceil(share))
    }
}

/// The stored state of a visitor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePosition {
    /// The visitor's rank; `None` before the draw.
    pub rank: Option<u64>,
    /// When the admission ends. `None` if the visitor is not admitted.
    pub until: Option<Millis>,
}

/// What happens when a buyer who is already a visitor of the room enters it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReentryOutcome {
    /// The buyer's position does not change.
    Unchanged,
    /// The buyer had left the room, but the room has not admitted the buyer's rank yet. So the
    /// buyer gets the same position as before.
    SamePosition,
    /// The admission has lapsed. The buyer gets a new rank, after all other ranks.
    NewRank,
}

/// The status that a visitor sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitorStatus {
    /// The sale has not opened. The visitor takes part in the draw.
    NotDrawn,
    /// The visitor waits at this position. Position 1 is admitted next.
    Waiting(u64),
    /// The visitor waits at this position, which is greater than the number of free units.
    BeyondStock(u64),
    /// The visitor may buy until this time.
    Admitted(Millis),
    /// The admission has ended, or the visitor left the room. The visitor must enter again.
    Lapsed,
}

impl QueuePosition {
    /// Returns the position to store when the visitor leaves. An admission then ends at the present
    /// time. For a waiting visitor, `until` becomes [`LEFT`]. Returns `None` if the visitor has
    /// already left, or if the visitor's admission has ended.
    #[must_use]
    pub fn leave(&self, now: Millis) -> Option<Self> {
        let until = match self.until {
            None => LEFT,
            Some(until) if now < until => now,
            Some(_) => return None,
        };
        Some(Self { until: Some(until), ..*self })
    }

    /// Returns the end of an admission of this rank: `until`, or [`LEFT`] if the visitor has left.
    #[must_use]
    pub fn admission_end(&self, until: Millis) -> Millis {
        if self.until == Some(LEFT) { LEFT } else { until }
    }

    /// Returns what happens when the visitor enters the room again.
    #[must_use]
    pub fn reentry_outcome(&self, progress: &RoomProgress, now: Millis) -> ReentryOutcome {
        match self.until {
            None => ReentryOutcome::Unchanged,
            Some(until) if now < until => ReentryOutcome::Unchanged,
            Some(LEFT) if self.rank.is_none_or(|rank| progress.admitted < rank) => {
                ReentryOutcome::SamePosition
            }
            Some(_) => ReentryOutcome::NewRank,
        }
    }

    /// Returns the status that the visitor sees if this many units are free (`None`: unlimited
    /// stock).
    #[must_use]
    pub fn status(&self, progress: &RoomProgress, free: Option<u64>, now: Millis) -> VisitorStatus {
        match (self.until, self.rank) {
            (Some(until), _) if now < until => VisitorStatus::Admitted(until),
            (Some(_), _) => VisitorStatus::Lapsed,
            (None, None) => VisitorStatus::NotDrawn,
            (None, Some(rank)) => {
                // Another node may just have admitted this rank. `progress` then already counts the
                // admission, but this row was read earlier and does not show it. In this case, the
                // position is 1.
                let position = rank.saturating_sub(progress.admitted).max(1);
                if free.is_some_and(|free| position > free) {
                    VisitorStatus::BeyondStock(position)
                } else {
                    VisitorStatus::Waiting(position)
                }
            }
        }
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
