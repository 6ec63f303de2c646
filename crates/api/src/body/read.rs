//! Readers of single values. For a value with a fault, a reader adds the fault and returns `None`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use doorbuster_types::Units;
use serde_json::value::RawValue;

use super::json::{self, JsonKind};
use super::object::{Faults, Object};
use crate::event_id::event_position;
use crate::limits::{
    DESCRIPTION_CHARS_MAX, IMAGE_BYTES_MAX, ITEMS_MAX, PRICE_MINOR_MAX, STOCK_MAX, TITLE_CHARS_MAX,
    UNITS_MAX, WEBHOOK_URL_BYTES_MAX,
};
use crate::value::{Currency, Money, Stock, Time, is_name};

type Raw<'a> = &'a RawValue;

/// Only digits are allowed.
pub(crate) fn integer<'a>(
    range: RangeInclusive<i64>,
) -> impl FnOnce(Raw<'a>, &str, &mut Faults) -> Option<i64> {
    move |raw, pointer, faults| {
        let kind = JsonKind::from_raw(raw);
        if kind == JsonKind::Number {
            let text = raw.get();
            let signed = text.starts_with('-') && *range.start() >= 0;
            match text.parse().ok().filter(|number| range.contains(number) && !signed) {
                Some(number) => Some(number),
                None if text.contains(['.', 'e', 'E']) => faults.refuse(
                    pointer,
                    format!("{}, without a fraction or an exponent", range_text(&range)),
                ),
                None => faults.refuse(pointer, range_text(&range)),
            }
        } else {
            faults.refuse(pointer, format!("{}, not {}", range_text(&range), kind.words()))
        }
    }
}

fn range_text(range: &RangeInclusive<i64>) -> String {
    format!("must be a whole number from {} to {}", range.start(), range.end())
}

pub(crate) fn count<'a>(
    range: RangeInclusive<u32>,
) -> impl FnOnce(Raw<'a>, &str, &mut Faults) -> Option<u32> {
    let range = i64::from(*range.start())..=i64::from(*range.end());
    move |raw, pointer, faults| {
        integer(range)(raw, pointer, faults).and_then(|number| u32::try_from(number).ok())
    }
}

pub(crate) fn units(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Units> {
    count(1..=UNITS_MAX)(raw, pointer, faults).and_then(Units::new)
}

pub(crate) fn boolean(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<bool> {
    match JsonKind::from_raw(raw) {
        JsonKind::Bool(value) => Some(value),
        kind => faults.refuse(pointer, format!("must be true or false, not {}", kind.words())),
    }
}

pub(crate) fn string<'a>(raw: Raw<'a>, pointer: &str, faults: &mut Faults) -> Option<Cow<'a, str>> {
    match JsonKind::from_raw(raw) {
        JsonKind::String => {
            let wrong = "is not Unicode; the text contains half of a surrogate pair";
            json::string(raw).or_else(|| faults.refuse(pointer, wrong))
        }
        kind => faults.refuse(pointer, format!("must be a string, not {}", kind.words())),
    }
}

/// Reads one of the values in `all` by its name.
pub(crate) fn word<'a, T: Copy>(
    all: &'static [T],
    as_str: fn(T) -> &'static str,
) -> impl FnOnce(Raw<'a>, &str, &mut Faults) -> Option<T> {
    move |raw, pointer, faults| {
        let text = string(raw, pointer, faults)?;
        all.iter().copied().find(|value| as_str(*value) == text).or_else(|| {
            let words: Vec<&str> = all.iter().map(|value| as_str(*value)).collect();
            faults.refuse(pointer, format!("must be one of {}", words.join(", ")))
        })
    }
}

pub(crate) fn name<'a>(raw: Raw<'a>, pointer: &str, faults: &mut Faults) -> Option<Cow<'a, str>> {
    let text = string(raw, pointer, faults)?;
    if is_name(&text) {
        return Some(text);
    }
    faults.refuse(pointer, "must be 1 to 64 characters of A-Z a-z 0-9 _ . : -")
}

/// Reads the name of a new sale or item. `.` and `..` have another meaning in a path, so no request
/// could name a sale or item `.` or `..`.
pub(crate) fn new_name<'a>(
    raw: Raw<'a>,
    pointer: &str,
    faults: &mut Faults,
) -> Option<Cow<'a, str>> {
    let text = name(raw, pointer, faults)?;
    if matches!(&*text, "." | "..") {
        return faults.refuse(pointer, "must not be . or ..");
    }
    Some(text)
}

/// Reads one line of text that is not blank.
pub(crate) fn title(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<String> {
    let text = string(raw, pointer, faults)?;
    let blank = !text.chars().any(|char| char > ' ' && char != '\u{7F}');
    if blank {
        faults.refuse(pointer, "must not be blank")
    } else if text.chars().any(|char| char < ' ' || char == '\u{7F}') {
        faults.refuse(pointer, "must be one line without control characters")
    } else if text.chars().count() > TITLE_CHARS_MAX {
        faults.refuse(pointer, format!("must have at most {TITLE_CHARS_MAX} characters"))
    } else {
        Some(text.into_owned())
    }
}

/// Reads a text of several lines, possibly empty.
pub(crate) fn description(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<String> {
    let text = string(raw, pointer, faults)?;
    if text
        .chars()
        .any(|char| (char < ' ' && !matches!(char, '\n' | '\r' | '\t')) || char == '\u{7F}')
    {
        let wrong = "must not contain control characters other than tabs and line ends";
        faults.refuse(pointer, wrong)
    } else if text.chars().count() > DESCRIPTION_CHARS_MAX {
        faults.refuse(pointer, format!("must have at most {DESCRIPTION_CHARS_MAX} characters"))
    } else {
        Some(text.into_owned())
    }
}

/// Reads a picture's address: an `https` URL or a reference without a scheme, in visible ASCII. The
/// pages' `Content-Security-Policy` blocks pictures from plain `http`.
pub(crate) fn image(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<String> {
    let text = string(raw, pointer, faults)?;
    let absolute = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    let visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || (!absolute && text.contains(':')) {
        faults.refuse(pointer, "must be an https address or a path, in visible ASCII")
    } else if text.len() > IMAGE_BYTES_MAX {
        faults.refuse(pointer, format!("must have at most {IMAGE_BYTES_MAX} characters"))
    } else {
        Some(text.into_owned())
    }
}

/// Schemes for webhooks and for brokers.
const ENDPOINT_SCHEMES: [&str; 6] = ["https", "http", "amqp", "amqps", "nats", "tls"];

/// Reads the URL of an endpoint: visible ASCII, with a host. A later check decides whether the
/// settings allow this URL.
pub(crate) fn address(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<String> {
    let text = string(raw, pointer, faults)?;
    match address_error(&text) {
        Some(why) => faults.refuse(pointer, why),
        None => Some(text.into_owned()),
    }
}

fn address_error(text: &str) -> Option<Cow<'static, str>> {
    let is_known =
        |scheme: &str| ENDPOINT_SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let Some((_, rest)) =
        text.trim_start().split_once("://").filter(|(scheme, _)| is_known(scheme))
    else {
        let expected = "must be an https address, such as https://shop.example/hooks/doorbuster, or \
                      the address of a broker";
        return Some(expected.into());
    };
    if let Some(odd) = text.chars().find(|char| !char.is_ascii_graphic()) {
        return Some(match odd {
            ' ' => "must not contain a space; write %20 instead".into(),
            odd if odd.is_control() => "must not contain control characters".into(),
            odd => format!(
                "must not contain {odd:?}; use percent-encoding, or Punycode in a host's name"
            )
            .into(),
        });
    }
    // A URL without a host is refused here, because a URL parser would accept `https:///shop/x`
    // with `shop` as the host.
    if rest.is_empty() || rest.starts_with(['/', '\\', '?', '#']) {
        return Some(
            "must name a host, such as shop.example in https://shop.example/hooks/doorbuster"
                .into(),
        );
    }
    (text.len() > WEBHOOK_URL_BYTES_MAX)
        .then(|| format!("must have at most {WEBHOOK_URL_BYTES_MAX} characters").into())
}

pub(crate) fn event_id(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<String> {
    let text = string(raw, pointer, faults)?;
    if event_position(&text).is_some() {
        return Some(text.into_owned());
    }
    faults.refuse(pointer, "must be an event's id: evt_, 16 digits, _ and 10 hex digits")
}

/// Reads a list. Its number of entries must be in `counts`, and `reader` reads each entry.
pub(crate) fn list<'a, T>(
    raw: Raw<'a>,
    pointer: &str,
    faults: &mut Faults,
    counts: RangeInclusive<usize>,
    mut reader: impl FnMut(Raw<'a>, &str, &mut Faults) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(elements) = json::elements(raw) else {
        let kind = JsonKind::from_raw(raw).words();
        return faults.refuse(pointer, format!("must be a list, not {kind}"));
    };
    let all = elements.len();
    if !counts.contains(&all) {
        let wrong = match counts.into_inner() {
            (0, most) => format!("must have at most {most} entries"),
            (least, most) => format!("must have {least} to {most} entries"),
        };
        return faults.refuse(pointer, wrong);
    }
    let each = elements.into_iter().enumerate();
    let found: Vec<T> = each
        .filter_map(|(index, element)| reader(element, &format!("{pointer}/{index}"), faults))
        .collect();
    (found.len() == all).then_some(found)
}

pub(crate) fn time(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Time> {
    let wrong = "must be an RFC 3339 time, such as 2026-11-20T10:00:00.000Z";
    Time::parse(&string(raw, pointer, faults)?).or_else(|| faults.refuse(pointer, wrong))
}

pub(crate) fn stock(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Stock> {
    let text = raw.get();
    if is_word(raw, "unlimited") {
        return Some(Stock::UNLIMITED);
    }
    match text.parse().ok().filter(|units| *units <= STOCK_MAX) {
        // `parse` would also accept a plus sign, but `text` is valid JSON, in which no number has
        // one.
        Some(units) => Some(Stock::Counted(units)),
        None => faults.refuse(
            pointer,
            format!("must be a whole number from 0 to {STOCK_MAX}, or \"unlimited\""),
        ),
    }
}

pub(crate) fn is_word(raw: Raw<'_>, word: &str) -> bool {
    JsonKind::from_raw(raw) == JsonKind::String
        && json::string(raw).is_some_and(|text| text == word)
}

pub(crate) fn price(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Money> {
    let mut object = Object::open(raw, pointer.to_owned(), &["amount_minor", "currency"], faults)?;
    let amount_minor = object.required("amount_minor", integer(0..=PRICE_MINOR_MAX));
    let currency = object.required("currency", currency);
    Some(Money { amount_minor: amount_minor?, currency: currency? })
}

fn currency(raw: Raw<'_>, pointer: &str, faults: &mut Faults) -> Option<Currency> {
    Currency::parse(&string(raw, pointer, faults)?)
        .filter(|currency| currency.is_assigned())
        .or_else(|| faults.refuse(pointer, "must be an ISO 4217 currency code, such as CNY"))
}

pub(crate) fn nullable<'a, T>(
    reader: impl FnOnce(Raw<'a>, &str, &mut Faults) -> Option<T>,
) -> impl FnOnce(Raw<'a>, &str, &mut Faults) -> Option<Option<T>> {
    move |raw, pointer, faults| match JsonKind::from_raw(raw) {
        JsonKind::Null => Some(None),
        _ => reader(raw, pointer, faults).map(Some),
    }
}

pub(crate) fn not_null<'a, T>(
    reader: impl FnOnce(Raw<'a>, &str, &mut Faults) -> Option<T>,
) -> impl FnOnce(Raw<'a>, &str, &mut Faults) -> Option<Option<T>> {
    move |raw, pointer, faults| reader(raw, pointer, faults).map(Some)
}

/// Returns a reader of a list of 1 to [`ITEMS_MAX`] entries with different `id`s.
pub(crate) fn distinct_list<'a, T>(
    reader: impl Fn(Raw<'a>, &str, &mut Faults) -> Option<T>,
    id: impl Fn(&T) -> &str,
) -> impl FnOnce(Raw<'a>, &str, &mut Faults) -> Option<Vec<T>> {
    move |raw, pointer, faults| {
        let mut ids = BTreeSet::new();
        list(raw, pointer, faults, 1..=ITEMS_MAX, |raw, pointer, faults| {
            let entry = reader(raw, pointer, faults)?;
            if !ids.insert(id(&entry).to_owned()) {
                faults.add(&format!("{pointer}/id"), "repeats the id of an earlier entry");
            }
            Some(entry)
        })
    }
}
