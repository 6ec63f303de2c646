//! Instants: an RFC 3339 text in JSON, and milliseconds since 1970 in memory.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// A time in UTC with millisecond precision, printed as `2026-11-20T10:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// The earliest time that RFC 3339 can express: the start of the year 0000.
    pub const MIN: Time = Time(-62_167_219_200_000);
    /// The latest time that the calendar library can express in every zone: 26 hours before the end
    /// of the year 9999.
    pub const MAX: Time = Time(253_402_207_200_000);

    /// Returns the time `millis` milliseconds after the start of 1970. An earlier time than
    /// [`Time::MIN`] becomes `MIN`, and a later time than [`Time::MAX`] becomes `MAX`.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        if millis < Self::MIN.0 {
            Self::MIN
        } else if millis > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millis)
        }
    }

    /// The number of milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with any offset. Ignores digits after the milliseconds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, fraction, offset) = split(text)?;
        let whole = format!("{}T{}{}", &head[..10], &head[11..], offset.to_ascii_uppercase());
        let seconds = whole.parse::<Timestamp>().ok()?.as_second();
        if head.ends_with("60") {
            // A leap second is the last second of a day in UTC. The calendar library does not
            // support leap seconds, so a leap second becomes the first instant of the next day.
            let midnight =
                (seconds + 1).checked_mul(1000).filter(|_| (seconds + 1) % 86_400 == 0)?;
            return (midnight <= Self::MAX.0).then_some(Self(midnight));
        }
        let digits = format!("{:0<3}", &fraction[..fraction.len().min(3)]);
        let millis = seconds.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        (Self::MIN.0..=Self::MAX.0).contains(&millis).then_some(Self(millis))
    }
}

/// Splits `2026-11-20T10:00:00.5+01:00` into the first 19 characters, the digits of the fraction,
/// and the offset. Refuses formats that the calendar library reads, but that RFC 3339 does not
/// allow.
fn split(text: &str) -> Option<(&str, &str, &str)> {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let fits = |shape: &[u8], part: &[u8]| {
        shape.len() == part.len()
            && shape.iter().zip(part).all(|(want, byte)| match want {
                b'd' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't'),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    let head = text.get(..SHAPE.len())?;
    let rest = &text[SHAPE.len()..];
    if !fits(SHAPE, head.as_bytes()) {
        return None;
    }
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.bytes().take_while(u8::is_ascii_digit).count();
            if end == 0 {
                return None;
            }
            rest.split_at(end)
        }
        None => ("", rest),
    };
    let zulu = matches!(offset, "Z" | "z");
    let is_of_a_day = || offset[1..3] < *"24" && offset[4..6] < *"60";
    (zulu || (fits(b"+dd:dd", offset.as_bytes()) && is_of_a_day()))
        .then_some((head, fraction, offset))
}

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = Timestamp::from_millisecond(self.0)
            .expect("the constructors keep each `Time` within the range of the calendar library");
        write!(out, "{stamp:.3}")
    }
}

impl From<i64> for Time {
    fn from(millis: i64) -> Self {
        Self::from_millis(millis)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not an RFC 3339 time"))
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some(
                "An RFC 3339 time. Answers use UTC with milliseconds. Requests may use any offset.",
            ))
            .examples(["2026-11-20T10:00:00.000Z"])
            .into()
    }
}

impl ToSchema for Time {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_of_any_offset_is_read_and_printed_in_utc_with_milliseconds() {
        let check = |text: &str, expected: Option<&str>| {
            let printed = Time::parse(text).map(|time| time.to_string());
            assert_eq!(printed.as_deref(), expected, "{text:?}");
        };
        check("2026-11-20T10:00:00.000Z", Some("2026-11-20T10:00:00.000Z"));
        check("2026-11-20T10:00:00Z", Some("2026-11-20T10:00:00.000Z"));
        check("2026-11-20t10:00:00z", Some("2026-11-20T10:00:00.000Z"));
        check("2026-11-20T10:00:00.5+08:00", Some("2026-11-20T02:00:00.500Z"));
        check("2026-11-20T10:00:00.123456789123-00:30", Some("2026-11-20T10:30:00.123Z"));
        check("2024-02-29T00:00:00-00:00", Some("2024-02-29T00:00:00.000Z"));
        check("1969-12-31T23:59:59.999Z", Some("1969-12-31T23:59:59.999Z"));
        check("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00.000Z"));
        check("9999-12-30T22:00:00.000Z", Some("9999-12-30T22:00:00.000Z"));
        check("9999-12-31T00:00:00.000+02:00", Some("9999-12-30T22:00:00.000Z"));
        check("2026-11-20T10:00:00+23:59", Some("2026-11-19T10:01:00.000Z"));
        check("2016-12-31T23:59:60Z", Some("2017-01-01T00:00:00.000Z"));
        check("2017-01-01T00:59:60.9+01:00", Some("2017-01-01T00:00:00.000Z"));

        check("2026-11-20T10:00:60Z", None);
        check("2026-11-20T10:00:00+24:00", None);
        check("2026-11-20T10:00:00+25:00", None);
        check("2026-11-20T10:00:00+01:60", None);
        check("0000-01-01T00:00:00+01:00", None);
        check("9999-12-31T23:59:59.999Z", None);
        check("9999-12-31T23:59:59-01:00", None);
        check("2026-02-29T00:00:00Z", None);
        check("2026-11-20T24:00:00Z", None);
        check("2026-11-20T10:00:00", None);
        check("2026-11-20T10:00Z", None);
        check("2026-11-20", None);
        check("2026-11-20 10:00:00Z", None);
        check("2026-11-20T10:00:00.Z", None);
        check("2026-11-20T10:00:00,5Z", None);
        check("2026-11-20T10:00:00+0100", None);
        check("2026-11-20T10:00:00+01:00[Europe/Paris]", None);
        check("+002026-11-20T10:00:00Z", None);
        check("2026-11-20T10:00:00é", None);
        check("", None);
    }

    #[test]
    fn milliseconds_out_of_range_become_the_bound_and_never_panic() {
        let check = |millis: i64, expected: &str| {
            assert_eq!(Time::from_millis(millis).to_string(), expected)
        };
        check(i64::MIN, "0000-01-01T00:00:00.000Z");
        check(i64::MAX, "9999-12-30T22:00:00.000Z");
        check(0, "1970-01-01T00:00:00.000Z");
        check(1_795_168_800_123, "2026-11-20T10:00:00.123Z");
    }
}
