//! The patch that changes the front door of a sale.

use serde_json::value::RawValue;

use super::{
    FrontDoor, LIMIT, LIMITS, Limit, LimitSetting, Limits, MEMBERS, PowEffort, challenge, level,
    off_or_required, pow_effort, room, room_scope,
};
use crate::body::{Faults, MemberPatch, Object, read};
use crate::gate::{ChallengeKind, RequirementMode, RoomScope, WaitingRoomMode};
use crate::limits::LIMIT_MAX;
use crate::problem::Problem;

/// Changes to a front door. An absent member keeps its value, and `null` restores the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontDoorPatch {
    pass: MemberPatch<RequirementMode>,
    challenge: MemberPatch<ChallengeKind>,
    pow_effort: MemberPatch<PowEffort>,
    members_only: MemberPatch<bool>,
    min_level: MemberPatch<u8>,
    access_codes: MemberPatch<RequirementMode>,
    waiting_room: MemberPatch<WaitingRoomMode>,
    rooms: MemberPatch<RoomScope>,
    limits: MemberPatch<LimitsPatch>,
}

/// Changes to limits. For a single limit, `null` means no limit, and `default` restores the
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LimitsPatch {
    buyer: MemberPatch<LimitPatch>,
    ip: MemberPatch<LimitPatch>,
    interface: MemberPatch<LimitPatch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LimitPatch {
    /// The word `default` in JSON: the program's default applies.
    Default,
    /// An object in JSON. If the object lacks a number, that number keeps its value.
    Numbers { burst: Option<u32>, per_minute: Option<u32> },
}

impl FrontDoorPatch {
    /// Returns the front door `before` with these changes.
    ///
    /// # Errors
    /// `422` if a limit's object lacks `burst` or `per_minute`, and the limit had no numbers
    /// before.
    pub fn apply(&self, before: FrontDoor) -> Result<FrontDoor, Problem> {
        let limits = match self.limits {
            MemberPatch::Keep => before.limits,
            MemberPatch::Clear => Limits::default(),
            MemberPatch::Set(patch) => Limits {
                buyer: limit("buyer", patch.buyer, before.limits.buyer)?,
                ip: limit("ip", patch.ip, before.limits.ip)?,
                interface: limit("interface", patch.interface, before.limits.interface)?,
            },
        };
        Ok(FrontDoor {
            pass: apply_change(self.pass, before.pass),
            challenge: apply_change(self.challenge, before.challenge),
            pow_effort: apply_change(self.pow_effort, before.pow_effort),
            members_only: apply_change(self.members_only, before.members_only),
            min_level: apply_change(self.min_level, before.min_level),
            access_codes: apply_change(self.access_codes, before.access_codes),
            waiting_room: apply_change(self.waiting_room, before.waiting_room),
            rooms: apply_change(self.rooms, before.rooms),
            limits,
        })
    }
}

fn apply_change<T: Default>(change: MemberPatch<T>, before: T) -> T {
    match change {
        MemberPatch::Keep => before,
        MemberPatch::Clear => T::default(),
        MemberPatch::Set(value) => value,
    }
}

fn limit(
    name: &str,
    change: MemberPatch<LimitPatch>,
    before: LimitSetting,
) -> Result<LimitSetting, Problem> {
    let (burst, per_minute) = match change {
        MemberPatch::Keep => return Ok(before),
        MemberPatch::Clear => return Ok(LimitSetting::None),
        MemberPatch::Set(LimitPatch::Default) => return Ok(LimitSetting::Default),
        MemberPatch::Set(LimitPatch::Numbers { burst, per_minute }) => (burst, per_minute),
    };
    let known = match before {
        LimitSetting::Some(known) => Some(known),
        LimitSetting::Default | LimitSetting::None => None,
    };
    let half = |member: &str, given: Option<u32>, known: Option<u32>| {
        given.or(known).ok_or_else(|| {
            let pointer = format!("/front_door/limits/{name}/{member}");
            Problem::invalid_member(&pointer, "is required: the limit has no earlier value")
        })
    };
    Ok(LimitSetting::Some(Limit {
        burst: half("burst", burst, known.map(|known| known.burst))?,
        per_minute: half("per_minute", per_minute, known.map(|known| known.per_minute))?,
    }))
}

pub(in crate::admin) fn read_patch(
    raw: &RawValue,
    pointer: &str,
    faults: &mut Faults,
) -> Option<FrontDoorPatch> {
    let mut door = Object::open(raw, pointer.to_owned(), MEMBERS, faults)?;
    let pass = door.patched("pass", off_or_required);
    let challenge = door.patched("challenge", challenge);
    let pow_effort = door.patched("pow_effort", pow_effort);
    let members_only = door.patched("members_only", read::boolean);
    let min_level = door.patched("min_level", level);
    let access_codes = door.patched("access_codes", off_or_required);
    let waiting_room = door.patched("waiting_room", room);
    let rooms = door.patched("rooms", room_scope);
    let limits = door.patched("limits", limits_patch);
    Some(FrontDoorPatch {
        pass: pass?,
        challenge: challenge?,
        pow_effort: pow_effort?,
        members_only: members_only?,
        min_level: min_level?,
        access_codes: access_codes?,
        waiting_room: waiting_room?,
        rooms: rooms?,
        limits: limits?,
    })
}

fn limits_patch(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<LimitsPatch> {
    let mut limits = Object::open(raw, pointer.to_owned(), LIMITS, faults)?;
    let buyer = limits.patched("buyer", limit_patch);
    let ip = limits.patched("ip", limit_patch);
    let interface = limits.patched("interface", limit_patch);
    Some(LimitsPatch { buyer: buyer?, ip: ip?, interface: interface? })
}

fn limit_patch(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<LimitPatch> {
    if read::is_word(raw, "default") {
        return Some(LimitPatch::Default);
    }
    let mut limit = Object::open(raw, pointer.to_owned(), LIMIT, faults)?;
    let burst = limit.optional("burst", None, read::not_null(read::count(1..=LIMIT_MAX)));
    let per_minute = limit.optional("per_minute", None, read::not_null(read::count(1..=LIMIT_MAX)));
    Some(LimitPatch::Numbers { burst: burst?, per_minute: per_minute? })
}
