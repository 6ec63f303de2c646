//! The waiting room, without input or output: the ranks of its visitors, their admissions, and what
//! each visitor sees. Rows, times and stock come in as arguments.
//!
//! - Ranks start at 1. Visitors who came before the sale opened get their ranks from the draw, and
//!   later visitors in the order of arrival.
//! - Each rank is admitted once, in order, so one number says which ranks were admitted.
//! - A visitor who leaves keeps the rank. When the room admits that rank, it stores an admission
//!   that has already ended.
//! - A visitor who comes again after a lapsed admission gets a new rank at the end.
mod admission_estimate;
mod division;

pub use admission_estimate::{PaceEstimator, WaitEstimate};
pub use division::{RoomDemand, divide_admissions};

use crate::value::Millis;

/// The largest number of visitors of one room. At the bound the room refuses new visitors.
pub const VISITORS_MAX: u64 = 4_000_000;
/// The largest number of a sale's admissions that are neither used nor lapsed. At the bound, no
/// visitor is admitted until some of these admissions are used or lapse.
pub const OPEN_ADMISSIONS_MAX: u64 = 5_000;
/// Until the room knows how many units buyers take, it expects each buyer to take as many units as
/// the buyer's limit allows. But it expects at most the free units divided by this constant, and at
/// least 1 unit.
const FIRST_BUYERS_MIN: u64 = 8;
/// After this many used admissions, the room expects the next buyer to take the average number of
/// units that buyers with used admissions hold.
const USED_SAMPLE_MIN: u64 = 8;
/// The value of [`QueuePosition::until`] for a visitor who left before the admission.
pub const LEFT: Millis = Millis(0);
/// While other visitors wait, an admission at first lasts only this long, in milliseconds. If the
/// visitor does something in this time, the admission is extended to its whole time.
pub const IDLE_TURN_MS: i64 = 30_000;

/// Returns the first duration of an admission, in milliseconds: `for_ms`, but at most
/// [`IDLE_TURN_MS`] while other visitors wait.
#[must_use]
pub fn first_turn_ms(for_ms: i64, others_wait: bool) -> i64 {
    if others_wait { for_ms.min(IDLE_TURN_MS) } else { for_ms }
}

/// Returns the end of the whole admission, after the visitor did something in the short first part
/// of the admission. Returns `None` if the admission has ended, or if it already has this end.
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
    /// How many of the visitors take part in the draw. `None` until the sale opens, because all
    /// visitors take part until then.
    pub participants: Option<u64>,
    /// How many ranks were admitted.
    pub admitted: u64,
}

/// The result of joining the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddedVisitor {
    /// The visitor takes part in the draw. The value is the number of visitors who have joined,
    /// including this one.
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

    /// Adds a visitor who has no rank yet, or whose admission has lapsed. Returns `None` if the
    /// room is full.
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

    /// Admits the next `count` ranks, or all waiting ranks if there are fewer. Returns how many
    /// ranks were admitted before, and how many are admitted now.
    pub fn admit(&mut self, count: u64) -> (u64, u64) {
        let before = self.admitted;
        self.admitted = (before + count).min(self.entered);
        (before, self.admitted)
    }
}

/// The stock and the admitted buyers, all from one snapshot.
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
    /// Units that the buyers with used admissions hold.
    pub used_units: u64,
}

impl RoomSupply {
    /// Returns the number of units that the next buyer is expected to take, at least 1.
    #[must_use]
    pub fn units_per_buyer(&self) -> u64 {
        let share = match self.used {
            used if used >= USED_SAMPLE_MIN => self.used_units.div_ceil(used),
            _ => self.limit.min(self.free.unwrap_or(u64::MAX) / FIRST_BUYERS_MIN),
        };
        share.clamp(1, self.limit.max(1))
    }

    /// Returns how many ranks to admit in this step, at most `admissions_max`. The room admits the
    /// next buyer only while a unit remains that no earlier buyer is expected to take.
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

/// The result when a buyer who already has a row in the room enters again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReentryOutcome {
    /// The buyer's position does not change.
    Unchanged,
    /// The buyer left before the room admitted the rank, and gets the same position again.
    SamePosition,
    /// The admission has lapsed. The buyer gets a new rank at the end.
    NewRank,
}

/// The status that a visitor sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitorStatus {
    /// The sale has not opened. The visitor takes part in the draw.
    NotDrawn,
    /// The visitor waits. The visitor at position 1 is admitted next.
    Waiting(u64),
    /// The visitor waits, but the position is greater than the number of free units. The value is
    /// the position.
    BeyondStock(u64),
    /// The visitor may buy until this time.
    Admitted(Millis),
    /// The admission has ended, or the visitor left the room. The visitor must enter again.
    Lapsed,
}

impl QueuePosition {
    /// Returns the position to store when the visitor leaves: an admission ends now, and a waiting
    /// visitor gets [`LEFT`]. Returns `None` if the visitor has no position to leave.
    #[must_use]
    pub fn leave(&self, now: Millis) -> Option<Self> {
        let until = match self.until {
            None => LEFT,
            Some(until) if now < until => now,
            Some(_) => return None,
        };
        Some(Self { until: Some(until), ..*self })
    }

    /// Returns when the admission of this rank ends: at `until`, unless the visitor has left.
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
                // Another node may have admitted this rank, and this node may not know it yet.
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
