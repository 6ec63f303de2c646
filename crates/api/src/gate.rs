//! The front door in JSON: a sale's requirements, and the buyers' requests to meet these
//! requirements.

mod challenge;
mod pass;
mod room;

pub use challenge::{Challenge, ChallengeRequest};
pub use pass::{ChallengeAnswer, NewPass, Pass};
pub use room::{
    Draw, EstimateSecs, NewWaitingRoomPosition, WaitingRoomPosition, WaitingRoomPositionState,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a sale has a requirement. A sale has one value for purchase passes, and one value for
/// access codes.
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

/// The kind of challenge that a sale requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeKind {
    /// No challenge.
    #[default]
    Off,
    /// Letters and digits in an image.
    Image,
    /// A puzzle piece to slide to its gap.
    Slider,
    /// Proof of work by the browser.
    Pow,
}

/// Whether a sale has a waiting room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitingRoomMode {
    /// No waiting room.
    #[default]
    Off,
    /// Buyers must wait only while the waiting room is open. The waiting room opens if too many
    /// buyers arrive in a second.
    Auto,
    /// Every buyer must pass through the waiting room.
    Always,
}

/// Whether a waiting room is for a whole sale or for one item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomScope {
    /// The sale has one waiting room.
    #[default]
    Sale,
    /// Each item has a waiting room.
    Items,
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
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Off, Self::Image, Self::Slider, Self::Pow];

    /// The value's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Image => "image",
            Self::Slider => "slider",
            Self::Pow => "pow",
        }
    }

    /// Whether no challenge is required.
    #[must_use]
    pub const fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }
}

impl WaitingRoomMode {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::Off, Self::Auto, Self::Always];

    /// The value's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Always => "always",
        }
    }

    /// Whether there is no waiting room.
    #[must_use]
    pub const fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }
}

impl RoomScope {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Sale, Self::Items];

    /// The value's name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Items => "items",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_front_door_match_their_json() {
        fn check<T: Serialize>(value: T, word: &str) {
            assert_eq!(
                serde_json::to_string(&value).expect("plain data serialises"),
                format!("\"{word}\"")
            );
        }
        RequirementMode::ALL.into_iter().for_each(|word| check(word, word.as_str()));
        ChallengeKind::ALL.into_iter().for_each(|word| check(word, word.as_str()));
        WaitingRoomMode::ALL.into_iter().for_each(|word| check(word, word.as_str()));
        RoomScope::ALL.into_iter().for_each(|word| check(word, word.as_str()));
    }
}
