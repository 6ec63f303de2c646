//! The front door of a sale: its settings, and the patch that changes them.

mod patch;

pub use patch::FrontDoorPatch;
pub(super) use patch::read_patch;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::body::{self, Faults, Object, read};
use crate::gate::{ChallengeKind, RequirementMode, RoomScope, WaitingRoomMode};
use crate::limits::{LIMIT_MAX, POW_EFFORT_DEFAULT, POW_EFFORT_MAX, POW_EFFORT_MIN};

/// What a sale requires of its buyers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(examples(json!({
    "pass": "required", "challenge": "off", "pow_effort": 5000, "members_only": false, "min_level": 0, "access_codes": "off",
    "waiting_room": "off", "rooms": "sale", "limits": {"buyer": {"burst": 5, "per_minute": 60}, "ip": null}
})))]
pub struct FrontDoor {
    /// Whether a purchase pass is required.
    pub pass: RequirementMode,
    /// The kind of challenge that is required.
    pub challenge: ChallengeKind,
    /// The average number of keys that a device tries for a proof of work.
    #[schema(value_type = u32, minimum = 100, maximum = 50_000)]
    pub pow_effort: PowEffort,
    /// Whether only members may buy.
    pub members_only: bool,
    /// The lowest level (from the buyer's token) with which a buyer may buy.
    pub min_level: u8,
    /// Whether access codes are required.
    pub access_codes: RequirementMode,
    /// Whether there is a waiting room.
    pub waiting_room: WaitingRoomMode,
    /// Whether the waiting room is for the whole sale or for each item.
    pub rooms: RoomScope,
    /// The rate limits.
    pub limits: Limits,
}

/// The effort of a proof of work: the average number of keys that a device tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PowEffort(pub u32);

impl PowEffort {
    /// The effort that applies if a front door does not set an effort.
    pub const DEFAULT: Self = Self(POW_EFFORT_DEFAULT);
}

impl Default for PowEffort {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The rate limits of a sale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Limits {
    /// The limit for one buyer.
    #[serde(skip_serializing_if = "LimitSetting::is_default")]
    #[schema(value_type = Option<Limit>)]
    pub buyer: LimitSetting,
    /// The limit for one address.
    #[serde(skip_serializing_if = "LimitSetting::is_default")]
    #[schema(value_type = Option<Limit>)]
    pub ip: LimitSetting,
    /// The limit for all requests to this sale together.
    #[serde(skip_serializing_if = "LimitSetting::is_default")]
    #[schema(value_type = Option<Limit>)]
    pub interface: LimitSetting,
}

/// The setting of one rate limit. In JSON, it is absent, `null`, or an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitSetting {
    /// An absent setting: the program's default applies.
    #[default]
    Default,
    /// `null`: there is no limit.
    None,
    /// An object: this limit applies.
    Some(Limit),
}

/// A rate limit: how many requests may arrive in a burst, and how many further requests are allowed
/// each minute after a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limit {
    /// The largest number of requests that may arrive in a burst, without a pause between the
    /// requests.
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub burst: u32,
    /// The number of further requests that are allowed each minute after a burst.
    #[schema(minimum = 1, maximum = 10_000_000)]
    pub per_minute: u32,
}

impl FrontDoor {
    /// A front door that refuses every purchase. A sale gets this front door if this version of the
    /// program cannot read the stored front door.
    pub const CLOSED_DOOR: Self = Self {
        pass: RequirementMode::Required,
        challenge: ChallengeKind::Off,
        pow_effort: PowEffort::DEFAULT,
        members_only: true,
        min_level: u8::MAX,
        access_codes: RequirementMode::Required,
        waiting_room: WaitingRoomMode::Off,
        rooms: RoomScope::Sale,
        limits: Limits {
            buyer: LimitSetting::Default,
            ip: LimitSetting::Default,
            interface: LimitSetting::Default,
        },
    };

    /// Parses a stored front door. Returns `None` if a later version stored a member or a value
    /// that this version does not know.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        body::object(json.as_bytes(), MEMBERS, members).ok()
    }

    /// Returns the front door as the JSON text that the store keeps.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data serialises")
    }

    /// Whether a purchase needs a pass. Access codes, a challenge and a waiting room also need
    /// passes, because only a pass proves that the buyer met these requirements.
    #[must_use]
    pub const fn needs_pass(&self) -> bool {
        self.pass.is_required()
            || self.access_codes.is_required()
            || !self.challenge.is_off()
            || !self.waiting_room.is_off()
    }

    /// Whether a purchase needs a token and nothing else. Rate limits still apply.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        !self.needs_pass() && !self.members_only && self.min_level == 0
    }
}

impl LimitSetting {
    /// Whether the setting is absent.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

impl Serialize for LimitSetting {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Some(limit) => limit.serialize(out),
            Self::Default | Self::None => out.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for LimitSetting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Self::None, Self::Some))
    }
}

const MEMBERS: &[&str] = &[
    "pass",
    "challenge",
    "pow_effort",
    "members_only",
    "min_level",
    "access_codes",
    "waiting_room",
    "rooms",
    "limits",
];
const LIMITS: &[&str] = &["buyer", "ip", "interface"];
const LIMIT: &[&str] = &["burst", "per_minute"];

pub(super) fn read(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<FrontDoor> {
    members(&mut Object::open(raw, pointer.to_owned(), MEMBERS, faults)?)
}

/// Absent members get their defaults.
fn members(door: &mut Object<'_, '_>) -> Option<FrontDoor> {
    let pass = door.optional("pass", RequirementMode::Off, off_or_required);
    let challenge = door.optional("challenge", ChallengeKind::Off, challenge);
    let pow_effort = door.optional("pow_effort", PowEffort::DEFAULT, pow_effort);
    let members_only = door.optional("members_only", false, read::boolean);
    let min_level = door.optional("min_level", 0, level);
    let access_codes = door.optional("access_codes", RequirementMode::Off, off_or_required);
    let waiting_room = door.optional("waiting_room", WaitingRoomMode::Off, room);
    let rooms = door.optional("rooms", RoomScope::Sale, room_scope);
    let limits = door.optional("limits", Limits::default(), limits);
    Some(FrontDoor {
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

fn off_or_required(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<RequirementMode> {
    read::word(&RequirementMode::ALL, RequirementMode::as_str)(raw, pointer, faults)
}

fn challenge(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<ChallengeKind> {
    read::word(&ChallengeKind::ALL, ChallengeKind::as_str)(raw, pointer, faults)
}

fn room(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<WaitingRoomMode> {
    read::word(&WaitingRoomMode::ALL, WaitingRoomMode::as_str)(raw, pointer, faults)
}

fn room_scope(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<RoomScope> {
    read::word(&RoomScope::ALL, RoomScope::as_str)(raw, pointer, faults)
}

fn pow_effort(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<PowEffort> {
    read::count(POW_EFFORT_MIN..=POW_EFFORT_MAX)(raw, pointer, faults).map(PowEffort)
}

fn level(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<u8> {
    read::integer(0..=255)(raw, pointer, faults).and_then(|level| u8::try_from(level).ok())
}

fn limits(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<Limits> {
    let mut limits = Object::open(raw, pointer.to_owned(), LIMITS, faults)?;
    let buyer = limits.optional("buyer", LimitSetting::Default, setting);
    let ip = limits.optional("ip", LimitSetting::Default, setting);
    let interface = limits.optional("interface", LimitSetting::Default, setting);
    Some(Limits { buyer: buyer?, ip: ip?, interface: interface? })
}

fn setting(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<LimitSetting> {
    let limit = read::nullable(|raw: &RawValue, pointer: &str, faults: &mut Faults| {
        let mut limit = Object::open(raw, pointer.to_owned(), LIMIT, faults)?;
        let burst = limit.required("burst", read::count(1..=LIMIT_MAX));
        let per_minute = limit.required("per_minute", read::count(1..=LIMIT_MAX));
        Some(Limit { burst: burst?, per_minute: per_minute? })
    })(raw, pointer, faults)?;
    Some(limit.map_or(LimitSetting::None, LimitSetting::Some))
}
