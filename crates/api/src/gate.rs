//! The front door on the wire: the words by which a sale says what it asks of its buyers, and what
//! buyers send to its rooms.

mod challenge;
mod pass;
mod room;

pub use challenge::{Challenge, ChallengeRequest};
pub use pass::{ChallengeAnswer, NewPass, Pass};
pub use room::{Draw, EstimateSecs, PlaceState, WaitingPlace};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether something is asked for at the front door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RequirementMode {
    /// It is not.
    #[default]
    Off,
    /// Nobody buys without it.
    Required,
}

/// Which challenge a sale asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeKind {
    /// None.
    #[default]
    Off,
    /// Letters and digits to read off an image.
    Image,
    /// A piece to slide into its place.
    Slider,
    /// Proof of work, done by the browser.
    Pow,
}

/// Whether a sale has a waiting room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// It has none.
    #[default]
    Off,
    /// Buyers wait when more come than can be let in.
    Auto,
    /// Every buyer goes through it.
    Always,
}

impl RequirementMode {
    /// Every word.
    pub const ALL: [Self; 2] = [Self::Off, Self::Required];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Required => "required",
        }
    }

    /// Whether it is asked for.
    #[must_use]
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Required)
    }
}

impl ChallengeKind {
    /// Every word.
    pub const ALL: [Self; 4] = [Self::Off, Self::Image, Self::Slider, Self::Pow];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Image => "image",
            Self::Slider => "slider",
            Self::Pow => "pow",
        }
    }

    /// Whether no challenge is asked for.
    #[must_use]
    pub const fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }
}

impl Room {
    /// Every word.
    pub const ALL: [Self; 3] = [Self::Off, Self::Auto, Self::Always];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Always => "always",
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_off(self) -> bool {
        matches!(self, Self::Off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_front_door_are_those_that_serde_writes() {
        fn check<T: Serialize>(value: T, word: &str) {
            assert_eq!(
                serde_json::to_string(&value).expect("plain data serialises"),
                format!("\"{word}\"")
            );
        }
        RequirementMode::ALL.into_iter().for_each(|word| check(word, word.as_str()));
        ChallengeKind::ALL.into_iter().for_each(|word| check(word, word.as_str()));
        Room::ALL.into_iter().for_each(|word| check(word, word.as_str()));
    }
}
