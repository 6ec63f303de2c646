//! The body of a purchase, the most frequent request.

use std::borrow::Cow;

use doorbuster_types::Units;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{object, read};
use crate::problem::Problem;
use crate::value::is_name;

/// A purchase request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"sale": "spring", "item": "phone", "units": 10})))]
pub struct Purchase<'a> {
    /// The sale.
    #[schema(schema_with = crate::admin::schema::name)]
    pub sale: Cow<'a, str>,
    /// The item.
    #[schema(schema_with = crate::admin::schema::name)]
    pub item: Cow<'a, str>,
    /// The number of units.
    #[schema(value_type = u32, minimum = 1, maximum = 1_000_000)]
    pub units: Units,
}

/// The members of [`Purchase`], for a valid body whose strings contain no escapes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnescapedPurchase<'a> {
    sale: &'a str,
    item: &'a str,
    units: u32,
}

impl<'a> Purchase<'a> {
    /// Reads the body of a purchase. Valid bodies without escapes take a fast path that allocates
    /// nothing. All other bodies take the strict path, which reports every fault.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &'a [u8]) -> Result<Self, Problem> {
        match Self::parse_unescaped(bytes) {
            Some(purchase) => Ok(purchase),
            None => Self::parse_strictly(bytes),
        }
    }

    /// Returns the name of the sale, or `None` if the body is invalid or its strings contain
    /// escapes.
    #[must_use]
    pub fn sale_of_body(bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        Self::parse_unescaped(bytes).map(|purchase| purchase.sale)
    }

    fn parse_unescaped(bytes: &'a [u8]) -> Option<Self> {
        // Without this check, serde would also accept a list of the three values.
        bytes.trim_ascii_start().starts_with(b"{").then_some(())?;
        let UnescapedPurchase { sale, item, units } = serde_json::from_slice(bytes).ok()?;
        let units = Units::new(units)?;
        let right = is_name(sale) && is_name(item);
        right.then_some(Self { sale: Cow::Borrowed(sale), item: Cow::Borrowed(item), units })
    }

    #[cold]
    fn parse_strictly(bytes: &'a [u8]) -> Result<Self, Problem> {
        object(bytes, &["sale", "item", "units"], |body| {
            let sale = body.required("sale", read::name);
            let item = body.required("item", read::name);
            let units = body.required("units", read::units);
            Some(Self { sale: sale?, item: item?, units: units? })
        })
    }

    /// Returns the results of the fast path and of the strict path. Tests check that both results
    /// agree.
    #[cfg(test)]
    pub(super) fn parse_both_ways(bytes: &'a [u8]) -> (Option<Self>, Result<Self, Problem>) {
        (Self::parse_unescaped(bytes), Self::parse_strictly(bytes))
    }
}
