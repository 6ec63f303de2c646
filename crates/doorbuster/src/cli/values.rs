//! Parsers for the values of arguments.

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

use clap::builder::RangedI64ValueParser;
use doorbuster_api::admin::export::Export;
use doorbuster_api::admin::keys::Role;
use doorbuster_api::admin::new_sale::NewItem;
use doorbuster_api::admin::spread::{PartitionChoice, Partitions};
use doorbuster_api::header;
use doorbuster_api::limits;
use doorbuster_api::order::OrderState;
use doorbuster_api::sale::Phase;
use doorbuster_api::value::{self, Currency, Money, Stock, Text, Time};

use super::sale::ItemField;
use super::sale_edit::{LimitArg, OptionalTime};

type Parsed<T> = Result<T, String>;

/// Parses an id.
pub fn name(text: &str) -> Parsed<String> {
    if value::is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 64 characters of A-Z a-z 0-9 _ . : -".into())
    }
}

/// Parses the key of a request.
pub fn idempotency_key(text: &str) -> Parsed<String> {
    let parsed = header::idempotency_key([text.as_bytes()]);
    parsed.map(|_| text.to_owned()).map_err(|fault| fault.detail.to_string())
}

/// Parses a number of partitions, or `auto`.
pub fn partitions(text: &str) -> Parsed<Partitions> {
    let count = text.parse().ok().filter(|count| (1..=limits::PARTITIONS_MAX).contains(count));
    match (text, count) {
        ("auto", _) => Ok(Partitions::Auto),
        (_, Some(count)) => Ok(Partitions::Count(count)),
        _ => Err(format!("must be auto or a number from 1 to {}", limits::PARTITIONS_MAX)),
    }
}

/// Parses the rule by which the server chooses the slot of a request.
pub fn choose(text: &str) -> Parsed<PartitionChoice> {
    PartitionChoice::parse(text).ok_or_else(|| "must be buyer, random or round_robin".into())
}

/// Parses an operator's role.
pub fn role(text: &str) -> Parsed<Role> {
    Role::parse(text).ok_or_else(|| "must be viewer, operator or admin".into())
}

/// Returns a parser for the number of entries on a page.
pub fn page() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(limits::PAGE_MAX))
}

/// Parses the length of one step of a series, in seconds.
pub fn series_step(text: &str) -> Parsed<u32> {
    let step = text.parse().ok().filter(|step| limits::SERIES_STEPS.contains(step));
    step.ok_or_else(|| "must be 1, 10 or 60".into())
}

/// The lowest rate: one buyer in 1,000 seconds. With a much lower rate, the program could not
/// represent the time at which the last buyer arrives.
const RATE_MIN: f64 = 0.001;

/// Parses the number of buyers that arrive each second.
pub fn rate(text: &str) -> Parsed<f64> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= RATE_MIN);
    rate.ok_or_else(|| format!("must be a number of at least {RATE_MIN}"))
}

/// Parses a time in the format of RFC 3339.
pub fn time(text: &str) -> Parsed<Time> {
    Time::parse(text).ok_or_else(|| "is not a time; write it like 2026-11-20T10:00:00Z".into())
}

/// Parses a time, or the word `none`.
pub fn time_or_none(text: &str) -> Parsed<OptionalTime> {
    if text == "none" {
        Ok(OptionalTime(None))
    } else {
        time(text).map(|time| OptionalTime(Some(time)))
    }
}

/// Parses a rate limit: `buyer=5/60`, `ip=none`, or `default`.
pub fn limit(text: &str) -> Parsed<LimitArg> {
    const LIMIT_SCOPES: [&str; 3] = ["buyer", "ip", "interface"];
    if text == "default" {
        return Ok(LimitArg::Default);
    }
    let wrong = || {
        "must be like buyer=5/60, ip=none or default; the limits are buyer, ip and interface"
            .to_owned()
    };
    let (scope, value) = text.split_once('=').ok_or_else(wrong)?;
    let scope = LIMIT_SCOPES.into_iter().find(|word| *word == scope).ok_or_else(wrong)?;
    if value == "none" {
        return Ok(LimitArg::None(scope));
    }
    let count =
        |text: &str| text.parse().ok().filter(|count| (1..=limits::LIMIT_MAX).contains(count));
    let counts = value.split_once('/').and_then(|(burst, rate)| count(burst).zip(count(rate)));
    counts.map(|(burst, per_minute)| LimitArg::Some(scope, burst, per_minute)).ok_or_else(wrong)
}

/// Parses a duration above zero: `90s`, `15m`, `1h30m`.
pub fn duration(text: &str) -> Parsed<Duration> {
    let span = any_duration(text)?;
    (!span.is_zero()).then_some(span).ok_or_else(|| "must be above zero".to_owned())
}

/// Parses a duration above zero in whole seconds.
pub fn seconds(text: &str) -> Parsed<Duration> {
    duration(text).and_then(|_| seconds_or_none(text))
}

/// Parses a duration in whole seconds. `0s` is allowed.
pub fn seconds_or_none(text: &str) -> Parsed<Duration> {
    let span = Some(any_duration(text)?).filter(|span| span.subsec_nanos() == 0);
    span.ok_or_else(|| format!("{text} is not a whole number of seconds"))
}

fn any_duration(text: &str) -> Parsed<Duration> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| duration_error())?;
    Duration::try_from(span).map_err(|_| duration_error())
}

fn duration_error() -> String {
    "is not a duration; write it like 90s, 15m or 1h30m".to_owned()
}

/// Parses a sale's phase.
pub fn phase(text: &str) -> Parsed<Phase> {
    Phase::parse(text).ok_or_else(|| choices_error(Phase::ALL.map(Phase::as_str)))
}

/// Parses an order's state.
pub fn order_state(text: &str) -> Parsed<OrderState> {
    OrderState::parse(text).ok_or_else(|| choices_error(OrderState::ALL.map(OrderState::as_str)))
}

/// Parses the name of a list that is exported as CSV.
pub fn export(text: &str) -> Parsed<Export> {
    Export::parse(text).ok_or_else(|| choices_error(Export::ALL.map(Export::as_str)))
}

fn choices_error<const N: usize>(words: [&str; N]) -> String {
    format!("must be one of {}", words.join(", "))
}

/// Parses the number of units to add; a negative number removes units.
pub fn units_change(text: &str) -> Parsed<i64> {
    text.parse()
        .ok()
        .filter(|units| *units != 0)
        .ok_or_else(|| "must be like 50, +50 or -20, and not 0".into())
}

/// Parses an item of a new sale: `id=phone,stock=100,price=10CNY,limit=10,hold=15m,title=Phone`. If
/// `minor_of` is given, the price is a whole number of minor units of this currency.
pub fn item(text: &str, minor_of: Option<Currency>) -> Parsed<NewItem> {
    let (mut id, mut title, mut stock, mut price, mut limit, mut hold_secs) =
        (None, None, None, None, None, None);
    for part in text.split(',') {
        let (key, value) =
            part.split_once('=').ok_or_else(|| format!("{part:?} is not like stock=100"))?;
        let wrong = |error: String| format!("{part}: {error}");
        let is_repeated = match key {
            "id" => id.replace(name(value).map_err(wrong)?).is_some(),
            "title" => title.replace(value.to_owned()).is_some(),
            "stock" => stock.replace(count_or_unlimited(value)?).is_some(),
            "price" => price.replace(price_of(value, minor_of)?).is_some(),
            "limit" => limit.replace(number(key, value)?).is_some(),
            "hold" => hold_secs.replace(whole_secs(value).map_err(wrong)?).is_some(),
            _ => {
                return Err(format!(
                    "{key:?} is unknown; the keys are id, title, stock, price, limit and hold"
                ));
            }
        };
        if is_repeated {
            return Err(format!("{key} is given twice"));
        }
    }
    let missing = |what: &str| format!("{what}= is missing");
    let id = id.ok_or_else(|| missing("id"))?;
    Ok(NewItem {
        title: title.unwrap_or_else(|| id.clone()).into(),
        id,
        price: price.ok_or_else(|| missing("price"))?,
        stock: stock.ok_or_else(|| missing("stock"))?,
        limit_per_buyer: limit.unwrap_or(limits::LIMIT_PER_BUYER_DEFAULT),
        hold_secs: hold_secs.unwrap_or(limits::HOLD_SECS_DEFAULT),
        description: Text::default(),
        image: None,
        gallery: Vec::new(),
        facts: Vec::new(),
        list_price: None,
    })
}

fn whole_secs(text: &str) -> Parsed<u32> {
    u32::try_from(seconds(text)?.as_secs()).map_err(|_| format!("{text} is too long"))
}

fn number<T: FromStr>(key: &str, text: &str) -> Parsed<T> {
    text.parse().map_err(|_| format!("{key}={text} is not a whole number in the allowed range"))
}

fn count_or_unlimited(text: &str) -> Parsed<Stock> {
    if text == "unlimited" {
        Ok(Stock::UNLIMITED)
    } else {
        number("stock", text).map(Stock::Counted)
    }
}

/// If `minor_of` is given, the price is a number of minor units of this currency. Otherwise the
/// price is in major units and names its currency, such as `10.00CNY`.
fn price_of(text: &str, minor_of: Option<Currency>) -> Parsed<Money> {
    let Some(currency) = minor_of else { return money(text) };
    let amount_minor = minor_units(text, 0);
    let wrong = || format!("price={text} is not a whole number of minor units");
    Ok(Money { amount_minor: amount_minor.ok_or_else(wrong)?, currency })
}

/// Returns the text of an item. If the item's price has no currency, adds `currency` to the price.
pub fn with_currency(item: &str, currency: Currency) -> String {
    let part = |part: &str| match part.strip_prefix("price=") {
        Some(price) if price.ends_with(|last: char| last.is_ascii_digit()) => {
            format!("{part}{currency}")
        }
        _ => part.to_owned(),
    };
    item.split(',').map(part).collect::<Vec<_>>().join(",")
}

/// Parses the three letters of a currency.
pub fn currency(text: &str) -> Parsed<Currency> {
    Currency::parse(text).ok_or_else(|| "must be a currency's three letters, such as CNY".into())
}

/// Parses a new value of one field of an item: `phone.price=10.00CNY`. If `minor_of` is given, the
/// price is a whole number of minor units of this currency.
pub fn item_field(text: &str, minor_of: Option<Currency>) -> Parsed<ItemField> {
    let shape = || format!("{text:?} is not like phone.price=10.00CNY");
    let (path, value) = text.split_once('=').ok_or_else(shape)?;
    let (item, field) = path.rsplit_once('.').ok_or_else(shape)?;
    let price = |value| price_of(value, minor_of).map(|money| serde_json::json!(money));
    let (member, value) = match field {
        "title" => ("title", value.into()),
        "description" => ("description", value.into()),
        "image" => ("image", (!value.is_empty()).then_some(value).into()),
        "price" => ("price", price(value)?),
        "list_price" if value.is_empty() => ("list_price", serde_json::Value::Null),
        "list_price" => ("list_price", price(value)?),
        "limit" => ("limit_per_buyer", number::<u32>(field, value)?.into()),
        "hold" => ("hold_secs", whole_secs(value)?.into()),
        _ => {
            return Err(format!(
                "{field:?} is unknown; the fields are title, description, image, price, \
                 list_price, limit and hold"
            ));
        }
    };
    Ok(ItemField { item: name(item)?, member, value })
}

/// Parses a price in major units: `10.00CNY` is ten yuan.
pub fn money(text: &str) -> Parsed<Money> {
    let wrong = |why: &str| Err(format!("price={text} is not like 10.00CNY: {why}"));
    let (amount, code) = text.split_at_checked(text.len().saturating_sub(3)).unwrap_or_default();
    let (amount, capitals) = (amount.trim_end(), code.to_ascii_uppercase());
    if code != capitals && Currency::parse(&capitals).is_some() {
        return wrong(&format!("write the currency in capital letters: {capitals}"));
    }
    let parsed = Currency::parse(code).map(|currency| (currency, currency.decimals()));
    let places = amount.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    match parsed {
        Some((currency, decimals)) if places <= decimals as usize => {
            if let Some(amount_minor) = minor_units(amount, decimals) {
                return Ok(Money { amount_minor, currency });
            }
        }
        Some((_, 0)) => return wrong(&format!("{code} has no decimal places")),
        Some((_, most)) => return wrong(&format!("{code} has at most {most} decimal places")),
        None => {}
    }
    wrong("write the amount in the currency's own units, and then the currency's three letters")
}

/// Parses an amount with at most `places` decimal places, and returns the amount in minor units.
/// With two places, the result for 10.5 is 1,050.
fn minor_units(text: &str, places: u32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let width = places as usize;
    if !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    let fraction = match (text.contains('.'), fraction.len() <= width) {
        (true, false) => return None,
        (true, true) => format!("{fraction:0<width$}"),
        (false, _) => "0".repeat(width),
    };
    format!("{whole}{fraction}").parse().ok()
}
