//! Arguments of `sale edit` and `sale codes`.

use std::path::PathBuf;

use clap::Args;
use doorbuster_api::limits::{CODE_USES_MAX, CODES_AT_ONCE_MAX, POW_EFFORT_MAX, POW_EFFORT_MIN};
use doorbuster_api::value::Time;
use serde_json::{Map, Value};

use super::{complete, values};

/// Change the title, the times or the front door of a sale, also while the sale runs. If an option
/// is omitted, its setting stays unchanged.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster sale edit spring --pass required --challenge slider
  doorbuster sale edit spring --challenge pow --pow-effort 20000
  doorbuster sale edit spring --members-only true --min-level 3
  doorbuster sale edit spring --waiting-room always --rooms items
  doorbuster sale edit spring --limit buyer=5/60 --limit ip=none
  doorbuster sale edit spring --limit default
  doorbuster sale edit spring --file patch.json")]
pub struct EditArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The title on the sale page.
    #[arg(long)]
    pub title: Option<String>,
    /// When the sale opens; `none` removes this time.
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub starts_at: Option<OptionalTime>,
    /// When the sale closes by itself; `none` removes this time.
    #[arg(long, value_name = "TIME", value_parser = values::time_or_none)]
    pub ends_at: Option<OptionalTime>,
    /// Whether a purchase pass is required.
    #[arg(long, value_name = "WORD", value_parser = ["off", "required"])]
    pub pass: Option<String>,
    /// The challenge that a buyer must solve for a pass.
    #[arg(long, value_name = "KIND", value_parser = ["off", "image", "slider", "pow"])]
    pub challenge: Option<String>,
    /// The average number of keys that a device tries for a proof of work.
    #[arg(long, value_name = "KEYS", value_parser = clap::value_parser!(u32)
          .range(i64::from(POW_EFFORT_MIN)..=i64::from(POW_EFFORT_MAX)))]
    pub pow_effort: Option<u32>,
    /// Whether only members may buy.
    #[arg(long, value_name = "BOOL")]
    pub members_only: Option<bool>,
    /// The lowest level with which a buyer may buy; 0 means any level.
    #[arg(long, value_name = "N")]
    pub min_level: Option<u8>,
    /// Whether an access code is required.
    #[arg(long, value_name = "WORD", value_parser = ["off", "required"])]
    pub access_codes: Option<String>,
    /// Whether buyers wait in a waiting room.
    #[arg(long, value_name = "WORD", value_parser = ["off", "auto", "always"])]
    pub waiting_room: Option<String>,
    /// Whether the whole sale has one waiting room, or each item has its own. This setting can be
    /// changed only before the sale opens.
    #[arg(long, value_name = "WORD", value_parser = ["sale", "items"])]
    pub rooms: Option<String>,
    /// A rate limit: buyer=5/60 allows a buyer 5 requests at once and 60 a minute. The scopes are
    /// buyer, ip, and interface (all requests of the sale together); ip=none removes the limit of
    /// ip. The option can be repeated. `--limit default` resets all three limits and cannot be
    /// combined with another --limit.
    #[arg(long, value_name = "SCOPE=BURST/PER_MINUTE", value_parser = values::limit)]
    pub limit: Vec<LimitArg>,
    /// Read the changes as a JSON merge patch from this file; - is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "title", "starts_at", "ends_at", "pass", "challenge", "pow_effort", "members_only",
        "min_level", "access_codes", "waiting_room", "rooms", "limit",
    ])]
    pub file: Option<PathBuf>,
}

impl EditArgs {
    /// Returns the merge patch that the flags describe.
    pub fn patch(&self) -> Value {
        let mut door = Map::new();
        let words = [
            ("pass", &self.pass),
            ("challenge", &self.challenge),
            ("access_codes", &self.access_codes),
            ("waiting_room", &self.waiting_room),
            ("rooms", &self.rooms),
        ];
        for (member, word) in words {
            door.extend(word.as_ref().map(|word| (member.to_owned(), word.as_str().into())));
        }
        door.extend(self.pow_effort.map(|keys| ("pow_effort".to_owned(), keys.into())));
        door.extend(self.members_only.map(|only| ("members_only".to_owned(), only.into())));
        door.extend(self.min_level.map(|level| ("min_level".to_owned(), level.into())));
        if !self.limit.is_empty() {
            door.insert("limits".into(), self.limits());
        }
        let mut patch = Map::new();
        patch.extend(self.title.as_ref().map(|title| ("title".to_owned(), title.as_str().into())));
        for (member, when) in [("starts_at", self.starts_at), ("ends_at", self.ends_at)] {
            let word =
                |OptionalTime(time)| time.map_or(Value::Null, |time: Time| time.to_string().into());
            patch.extend(when.map(|when| (member.to_owned(), word(when))));
        }
        if !door.is_empty() {
            patch.insert("front_door".into(), door.into());
        }
        patch.into()
    }

    fn limits(&self) -> Value {
        let mut limits = Map::new();
        for word in &self.limit {
            match word {
                LimitArg::Default => return Value::Null,
                LimitArg::None(whose) => limits.insert((*whose).to_owned(), Value::Null),
                LimitArg::Some(whose, burst, per_minute) => {
                    let limit = serde_json::json!({"burst": burst, "per_minute": per_minute});
                    limits.insert((*whose).to_owned(), limit)
                }
            };
        }
        limits.into()
    }

    /// Returns true if `--limit default` is combined with another `--limit`.
    pub fn has_conflicting_limits(&self) -> bool {
        self.limit.len() > 1 && self.limit.contains(&LimitArg::Default)
    }
}

/// A time, or `none`.
#[derive(Clone, Copy, Debug)]
pub struct OptionalTime(pub Option<Time>);

/// The value of one `--limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitArg {
    /// Resets all three limits to their defaults.
    Default,
    /// No limit for this scope.
    None(&'static str),
    /// The limit for this scope: the number of requests that are allowed at once, and then the
    /// number that is allowed in a minute.
    Some(&'static str, u32, u32),
}

/// Create access codes for a sale, or count its codes.
///
/// The command prints one code per line. A code cannot be printed again, because the server keeps
/// only its hash and its first characters.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  doorbuster sale codes spring --count 100 > codes.txt
  doorbuster sale codes spring --count 1 --uses 5000
  doorbuster sale codes spring")]
pub struct CodesArgs {
    /// The sale's id.
    #[arg(value_parser = values::name, add = complete::sales())]
    pub sale: String,
    /// The number of codes to create. Without this option, the command only counts the codes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(CODES_AT_ONCE_MAX)))]
    pub count: Option<u32>,
    /// How many buyers may use each code.
    #[arg(long, value_name = "N", requires = "count", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CODE_USES_MAX)))]
    pub uses: u32,
}
