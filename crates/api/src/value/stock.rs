//! Stock: a count, or the word `"unlimited"`.

use serde::{Deserialize, Serialize};
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::limits::STOCK_MAX;

/// How many units an item has: a whole number, or unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stock {
    /// A counted number of units, 0 to 1,000,000,000.
    Counted(u32),
    /// Unlimited stock. Limits per buyer still apply.
    Unlimited(Unlimited),
}

/// The value `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlimited {
    /// Written `"unlimited"`.
    Unlimited,
}

impl Stock {
    /// Unlimited stock.
    pub const UNLIMITED: Stock = Stock::Unlimited(Unlimited::Unlimited);

    /// The count; `None` when unlimited.
    #[must_use]
    pub const fn count(self) -> Option<u32> {
        match self {
            Stock::Counted(units) => Some(units),
            Stock::Unlimited(_) => None,
        }
    }
}

impl PartialSchema for Stock {
    fn schema() -> RefOr<Schema> {
        let counted = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .maximum(Some(STOCK_MAX))
            .description(Some("Counted stock."));
        let unlimited = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["unlimited"]))
            .description(Some("Unlimited stock."));
        OneOfBuilder::new().item(counted).item(unlimited).examples([100]).into()
    }
}

impl ToSchema for Stock {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_is_a_count_or_the_word() {
        let check = |stock: Stock, text: &str| {
            assert_eq!(serde_json::to_string(&stock).expect("plain data serialises"), text);
            assert_eq!(serde_json::from_str::<Stock>(text).expect("the output must parse"), stock);
        };
        check(Stock::Counted(0), "0");
        check(Stock::Counted(100), "100");
        check(Stock::UNLIMITED, r#""unlimited""#);
    }
}
