//! The waiting room as a value: who has which place, who is called in, and what each is told. Rows,
//! times and stock come in as arguments.
//!
//! A line has ranks from 1 on. Those who came before the opening get theirs by the draw, later ones
//! in the order of arrival, and whoever comes again after a lapsed admission stands at its end.
//! Ranks are called in their order and each once, so a line is known by how far it was called.
mod pace;

pub use pace::{PaceEstimator, WaitEstimate};

use crate::value::Millis;

/// Places given in one sale; at the bound nobody else is taken in.
pub const VISITORS_MAX: u64 = 4_000_000;
/// Admissions that are out at once, neither used nor lapsed; at the bound nobody is called until
/// some are.
pub const ADMISSIONS_OUT_MAX: u64 = 5_000;
/// While nothing is known of how much a buyer takes, the first calls leave each at least this part
/// of what there is.
const FIRST_BUYERS_MIN: u64 = 8;
/// Used admissions from which on their mean says how much the next buyer takes.
const USED_SAMPLE_MIN: u64 = 8;
/// What the tests call in one step at most.
#[cfg(test)]
const STEP_ADMISSIONS_MAX: u64 = 500;

/// How far a sale's line has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomProgress {
    /// Places given.
    pub entered: u64,
    /// Of these, how many took part in the draw. `None`: the sale has not opened, whoever comes
    /// takes part.
    pub participants: Option<u64>,
    /// Ranks called in.
    pub called: u64,
}

/// Where somebody who comes stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Takes part in the draw, as the n-th to come.
    InDraw(u64),
    /// Has this rank.
    Ranked(u64),
}

impl RoomProgress {
    /// The sale has opened: whoever comes from now on does not take part. False: it was so already.
    pub fn close_draw(&mut self) -> bool {
        let open = self.participants.is_none();
        self.participants.get_or_insert(self.entered);
        open
    }

    /// Takes somebody in who has no place, or whose admission has lapsed. `None`: the room is full.
    pub fn add_visitor(&mut self) -> Option<Arrival> {
        if self.entered >= VISITORS_MAX {
            return None;
        }
        self.entered += 1;
        Some(match self.participants {
            None => Arrival::InDraw(self.entered),
            Some(_) => Arrival::Ranked(self.entered),
        })
    }

    /// Ranks that were not called yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.entered - self.called
    }

    /// Calls the next `count` ranks: those above the first number, up to the second.
    pub fn admit(&mut self, count: u64) -> (u64, u64) {
        let before = self.called;
        self.called = (before + count).min(self.entered);
        (before, self.called)
    }
}

/// What there is to sell, and who is on the way to it; all of one snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomSupply {
    /// Units that nobody holds; `None`: without end.
    pub free: Option<u64>,
    /// Units that one buyer may hold.
    pub limit: u64,
    /// Admissions that are neither used nor lapsed.
    pub out: u64,
    /// Admissions that were used and have not lapsed.
    pub used: u64,
    /// Units that those who used them hold.
    pub used_units: u64,
}

impl RoomSupply {
    /// How many units the next buyer is expected to take, at least 1.
    #[must_use]
    pub fn units_per_buyer(&self) -> u64 {
        let share = match self.used {
            used if used >= USED_SAMPLE_MIN => self.used_units.div_ceil(used),
            _ => self.limit.min(self.free.unwrap_or(u64::MAX) / FIRST_BUYERS_MIN),
        };
        share.clamp(1, self.limit.max(1))
    }

    /// How many ranks are called now, in a step that calls so many at most; the rest is called in
    /// the next one.
    ///
    /// Each of them finds at least one unit that nobody who was called before is expected to take;
    /// so nobody is called into an empty shop, and while there are units and nobody is on the way
    /// to them, somebody is called.
    #[must_use]
    pub fn admissions(&self, line: &RoomProgress, admissions_max: u64) -> u64 {
        if line.participants.is_none() {
            return 0;
        }
        let room =
            ADMISSIONS_OUT_MAX.saturating_sub(self.out).min(admissions_max).min(line.waiting());
        let Some(free) = self.free else { return room };
        let share = self.units_per_buyer();
        // The rows may say that more are out than there are units: others took more than was
        // expected.
        let unclaimed = free.saturating_sub(self.out.saturating_mul(share));
        room.min(unclaimed.div_ceil(share))
    }
}

/// What is known of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueuePosition {
    /// Its rank; `None`: not drawn yet.
    pub rank: Option<u64>,
    /// Called in until then; `None`: not called.
    pub until: Option<Millis>,
}

/// What a buyer is told of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisitorStatus {
    /// The sale has not opened; the place takes part in the draw.
    NotDrawn,
    /// Waits; 1 is called next.
    Waiting(u64),
    /// More stand before it than there are units left.
    BeyondStock(u64),
    /// May buy until then.
    Admitted(Millis),
    /// Was called and did not come in time: the place is no more.
    Lapsed,
}

impl QueuePosition {
    /// What is told of it, with so many units free (`None`: without end).
    #[must_use]
    pub fn status(&self, line: &RoomProgress, free: Option<u64>, now: Millis) -> VisitorStatus {
        match (self.until, self.rank) {
            (Some(until), _) if now < until => VisitorStatus::Admitted(until),
            (Some(_), _) => VisitorStatus::Lapsed,
            (None, None) => VisitorStatus::NotDrawn,
            (None, Some(rank)) => {
                // Called by another node this instant: next in line until this one hears of it.
                let position = rank.saturating_sub(line.called).max(1);
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
