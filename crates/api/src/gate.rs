//! The JSON types of the front door: what a sale requires of buyers, and the requests by which
//! buyers meet these requirements.

mod challenge;
mod pass;
mod room;

pub use challenge::{Challenge, ChallengeRequest};
pub use pass::{ChallengeAnswer, NewPass, Pass};
pub use room::{
    Draw, EstimateSecs, NewWaitingRoomPosition, WaitingRoomPosition, WaitingRoomPositionState,
};

use doorbuster_types::words;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a sale has a requirement. A sale has two such values: one for purchase passes and one
/// for access codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequirementMode {
    /// The sale does not have the requirement.
    #[default]
    Off,
    /// The sale has the requirement: every purchase needs a pass, or every pass needs an access
    /// code.
    Required,
}

words! {
    /// The kind of challenge that a sale requires.
    #[derive(Default)]
    ChallengeKind {
        /// No challenge.
        #[default]
        Off = "off",
        /// Letters and digits in an image.
        Image = "image",
        /// A puzzle piece to slide to its gap.
        Slider = "slider",
        /// Proof of work by the browser.
        Pow = "pow",
    }
}

words! {
    /// Whether a sale has a waiting room.
    #[derive(Default)]
    WaitingRoomMode {
        /// No waiting room.
        #[default]
        Off = "off",
        /// Buyers must wait only while the waiting room is open. The waiting room opens when too
        /// many buyers arrive in one second.
        Auto = "auto",
        /// Every buyer must pass through the waiting room.
        Always = "always",
    }
}

words! {
    /// Whether a waiting room is for a whole sale or for one item.
    #[derive(Default)]
    RoomScope {
        /// The sale has one waiting room.
        #[default]
        Sale = "sale",
        /// Each item has a waiting room.
        Items = "items",
    }
}

impl RequirementMode {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Off, Self::Required];

    /// The value's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Required => "required",
        }
    }

    /// Whether the value is `required`.
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Required)
    }
}

impl ChallengeKind {
    /// Whether no challenge is required.
    #[must_use]
    pub const fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }
}

impl WaitingRoomMode {
    /// Returns true if the sale has no waiting room.
    #[must_use]
    pub const fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_requirement_match_their_json() {
        for word in RequirementMode::ALL {
            let json = serde_json::to_string(&word).expect("plain data serialises");
            assert_eq!(json, format!("\"{}\"", word.as_str()));
        }
    }
}
