//! The front door of a sale: what operators send is read in full, and whatever is not off is refused.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::body::{Faults, Object, read};
use crate::sale::Off;

/// What a sale asks of its buyers; everything is off in this version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "pass": "off", "challenge": "off", "members_only": false, "min_level": 0, "access_codes": "off",
    "waiting_room": "off"
})))]
pub struct FrontDoor {
    /// Whether a purchase pass is asked for.
    pub pass: Off,
    /// Which challenge is asked for.
    pub challenge: Off,
    /// Whether only members may buy.
    pub members_only: bool,
    /// Lowest level that may buy.
    pub min_level: u8,
    /// Whether access codes are asked for.
    pub access_codes: Off,
    /// Whether there is a waiting room.
    pub waiting_room: Off,
}

const MEMBERS: &[&str] = &["pass", "challenge", "members_only", "min_level", "access_codes", "waiting_room", "limits"];

/// Reads a front door that is off in every way. Words that the contract knows but this version lacks are told apart
/// from words that mean nothing.
pub(super) fn read(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<FrontDoor> {
    let mut door = Object::open(raw, pointer.to_owned(), MEMBERS, faults)?;
    let words = [
        off(&mut door, "pass", &["off", "required"]),
        off(&mut door, "challenge", &["off", "image", "slider", "pow"]),
        off(&mut door, "access_codes", &["off", "required"]),
        off(&mut door, "waiting_room", &["off", "auto", "always"]),
    ];
    let members_only = door.optional("members_only", false, read::boolean);
    if members_only == Some(true) {
        door.fault("members_only", "true is not available in this version; leave it false");
    }
    let min_level = door.optional("min_level", 0, read::integer(0..=255));
    if min_level.is_some_and(|level| level > 0) {
        door.fault("min_level", "a level is not available in this version; leave it 0");
    }
    let limits = door.optional("limits", (), no_limits);
    let all_off = words.iter().all(Option::is_some) && members_only == Some(false) && min_level == Some(0);
    (all_off && limits.is_some()).then(FrontDoor::default)
}

fn off(door: &mut Object<'_, '_>, member: &'static str, words: &'static [&'static str]) -> Option<()> {
    let word = door.optional(member, "off", read::word(words))?;
    if word == "off" {
        return Some(());
    }
    door.fault(member, "only \"off\" is available in this version");
    None
}

fn no_limits(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<()> {
    const LIMITS: &[&str] = &["buyer", "ip", "interface"];
    let mut limits = Object::open(raw, pointer.to_owned(), LIMITS, faults)?;
    let mut none = Some(());
    for limit in LIMITS {
        // Asked first, so that each of them is named.
        let absent = limits.optional(limit, (), not_here);
        none = none.and(absent);
    }
    none
}

fn not_here(_: &RawValue, pointer: &str, faults: &mut Faults) -> Option<()> {
    faults.add(pointer, "is not available in this version");
    None
}
