//! Money: an amount in whole minor units, and a currency.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A currency: three capital letters, as ISO 4217 assigns them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

/// The ISO 4217 codes of money with a minor unit, sorted and without withdrawn codes. `XTS` is
/// reserved for tests.
const ASSIGNED: &str = "\
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND \
    BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY \
    COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP \
    GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD \
    IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP \
    LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN \
    MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN \
    PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD \
    SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX \
    USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF \
    XTS YER ZAR ZMW ZWG";

impl Currency {
    /// Parses a currency code. Accepts any three capital letters, because a stored price may have a
    /// currency that ISO 4217 has since withdrawn.
    #[must_use]
    pub const fn parse(text: &str) -> Option<Self> {
        match *text.as_bytes() {
            [a @ b'A'..=b'Z', b @ b'A'..=b'Z', c @ b'A'..=b'Z'] => Some(Self([a, b, c])),
            _ => None,
        }
    }

    /// Whether ISO 4217 has assigned the code to money with a minor unit. A new price must have
    /// such a currency.
    #[must_use]
    pub fn is_assigned(self) -> bool {
        ASSIGNED.split(' ').any(|code| code == self.as_str())
    }

    /// The number of decimal places of the currency's minor unit, from ISO 4217.
    #[must_use]
    pub fn decimals(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG"
            | b"RWF" | b"UGX" | b"UYI" | b"VND" | b"VUV" | b"XAF" | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            b"CLF" | b"UYW" => 4,
            _ => 2,
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

pub(crate) fn assigned_currency() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(ASSIGNED.split(' ')))
        .description(Some("ISO 4217 code of money with a minor unit."))
        .examples(["CNY"])
        .into()
}

impl ToSchema for Currency {}

/// An amount of money: 1.00 yuan is `{"amount_minor": 100, "currency": "CNY"}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"amount_minor": 10, "currency": "CNY"})))]
pub struct Money {
    /// The amount in the currency's smallest unit; never negative.
    #[schema(minimum = 0)]
    pub amount_minor: i64,
    /// The currency.
    pub currency: Currency,
}

/// Prints the amount for people: `49.00 EUR` or `4900 JPY`.
impl fmt::Display for Money {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (decimals, minor) = (self.currency.decimals(), self.amount_minor.unsigned_abs());
        let (major_unit, sign) =
            (10_u64.pow(decimals), if self.amount_minor < 0 { "-" } else { "" });
        match decimals {
            0 => write!(out, "{sign}{minor} {}", self.currency),
            _ => write!(
                out,
                "{sign}{}.{:0width$} {}",
                minor / major_unit,
                minor % major_unit,
                self.currency,
                width = decimals as usize
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_is_three_capital_letters() {
        let check = |text: &str, expected: bool| {
            assert_eq!(Currency::parse(text).is_some(), expected, "{text:?}")
        };
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
    fn a_new_price_uses_an_assigned_currency_with_a_minor_unit() {
        let check = |text: &str, expected: bool| {
            assert_eq!(
                Currency::parse(text).expect("three capital letters").is_assigned(),
                expected,
                "{text}"
            );
        };
        for code in ["AED", "CNY", "EUR", "JPY", "KWD", "CLF", "USD", "XAF", "XTS", "ZWG"] {
            check(code, true);
        }
        // Unassigned codes, gold, and withdrawn currencies.
        for code in ["ZZZ", "AAA", "XAU", "HRK", "DEM"] {
            check(code, false);
        }
        let codes: Vec<&str> = ASSIGNED.split(' ').collect();
        assert!(
            codes.is_sorted() && codes.iter().all(|code| Currency::parse(code).is_some()),
            "{codes:?}"
        );
    }

    #[test]
    fn money_reads_what_it_writes() {
        let money = Money {
            amount_minor: 10,
            currency: Currency::parse("CNY").expect("three capital letters"),
        };
        let text = serde_json::to_string(&money).expect("plain data serialises");
        assert_eq!(text, r#"{"amount_minor":10,"currency":"CNY"}"#);
        assert_eq!(serde_json::from_str::<Money>(&text).expect("the output must parse"), money);
    }

    #[test]
    fn display_prints_whole_units_with_the_currency_s_decimals() {
        let check = |amount_minor, currency, expected: &str| {
            let currency = Currency::parse(currency).expect("three capital letters");
            assert_eq!(Money { amount_minor, currency }.to_string(), expected);
        };
        check(4_900, "EUR", "49.00 EUR");
        check(5, "CNY", "0.05 CNY");
        check(4_900, "JPY", "4900 JPY");
        check(1_005, "KWD", "1.005 KWD");
        check(-250, "EUR", "-2.50 EUR");
    }
}
