//! How an item's stock is spread over its slots.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::body::{self, read};
use crate::limits::{PARTITIONS_MAX, STOCK_MAX};
use crate::problem::Problem;

/// How the partition of a request is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// By the buyer's id.
    #[default]
    Buyer,
    /// At random.
    Random,
    /// In turn.
    RoundRobin,
}

impl Choose {
    const WORDS: &'static [&'static str] = &["buyer", "random", "round_robin"];

    fn from_word(word: &str) -> Self {
        match word {
            "random" => Self::Random,
            "round_robin" => Self::RoundRobin,
            _ => Self::Buyer,
        }
    }
}

/// How an item's stock is spread over its slots. If `initial`, `threshold` and `refill` are absent
/// or 0, all units go to the slots at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"partitions": 8, "choose": "buyer", "initial": 400, "threshold": 50, "refill": 100})))]
pub struct Spread {
    /// The number of slots that share the stock, where all nodes share the slots.
    #[schema(minimum = 1, maximum = 64)]
    pub partitions: u32,
    /// How a request's partition is chosen.
    #[schema(required = false)]
    pub choose: Choose,
    /// The number of units that a slot gets first.
    #[schema(required = false, minimum = 0, maximum = 1_000_000_000)]
    pub initial: u64,
    /// A counter with fewer units than this is refilled.
    #[schema(required = false, minimum = 0, maximum = 1_000_000_000)]
    pub threshold: u64,
    /// Units of one refill.
    #[schema(required = false, minimum = 0, maximum = 1_000_000_000)]
    pub refill: u64,
}

impl Spread {
    /// Reads the body. The caller checks whether the numbers fit together.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["partitions", "choose", "initial", "threshold", "refill"], |body| {
            let most = i64::from(STOCK_MAX);
            let partitions = body.required("partitions", read::count(1..=PARTITIONS_MAX));
            let choose = body.optional("choose", "buyer", read::one_of(Choose::WORDS));
            let [initial, threshold, refill] = ["initial", "threshold", "refill"]
                .map(|name| body.optional(name, 0, read::integer(0..=most)).map(i64::unsigned_abs));
            Some(Self {
                partitions: partitions?,
                choose: Choose::from_word(choose?),
                initial: initial?,
                threshold: threshold?,
                refill: refill?,
            })
        })
    }
}
