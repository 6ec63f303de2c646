//! How an item's stock is spread over its slots.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};

use crate::body::{self, Faults, read};
use crate::limits::{PARTITIONS_MAX, STOCK_MAX};
use crate::problem::Problem;

pub use doorbuster_types::PartitionChoice;

/// The number of partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// A fixed number of partitions, 1 to 64.
    Count(u32),
    /// The server chooses the number of partitions, and doubles it if too many tickets of one
    /// partition wait to be settled.
    Auto,
}

const AUTO: &str = "auto";

impl Serialize for Partitions {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => to.serialize_u32(*count),
            Self::Auto => to.serialize_str(AUTO),
        }
    }
}

impl<'de> Deserialize<'de> for Partitions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Count(u32),
            Word(String),
        }
        match Either::deserialize(from)? {
            Either::Count(count) => Ok(Self::Count(count)),
            Either::Word(word) if word == AUTO => Ok(Self::Auto),
            Either::Word(_) => Err(D::Error::custom("must be a number or \"auto\"")),
        }
    }
}

fn partitions_schema() -> RefOr<Schema> {
    let count = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(PARTITIONS_MAX))
        .description(Some("The number of slots that share the stock."));
    let word = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some([AUTO]))
        .description(Some("The server chooses the number."));
    OneOfBuilder::new().schema_type(SchemaType::AnyValue).item(count).item(word).into()
}

fn partitions(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<Partitions> {
    match serde_json::from_str(raw.get()).ok() {
        Some(Partitions::Auto) => Some(Partitions::Auto),
        Some(Partitions::Count(count)) if (1..=PARTITIONS_MAX).contains(&count) => {
            Some(Partitions::Count(count))
        }
        Some(Partitions::Count(_)) | None => faults.refuse(
            pointer,
            format!("must be a whole number from 1 to {PARTITIONS_MAX}, or \"auto\""),
        ),
    }
}

/// How an item's stock is spread over its slots. If `initial`, `threshold` and `refill` are absent
/// or 0, the shape decides how the slots get their units. In shape `postgres`, each slot gets its
/// units in small portions. In the other shapes, the slots get all units at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"partitions": 8, "choose": "buyer", "initial": 400, "threshold": 50, "refill": 100})))]
pub struct Spread {
    /// The number of slots that share the stock. Only shape `cluster` uses this number.
    #[schema(schema_with = partitions_schema)]
    pub partitions: Partitions,
    /// How a request's partition is chosen.
    #[schema(required = false)]
    pub choose: PartitionChoice,
    /// The number of units that each slot gets when the slots are opened.
    #[schema(required = false, minimum = 0, maximum = 1_000_000_000)]
    pub initial: u64,
    /// Each slot has two counters. If a counter has fewer units than this number, the server
    /// refills the counter.
    #[schema(required = false, minimum = 0, maximum = 1_000_000_000)]
    pub threshold: u64,
    /// Units of one refill.
    #[schema(required = false, minimum = 0, maximum = 1_000_000_000)]
    pub refill: u64,
}

impl Spread {
    /// Reads a spread from a request's body. The caller must check that the numbers do not
    /// contradict each other.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["partitions", "choose", "initial", "threshold", "refill"], |body| {
            let most = i64::from(STOCK_MAX);
            let partitions = body.required("partitions", partitions);
            let choose = body.optional(
                "choose",
                PartitionChoice::Buyer,
                read::word(&PartitionChoice::ALL, PartitionChoice::as_str),
            );
            let [initial, threshold, refill] = ["initial", "threshold", "refill"]
                .map(|name| body.optional(name, 0, read::integer(0..=most)).map(i64::unsigned_abs));
            Some(Self {
                partitions: partitions?,
                choose: choose?,
                initial: initial?,
                threshold: threshold?,
                refill: refill?,
            })
        })
    }
}
