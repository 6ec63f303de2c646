//! Money: whole minor units and a currency.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A currency: three capital letters, as ISO 4217 assigns them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads three capital letters. Whether ISO 4217 has assigned them is the shop's business.
    #[must_use]
    pub const fn parse(text: &str) -> Option<Self> {
        match *text.as_bytes() {
            [a @ b'A'..=b'Z', b @ b'A'..=b'Z', c @ b'A'..=b'Z'] => Some(Self([a, b, c])),
            _ => None,
        }
    }

    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the constructor takes capital letters only")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not three capital letters"))
    }
}

impl PartialSchema for Currency {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[A-Z]{3}$"))
            .description(Some("ISO 4217 code."))
            .examples(["CNY"])
            .into()
    }
}

impl ToSchema for Currency {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Currency")
    }
}

/// An amount of money: ten phones at 0.10 yuan cost `{"amount_minor": 100, "currency": "CNY"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"amount_minor": 10, "currency": "CNY"})))]
pub struct Money {
    /// Amount in the currency's smallest unit; never negative.
    #[schema(minimum = 0)]
    pub amount_minor: i64,
    /// Which currency.
    pub currency: Currency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_is_three_capital_letters() {
        let check = |text: &str, expected: bool| assert_eq!(Currency::parse(text).is_some(), expected, "{text:?}");
        check("CNY", true);
        check("EUR", true);
        check("eur", false);
        check("EU", false);
        check("EURO", false);
        check("E1R", false);
        check("ÉU", false);
        check("", false);
    }

    #[test]
    fn money_reads_what_it_writes() {
        let money = Money { amount_minor: 10, currency: Currency::parse("CNY").expect("three capital letters") };
        let text = serde_json::to_string(&money).expect("plain data serialises");
        assert_eq!(text, r#"{"amount_minor":10,"currency":"CNY"}"#);
        assert_eq!(serde_json::from_str::<Money>(&text).expect("its own output"), money);
    }
}
